"""Re-fit a DoRA adapter to a plain LoRA, the form engines take. Called by finish.py.

DoRA's layer is  W' = m · (W + s·B·A) / ‖W + s·B·A‖  (norm of each row; Liu et al. 2024, eq. 5). What an engine must add to W is
D = W' − W, and the best plain LoRA of rank r for it is D's truncated SVD (Eckart–Young). D has full rank in general, because m
scales whole rows, so something is lost: how much is measured, never assumed. peft's own `save_as_lora` is not used: it fits
another difference and was found wrong at every rank.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from clara_api.fingerprint import NOISE_FLOOR, Fingerprint, l2
from clara_api.handoff.artifact import WEIGHTS
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file

from clara_trainer.outcome import Failure

ADAPTER = "default"  # peft's name of the only adapter
POWER_ITERATIONS = 6  # D's tail is flat, because whole rows are scaled: fewer would find worse directions
SEED = 0

log = logging.getLogger(__name__)


def write_plain_lora(model: Any, rank: int, out: Path) -> float:
    """Write the DoRA adapter of `model` as a plain LoRA of `rank` into `out`; returns the relative Frobenius error over all D."""
    tensors: dict[str, Any] = {}
    lost, whole = 0.0, 0.0
    for name, layer in dora_layers(model):
        change = change_of(layer, name)
        b, a = fit(change, rank)
        lost += float(torch.sum((change - b @ a) ** 2))
        whole += float(torch.sum(change**2))
        tensors[f"base_model.model.{name}.lora_A.weight"] = padded(a, (rank, a.shape[1]))
        tensors[f"base_model.model.{name}.lora_B.weight"] = padded(b, (b.shape[0], rank))
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})
    plain_config(model.peft_config[ADAPTER], rank).save_pretrained(out)
    return math.sqrt(lost / whole) if whole else 0.0


def dora_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Name in the base and adapted layer, in the model's order."""
    for name, part in model.base_model.model.named_modules():
        if isinstance(part, LoraLayer):
            yield name, part


def change_of(layer: Any, name: str) -> Any:
    """D, (out, in), float32: what the adapter adds to the layer's weight."""
    base = layer.get_base_layer()
    if not isinstance(base, torch.nn.Linear):
        raise Failure("NotServable", f"'{name}' is a {type(base).__name__}, which is not converted; use method lora")
    with torch.no_grad():
        weight = base.weight.float()
        turned = (
            weight + layer.get_delta_weight(ADAPTER).float()
        )  # the delta holds the scale, also a rank-stabilised one
        size = layer.lora_magnitude_vector[ADAPTER].weight.float()
        return (size / torch.linalg.norm(turned, dim=1)).unsqueeze(1) * turned - weight


def fit(change: Any, rank: int) -> tuple[Any, Any]:
    """B (out, k) and A (k, in), k = min(rank, out, in), with B·A the best approximation of `change`.

    Randomised SVD (Halko et al. 2011) from a fixed seed, so that it repeats: a layer of 4,096 x 4,096 takes 0.7 s on one CPU
    thread, torch.linalg.svd 24 s, and there are hundreds. Its error is the optimum within 0.1 %; at full rank it is exact.
    """
    k = min(rank, *change.shape)
    with torch.random.fork_rng(devices=[change.device] if change.is_cuda else []):
        torch.manual_seed(SEED)
        u, s, v = torch.svd_lowrank(change, q=min(2 * rank + 8, *change.shape), niter=POWER_ITERATIONS)
    root = torch.sqrt(s[:k])  # halves of like size: neither underflows where engines compute in 16 bits
    return u[:, :k] * root, (v[:, :k] * root).T


def padded(matrix: Any, shape: tuple[int, int]) -> Any:
    """The matrix with zeros up to `shape`: layers that are narrower than the rank still have the adapter's rank."""
    whole = torch.zeros(shape, dtype=torch.float32)
    whole[: matrix.shape[0], : matrix.shape[1]] = matrix.cpu()
    return whole


def plain_config(dora: Any, rank: int) -> Any:
    """alpha = rank and no rank stabilisation: the scale is 1, whatever reads it."""
    return LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=dora.target_modules,
        base_model_name_or_path=dora.base_model_name_or_path,
        bias="none",
        task_type="CAUSAL_LM",
        inference_mode=True,
    )


def relative_error(converted: Fingerprint, trained: Fingerprint) -> float:
    """How far the change in log-probabilities moved by the conversion, as a share of that change."""
    differences = [c - t for c, t in zip(converted.vector(), trained.vector(), strict=True)]
    return l2(differences) / max(l2(trained.vector()), NOISE_FLOOR)
