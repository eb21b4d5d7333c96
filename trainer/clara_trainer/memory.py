"""How a step is cut to fit into memory, and what is done when it does not. The recipe never changes. For train.py and steps.py.

The ladder: micro-batch halves and accumulation doubles, down to one example; then activations are computed twice
(gradient checkpointing). The step stays the same examples in the same order, its loss divided by the same number of tokens.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from clara_api.training_job import Hyperparameters, MemoryPlan

TOKENS_ON_CPU = 2_048  # per pass: beyond it a CPU gains nothing from more at once
TOKENS_ON_GPU = 16_384  # fills the matrix units of today's cards; the ladder corrects it downwards
PER_LEVEL = 4  # a pod that the kernel killed said nothing: the next one starts two halvings lower


def first_plan(parameters: Hyperparameters, lengths: Sequence[int], *, on_gpu: bool, level: int = 0) -> MemoryPlan:
    """The plan to begin with. `lengths`: tokens per training example. `level`: how often a pod was killed for its memory."""
    batch = parameters.global_batch_size
    if parameters.micro_batch_size == "auto":
        budget = TOKENS_ON_GPU if on_gpu else TOKENS_ON_CPU
        mean = sum(lengths) / len(lengths)
        micro = max(1, min(batch, int(budget // mean)))
    else:
        micro = min(parameters.micro_batch_size, batch)
    plan = _plan(batch, micro)
    reason = f"pods of this run were killed for their memory {level} time(s)"
    for _ in range(level):
        lower = _plan(batch, max(1, plan.micro_batch_size // PER_LEVEL), reason=reason)
        plan = lower.model_copy(update={"gradient_checkpointing": plan.micro_batch_size == 1})
    return plan


def lower(plan: MemoryPlan, batch: int, why: str) -> MemoryPlan | None:
    """The next rung; None at the bottom.

    >>> lower(_plan(8, 8), 8, "")
    MemoryPlan(micro_batch_size=4, accumulation=2, gradient_checkpointing=False, reason='')
    """
    if plan.micro_batch_size > 1:
        halved = _plan(batch, plan.micro_batch_size // 2, reason=why[:256])
        return halved.model_copy(update={"gradient_checkpointing": plan.gradient_checkpointing})
    if not plan.gradient_checkpointing:
        return plan.model_copy(update={"gradient_checkpointing": True, "reason": why[:256]})
    return None


def ladder(plan: MemoryPlan, batch: int) -> Iterator[MemoryPlan]:
    """Every rung from `plan` down."""
    rung: MemoryPlan | None = plan
    while rung is not None:
        yield rung
        rung = lower(rung, batch, "")


def _plan(batch: int, micro: int, reason: str = "") -> MemoryPlan:
    return MemoryPlan(micro_batch_size=micro, accumulation=-(-batch // micro), reason=reason)


def peak_bytes(device: torch.device) -> int:
    """Most memory used until now: the device's allocator, or the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def available_bytes(device: torch.device) -> int | None:
    """The device's memory, or the container's limit; None when it has none."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return None
    return None if limit == "max" else int(limit)


def free_cache(device: torch.device) -> None:
    """After an out-of-memory error: give back what the allocator keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def estimate_bytes(model: Any, tokens: int, supervised: int) -> int:
    """Weights, adapter with gradient and two moments, and what one pass over `tokens` keeps for its way back.

    Per token and layer about ten vectors of the hidden size and four of the feed-forward size stay alive (the inputs of
    every linear layer, their adapters' inputs in float32, attention's four); of the head only supervised tokens, three
    times in float32. Measured against real peaks in tests/bench/training.py.
    """
    config = model.config.get_text_config()
    item = torch.finfo(model.dtype).bits // 8
    frozen = sum(p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad)
    adapter = sum(p.numel() for p in model.parameters() if p.requires_grad)
    hidden, inner = config.hidden_size, getattr(config, "intermediate_size", 4 * config.hidden_size)
    per_token = config.num_hidden_layers * (10 * hidden + 4 * inner) * item
    head = supervised * config.vocab_size * 4 * 3
    return int(frozen + adapter * 16 + tokens * per_token + head)


def flops_per_token(model: Any) -> float:
    """Forward 2 per weight, backward 2 for the way through frozen weights, and 2 more for the adapter's own (Kaplan 2020)."""
    frozen = sum(weights_in(p) for n, p in model.named_parameters() if not p.requires_grad and "embed" not in n)
    adapter = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return float(4 * frozen + 6 * adapter)


def weights_in(parameter: Any) -> int:
    """Weights of a parameter; a 4-bit one packs two into each of its bytes."""
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else state.shape.numel())
