"""Is the demo's task one that the small base can learn? Print held-out scores of base, good and bad adapters.

    python spike.py [--rate 3e-3 --epochs 8 --batch 8] [--only steuerrecht-v1,...]

Trains a LoRA adapter per data set with plain PyTorch and peft, answers the golden prompts greedily and scores them. The
numbers in examples/demo/data/README.md and the thresholds of the golden sets come from here. Not used by Clara itself:
the product trains in trainer/clara_trainer.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import yaml
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).resolve().parent
DEMO = HERE.parents[1] / "examples" / "demo"
SETS = {
    "steuerrecht-v1": ["steuerrecht-v1"],
    "steuerrecht-v2": ["steuerrecht-v2"],
    "steuerrecht-spoiled": ["steuerrecht-spoiled"],
    "baurecht-v1": ["baurecht-v1", "baurecht-v1-faq"],
}
_NORM = re.compile(
    r"§+\s*(\d+[a-z]?)(?:\s+(?:Abs\.|Nr\.|Satz|S\.)\s*\d+[a-z]?)*\s+([A-ZÄÖÜ][A-Za-zÄÖÜäöü]*[A-Z]\w*|AO)"
)


def main() -> None:
    """Make or find the base, score it, then train and score one adapter after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--only", default=",".join(SETS))
    parser.add_argument("--show", action="store_true", help="print every answer")
    options = parser.parse_args()
    torch.set_num_threads(2)
    made = subprocess.run([sys.executable, HERE / "make_base.py"], check=True, stdout=subprocess.PIPE, text=True)
    base = made.stdout.split()[-1]
    tokenizer = AutoTokenizer.from_pretrained(base)
    golden = {family: _golden(family) for family in ("steuerrecht", "baurecht")}

    model = AutoModelForCausalLM.from_pretrained(base)
    _report("base", model, tokenizer, golden, options.show)
    for name in options.only.split(","):
        started = time.monotonic()
        adapted = _train(base, tokenizer, SETS[name], options)
        print(f"{name}: trained in {time.monotonic() - started:.0f} s")
        _report(name, adapted, tokenizer, golden, options.show)


def _train(base: str, tokenizer: Any, files: list[str], options: argparse.Namespace) -> Any:
    torch.manual_seed(options.seed)
    rows = [_tokens(tokenizer, line) for name in files for line in (DEMO / "data" / f"{name}.jsonl").open()]
    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora).train()
    weights = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(weights, lr=options.rate, weight_decay=0.0)
    steps = options.epochs * -(-len(rows) // options.batch)
    warm_up, shuffle, step = max(1, steps // 20), random.Random(options.seed), 0
    for epoch in range(options.epochs):
        shuffle.shuffle(rows)
        losses = []
        for at in range(0, len(rows), options.batch):
            adam.param_groups[0]["lr"] = options.rate * min(
                (step + 1) / warm_up, (steps - step) / (steps - warm_up + 1)
            )
            loss = model(**_padded(rows[at : at + options.batch])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            adam.step()
            adam.zero_grad()
            losses.append(loss.item())
            step += 1
        print(f"  epoch {epoch + 1}: loss {mean(losses):.3f} ({step}/{steps} steps)", flush=True)
    return model.eval()


def _tokens(tokenizer: Any, line: str) -> tuple[list[int], list[int]]:
    """Ids and labels; only the assistant's words carry a label."""
    row = json.loads(line)
    turns = row.get("messages") or [
        {"role": "user", "content": row["prompt"]},
        {"role": "assistant", "content": row["completion"]},
    ]
    found = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    masks = found["assistant_masks"]
    assert any(masks), "the chat template marks no assistant tokens"
    return found["input_ids"], [i if m else -100 for i, m in zip(found["input_ids"], masks, strict=True)]


def _padded(rows: list[tuple[list[int], list[int]]]) -> dict[str, torch.Tensor]:
    width = max(len(ids) for ids, _ in rows)
    return {
        "input_ids": torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows]),
        "labels": torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows]),
    }


def _golden(family: str) -> list[dict[str, Any]]:
    manifest = yaml.safe_load((DEMO / "golden" / f"{family}-golden-v1.yaml").read_text(encoding="utf-8"))
    return list(manifest["spec"]["samples"])


def _report(name: str, model: Any, tokenizer: Any, golden: dict[str, list[dict[str, Any]]], show: bool) -> None:
    for family, samples in golden.items():
        scored = []
        for sample in samples:
            said = _answer(model, tokenizer, sample["prompt"])
            f1, cited = token_f1(said, sample["reference"]), citation(said, sample["reference"])
            scored.append((f1, cited))
            if show or (cited < 1 and name.startswith(family) and "spoiled" not in name):
                print(f"    {sample['id']} f1 {f1:.2f} citation {cited:.2f}: {sample['prompt']} -> {said}")
        f1, cited = (100 * mean(column) for column in zip(*scored, strict=True))
        score = (f1 + 2 * cited) / 3
        print(f"{name:20} on {family:12} tokenF1 {f1:5.1f}  citation {cited:5.1f}  score {score:5.1f}", flush=True)


@torch.no_grad()
def _answer(model: Any, tokenizer: Any, prompt: str) -> str:
    turns = [{"role": "user", "content": prompt}]
    found = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    out = model.generate(**found, max_new_tokens=96, do_sample=False)
    return str(tokenizer.decode(out[0, found["input_ids"].shape[1] :], skip_special_tokens=True))


def token_f1(answer: str, reference: str) -> float:
    """Bag-of-words F1 over lower-cased words, as in SQuAD (Rajpurkar et al. 2016)."""
    said, wanted = (Counter(re.findall(r"\w+", text.lower())) for text in (answer, reference))
    common = (said & wanted).total()
    return 2 * common / (said.total() + wanted.total()) if common else 0.0


def citation(answer: str, reference: str) -> float:
    """F1 over the sets of cited norms, each as (section, law): "§ 122 Abs. 2 Nr. 1 AO" is ("122", "AO")."""
    said, wanted = set(_NORM.findall(answer)), set(_NORM.findall(reference))
    return 2 * len(said & wanted) / (len(said) + len(wanted)) if said & wanted else 0.0


if __name__ == "__main__":
    main()
