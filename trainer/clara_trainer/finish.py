"""From a trained model to the adapter engines load, measured on what they will run. Called by train.py.

lora     saved as it is, measured as it is
qlora    measured on the base in its own precision: engines do not run the 4-bit one
dora     re-fitted to a plain LoRA, measured after that; too far off is no success
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from clara_api.fingerprint import Fingerprint, l2
from clara_api.handoff.artifact import ConversionReport
from clara_api.handoff.run import TrainRun
from peft import PeftModel

from clara_trainer import convert, fingerprint
from clara_trainer.base_model import load_model
from clara_trainer.memory import free_cache
from clara_trainer.outcome import Failure


@dataclass(frozen=True, slots=True)
class Finished:
    """What lies in the folder, and what loading it must change."""

    fingerprint: Fingerprint
    dtype: str
    conversion: ConversionReport | None = None


def finish(model: Any, tokenizer: Any, run: TrainRun, base: Path, out: Path) -> Finished:
    """Save adapter_model.safetensors and adapter_config.json into `out`. Failure NotServable when a conversion loses too much."""
    model.eval()
    if run.method == "dora":
        return _converted(model, tokenizer, run, base, out)
    model.save_pretrained(out, safe_serialization=True)
    if run.method == "qlora":
        _free(model)
        model = PeftModel.from_pretrained(load_model(base), out).eval()
    return Finished(measured(model, tokenizer), dtype_of(model))


def _converted(model: Any, tokenizer: Any, run: TrainRun, base: Path, out: Path) -> Finished:
    wanted = run.conversion
    if wanted is None:  # the operator refuses such a job before a pod exists
        raise Failure("NotServable", "engines do not load DoRA adapters; add spec.conversion {rank: 32}")
    trained = measured(model, tokenizer)
    parts = {name: convert.refit(change, wanted.rank) for name, change in convert.changes(model).items()}
    _free(model)
    plain = convert.plain(load_model(base), parts, wanted.rank)
    plain.save_pretrained(out, safe_serialization=True)
    effect = measured(plain, tokenizer)
    off = [a - b for a, b in zip(effect.vector(), trained.vector(), strict=True)]
    report = ConversionReport(
        from_method="dora",
        rank=wanted.rank,
        weight_error=convert.weight_error(parts),
        logit_error=l2(off) / max(l2(trained.vector()), 1e-12),
    )
    if report.logit_error > wanted.max_error:
        raise Failure(
            "NotServable",
            f"re-fitted to a LoRA of rank {wanted.rank}, the adapter's effect is off by {report.logit_error:.1%} (at most "
            f"{wanted.max_error:.1%} is allowed); raise conversion.rank, or train with method lora",
        )
    return Finished(effect, dtype_of(plain), report)


def measured(model: Any, tokenizer: Any) -> Fingerprint:
    """The fingerprint of this model."""
    return fingerprint.measure(model, tokenizer, dtype=dtype_of(model))


def dtype_of(model: Any) -> str:
    """For example 'float32'."""
    return str(model.dtype).removeprefix("torch.")


def _free(model: Any) -> None:
    """Give the weights' memory back: the base is about to be loaded again, and both at once may not fit."""
    device = next(model.parameters()).device
    for parameter in model.parameters():
        parameter.data = torch.empty(0, device=device)
    gc.collect()
    free_cache(device)
