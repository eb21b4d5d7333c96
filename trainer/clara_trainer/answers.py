"""Let base + adapter answer the golden prompts: greedy, in batches, through the chat template. Called by evaluate.py.

The only module of the evaluation that needs torch: imported when answers must be computed, not when a report is adopted.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from clara_api.golden_dataset import Sample
from peft import PeftModel

from clara_trainer import machine
from clara_trainer.base_model import load_model, load_tokenizer

BATCH = 8  # prompts answered at once

log = logging.getLogger(__name__)


def answer_all(samples: Sequence[Sample], *, base: Path, adapter: Path, max_new_tokens: int) -> list[str]:
    """One answer per sample, in order."""
    torch.set_num_threads(machine.threads())
    torch.use_deterministic_algorithms(True)
    tokenizer = load_tokenizer(base)
    tokenizer.padding_side = "left"  # answers continue the prompt; padding must not stand between
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = PeftModel.from_pretrained(load_model(base), adapter, is_trainable=False).eval()

    # Prompts of like length share a batch: less padding, and the longest run together.
    prompts = [prompt_of(sample, tokenizer) for sample in samples]
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    answers = [""] * len(prompts)
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        texts = generate(model, tokenizer, [prompts[place] for place in places], max_new_tokens)
        for place, text in zip(places, texts, strict=True):
            answers[place] = text
        log.info("answered %d of %d samples", start + len(places), len(order))
    return answers


def prompt_of(sample: Sample, tokenizer: Any) -> str:
    """The sample's prompt as one user message; plain for a base without a chat template."""
    if not tokenizer.chat_template:
        return sample.prompt
    turns = [{"role": "user", "content": sample.prompt}]
    return str(tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))


def generate(model: Any, tokenizer: Any, prompts: Sequence[str], max_new_tokens: int) -> list[str]:
    """Greedy continuations without special tokens; a template has already written the beginning-of-text token."""
    templated = bool(tokenizer.chat_template)
    batch = tokenizer(list(prompts), return_tensors="pt", padding=True, add_special_tokens=not templated)
    batch.pop("token_type_ids", None)
    with torch.inference_mode():
        tokens = model.generate(
            **batch.to(model.device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            temperature=None,  # a base's generation_config may sample; an evaluation must not
            top_p=None,
            top_k=None,
            pad_token_id=tokenizer.pad_token_id,
            use_cache=True,
        )
    texts = tokenizer.batch_decode(tokens[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts]
