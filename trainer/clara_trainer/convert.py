"""DoRA → plain LoRA: the change of every weight, re-fitted by a truncated SVD, with the error that costs. For finish.py.

DoRA's weights are m · (W + BA) / ‖W + BA‖ by rows, a change of full rank; engines load A and B only. The best A and B of a
rank are the largest singular values of that change (Eckart & Young 1936). peft's own conversion was measured to be wrong at
every rank, so the change is computed here from peft's parts, and held against peft's merged logits by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer

ADAPTER = "default"
EXACT_UP_TO = (
    2_048  # smaller side; above it a randomised SVD (Halko et al. 2011) is minutes faster and as good for small ranks
)
OVERSAMPLED, ITERATIONS = 16, 4


@dataclass(frozen=True, slots=True)
class Refit:
    """B [out, rank] and A [rank, in] of one module; `lost` and `whole`: squared Frobenius norms of the rest and the change."""

    up: torch.Tensor
    down: torch.Tensor
    lost: float
    whole: float


def changes(model: Any) -> dict[str, torch.Tensor]:
    """What a DoRA model adds to each weight [out, in], float32, by module name of the base."""
    found = {}
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer) and ADAPTER in module.lora_A:
            found[name] = _change(module)
    return found


def _change(module: Any) -> torch.Tensor:
    weight = module.get_base_layer().weight.detach().float()
    direction = weight + module.get_delta_weight(ADAPTER).detach().float()
    magnitude = module.lora_magnitude_vector[ADAPTER].weight.detach().float()
    return (magnitude / direction.norm(dim=1))[:, None] * direction - weight


def refit(change: torch.Tensor, rank: int) -> Refit:
    """The best A and B of that rank; a rank above the matrix's own is filled with zeros."""
    kept = min(rank, *change.shape)
    if min(change.shape) <= EXACT_UP_TO:
        u, s, vh = torch.linalg.svd(change, full_matrices=False)
    else:
        torch.manual_seed(0)
        u, s, v = torch.svd_lowrank(change, q=kept + OVERSAMPLED, niter=ITERATIONS)
        vh = v.T
    root = s[:kept].sqrt()
    up = torch.zeros(change.shape[0], rank, device=change.device)
    down = torch.zeros(rank, change.shape[1], device=change.device)
    up[:, :kept] = u[:, :kept] * root
    down[:kept] = root[:, None] * vh[:kept]
    whole = float(change.square().sum())
    return Refit(up.cpu(), down.cpu(), lost=float((change - up @ down).square().sum()), whole=whole)


def plain(base: Any, parts: Mapping[str, Refit], rank: int) -> Any:
    """A fresh base with a LoRA that holds these parts; alpha is the rank, so the scale is 1."""
    suffixes = sorted({name.rpartition(".")[2] for name in parts})
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=suffixes, bias="none", task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer) and name in parts:
            module.lora_A[ADAPTER].weight.data.copy_(parts[name].down)
            module.lora_B[ADAPTER].weight.data.copy_(parts[name].up)
    return model.eval()


def weight_error(parts: Mapping[str, Refit]) -> float:
    """Relative Frobenius error of the change over all modules."""
    whole = sum(part.whole for part in parts.values())
    return (sum(part.lost for part in parts.values()) / whole) ** 0.5 if whole else 0.0
