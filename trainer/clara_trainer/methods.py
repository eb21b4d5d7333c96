"""Which weights learn: LoRA, rsLoRA, QLoRA or DoRA, new or continued. Called by train.py: `load`, then `adapt`.

lora    Hu et al. 2021: W + scale · B·A, scale = alpha / rank; rank-stabilised (Kalajdzievski 2023): alpha / sqrt(rank)
qlora   Dettmers et al. 2023: the same on a base in NF4 with double quantisation; engines run it on the plain base
dora    Liu et al. 2024: size and direction of each row apart; engines refuse it, so finish.py converts it
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import bitsandbytes
import torch
import transformers
from clara_api.handoff.artifact import CONFIG, WEIGHTS
from clara_api.handoff.run import TrainRun
from clara_api.profiles import PROFILES
from clara_api.training_job import Method
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

from clara_trainer import base_model, servable
from clara_trainer.outcome import Failure
from clara_trainer.safetensors_header import read_shapes

log = logging.getLogger(__name__)


def load(folder: Path, method: Method) -> Any:
    """The base as `method` trains on it; Failure BaseModelUnavailable when it cannot be loaded so."""
    return load_in_four_bits(folder) if method == "qlora" else base_model.load_model(folder)


def load_in_four_bits(folder: Path) -> Any:
    """Every linear layer but the head in NF4; gradients reach the adapters also through checkpointed blocks."""
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=base_model.dtype(),
    )
    refuse_quantised(folder)
    model = base_model.load_model(folder, quantization)
    layers = {name: part for name, part in model.named_modules() if isinstance(part, bitsandbytes.nn.Linear4bit)}
    if not layers:
        raise Failure("BaseModelUnavailable", "the base has no linear layer to put into 4 bits; use method lora")
    for name, layer in layers.items():
        if layer.in_features % 2:
            raise Failure(
                "BaseModelUnavailable",
                f"'{name}' reads {layer.in_features} values, and bitsandbytes packs a row's weights in pairs; use method lora",
            )
        # On CPUs with AVX512-BF16 an evaluation would repack the weights for good into a form that only infers, in bfloat16.
        layer.support_avx512bf16_for_cpu = False
    model.enable_input_require_grads()
    return model


def refuse_quantised(folder: Path) -> None:
    """A base whose weights are quantised already cannot be quantised again: transformers would silently keep the old form."""
    with base_model.unloadable("config.json"):
        config = json.loads((folder / "config.json").read_bytes())
    if found := config.get("quantization_config"):
        kind = found.get("quant_method", "unknown") if isinstance(found, dict) else "unknown"
        message = f"the base is quantised already ({kind}); name the unquantised base, or use method lora"
        raise Failure("BaseModelUnavailable", message)


def adapt(model: Any, run: TrainRun, start: Path | None) -> Any:
    """The base with trainable adapters on every linear layer but the head; `start` is the folder of one to continue.

    Seeds every random generator first: the first values of A depend on the seed alone, not on what was loaded before.
    """
    if run.method == "dora" and run.conversion is None:
        raise Failure("NotServable", "engines refuse DoRA; add spec.conversion, or use method lora")
    transformers.set_seed(run.hyperparameters.seed)
    model.config.use_cache = False  # a cache of keys and values only costs memory while training
    if start is None:
        return get_peft_model(model, new_adapter(run))
    config = continued(run, json.loads((start / CONFIG).read_bytes()))
    check_targets(start, config, linear_layers(model))
    return PeftModel.from_pretrained(model, start, config=config, is_trainable=True)


def new_adapter(run: TrainRun) -> Any:
    """What peft is told. All linear layers, as in Dettmers et al. 2023, §4."""
    parameters = run.hyperparameters
    return LoraConfig(
        r=parameters.rank,
        lora_alpha=parameters.alpha,
        lora_dropout=parameters.dropout,
        use_rslora=parameters.rank_stabilized,
        use_dora=run.method == "dora",
        target_modules="all-linear",
        bias="none",  # engines refuse adapters with a bias
        task_type="CAUSAL_LM",
    )


def continued(run: TrainRun, config: dict[str, Any]) -> Any:
    """What peft is told of an adapter that is continued: its own rank and scale. Only dropout may be another.

    A run holds no word on who chose a value: one that differs from the profile's was asked for by a person.
    """
    if run.method == "dora":
        raise Failure("ArtifactInvalid", "a plain LoRA cannot be continued as DoRA; use method lora or qlora")
    asked, default = run.hyperparameters, PROFILES[run.profile]
    pairs = (("rank", "r"), ("alpha", "lora_alpha"), ("rank_stabilized", "use_rslora"))
    for field, key in pairs:
        wanted, found = getattr(asked, field), config.get(key, False)
        if wanted not in (getattr(default, field), found):
            camel = type(asked).model_fields[field].alias
            raise Failure(
                "ArtifactInvalid",
                f"the adapter to continue has {camel} {_said(found)}, and hyperparameters.{camel} asks for {_said(wanted)}; "
                f"leave out hyperparameters.{camel}, or leave out startFrom for a new adapter",
            )
    return LoraConfig(
        r=config["r"],
        lora_alpha=config["lora_alpha"],
        use_rslora=config.get("use_rslora", False),
        rank_pattern=config.get("rank_pattern") or {},
        alpha_pattern=config.get("alpha_pattern") or {},
        target_modules=config["target_modules"],
        lora_dropout=asked.dropout,
        bias="none",
        task_type="CAUSAL_LM",
    )


def _said(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def check_targets(start: Path, config: Any, layers: dict[str, tuple[int, ...]]) -> None:
    """The adapter to continue changes exactly the layers a new one would, in their sizes; Failure ArtifactInvalid."""
    shapes = read_shapes(start / WEIGHTS)
    weights = {f"{name}.weight": size for name, size in layers.items()}
    if problem := servable.fit_problem(shapes, weights):
        raise Failure("ArtifactInvalid", f"the adapter to continue does not fit: it {problem}")
    changed = {match["module"] for name in shapes if (match := servable.TENSOR.match(name))}
    if untouched := sorted(set(layers) - changed):
        raise Failure(
            "ArtifactInvalid",
            f"the adapter to continue leaves {len(untouched)} of {len(layers)} linear layers alone ({untouched[0]}, for "
            "example), and this run trains them all; leave out startFrom for a new adapter",
        )


def linear_layers(model: Any) -> dict[str, tuple[int, ...]]:
    """Name → (out, in) of what an adapter changes: every linear layer but the head."""
    head = model.get_output_embeddings()
    found: dict[str, tuple[int, ...]] = {}
    for name, part in model.named_modules():
        if part is head:
            continue
        if isinstance(part, torch.nn.Linear):
            found[name] = (part.out_features, part.in_features)
        elif isinstance(part, Conv1D):
            found[name] = (part.nf, part.nx)
    return found
