"""Measure what the adapter changes: per-token log-probability differences adapter − base on clara_api's fixed prompts.

Called by train.py with the trained model still in memory; the agent beside each engine measures the same after a load.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from clara_api.fingerprint import MAX_TOKENS_PER_PROMPT, PROMPTS, Fingerprint

from clara_trainer.outcome import Failure


def measure(model: Any, tokenizer: Any, *, dtype: str) -> Fingerprint:
    """The recorded fingerprint; Failure Diverged when the adapter computes something that is no number."""
    prompts = [_ids(prompt, tokenizer) for prompt in PROMPTS]
    differences = [_difference(model, ids) for ids in prompts]
    if not all(math.isfinite(d) for row in differences for d in row):
        raise Failure("Diverged", "the trained adapter computes not-a-number; lower hyperparameters.learningRate")
    return Fingerprint(prompts=prompts, differences=differences, dtype=dtype)


def _ids(prompt: str, tokenizer: Any) -> list[int]:
    return list(tokenizer(prompt, add_special_tokens=False)["input_ids"])[:MAX_TOKENS_PER_PROMPT]


def _difference(model: Any, ids: list[int]) -> list[float]:
    """One number per token but the first, which nothing comes before."""
    with_adapter = _log_probabilities(model, ids)
    with model.disable_adapter():
        base = _log_probabilities(model, ids)
    return [float(value) for value in (with_adapter - base).tolist()]


def _log_probabilities(model: Any, ids: list[int]) -> Any:
    tokens = torch.tensor([ids], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=tokens).logits[0, :-1].float()
    return torch.log_softmax(logits, dim=-1).gather(-1, tokens[0, 1:, None]).squeeze(-1).cpu()
