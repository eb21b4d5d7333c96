"""The methods: how the base is held in memory, and what is trained on it. Called by train.py.

    lora     the base as it is; A and B beside every linear layer but the head (Hu et al. 2021)
    qlora    the same, the base in 4-bit NF4 with double quantisation (Dettmers et al. 2023): a quarter of the memory
    dora     the weights' size trained beside their direction (Liu et al. 2024); engines need it converted (convert.py)

rsLoRA (`rankStabilized`, Kalajdzievski 2023) is a scale, alpha / √rank instead of alpha / rank, with any of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from clara_api.handoff.run import TrainRun
from clara_api.training_job import Method
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import BitsAndBytesConfig

from clara_trainer.base_model import load_model
from clara_trainer.outcome import Failure


def load(folder: Path, method: Method) -> Any:
    """The frozen base as the method holds it. Failure BaseModelUnavailable when it cannot be loaded."""
    if method != "qlora":
        return load_model(folder)
    on_gpu = torch.cuda.is_available()
    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if on_gpu else torch.float32,
    )
    return load_model(folder, quantization_config=quantised, device_map={"": "cuda:0" if on_gpu else "cpu"})


def adapt(model: Any, run: TrainRun, start: Path | None) -> Any:
    """The base with a trainable adapter: a new one, or the one in `start`. Failure when that has another shape."""
    if start is not None:
        return _continued(model, run, start)
    h = run.hyperparameters
    config = LoraConfig(
        r=h.rank,
        lora_alpha=h.alpha,
        lora_dropout=h.dropout,
        use_rslora=h.rank_stabilized,
        use_dora=run.method == "dora",
        target_modules="all-linear",
        bias="none",  # engines refuse adapters with a bias
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _continued(model: Any, run: TrainRun, start: Path) -> Any:
    """Rank and scale are the adapter's own: its matrices have that shape, and its effect that size."""
    config = LoraConfig.from_pretrained(start)
    h = run.hyperparameters
    there = {"rank": config.r, "alpha": float(config.lora_alpha), "rankStabilized": config.use_rslora}
    asked = {"rank": h.rank, "alpha": float(h.alpha), "rankStabilized": h.rank_stabilized}
    if there != asked:
        scale = str(config.use_rslora).lower()
        wanted = f"rank: {config.r}, alpha: {config.lora_alpha:g}, rankStabilized: {scale}"
        name = run.start_from.name if run.start_from else "the adapter"
        raise Failure("ArtifactInvalid", f"{name} has another shape than asked; set hyperparameters {{{wanted}}}")
    if run.method == "dora":
        raise Failure("ArtifactInvalid", "a published adapter is a plain LoRA; continue it with method lora or qlora")
    config.lora_dropout = h.dropout
    config.inference_mode = False
    return PeftModel.from_pretrained(model, start, config=config, is_trainable=True)
