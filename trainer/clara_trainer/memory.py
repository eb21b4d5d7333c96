"""How a step is cut to fit into memory, and what is done when it does not. The recipe never changes. For train.py and gradients.py.

The ladder: micro-batch halves and accumulation doubles, down to one example; then activations are computed twice
(gradient checkpointing). The step stays the same examples in the same order, its loss divided by the same number of tokens.
A run begins on the first rung that is computed to fit, and goes down further when the computation was too kind.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from clara_api.training_job import Hyperparameters, MemoryPlan

TOKENS_ON_CPU = 2_048  # per pass: beyond it a CPU gains nothing from more at once
TOKENS_ON_GPU = 16_384  # fills the matrix units of today's cards; the ladder corrects it downwards
PER_LEVEL = 4  # a pod that the kernel killed said nothing: the next one starts two halvings lower
USABLE = 0.9  # of the memory: allocators lose some between what they hand out
MOMENTS = 12  # bytes per trained weight besides itself: gradient and two moments, float32


@dataclass(frozen=True, slots=True)
class Lengths:
    """What is known of the training examples."""

    mean: float  # tokens
    longest: int
    supervised: float  # share of the tokens that carry loss

    @classmethod
    def of(cls, tokens: Sequence[int], supervised: Sequence[int]) -> Lengths:
        """Of one number per example each."""
        return cls(sum(tokens) / len(tokens), max(tokens), sum(supervised) / sum(tokens))

    def heaviest_pass(self, examples: int, *, packed: bool) -> int:
        """Tokens of a pass of that many examples, one of them the longest; a packed step is cut into passes of like weight."""
        return self.longest + round((examples - 1) * (self.mean if packed else self.longest))


def first_plan(parameters: Hyperparameters, mean: float, *, on_gpu: bool, processes: int = 1) -> MemoryPlan:
    """The plan to begin with, whatever memory there is. `mean`: tokens per training example."""
    batch = parameters.global_batch_size
    each = -(-batch // processes)
    if parameters.micro_batch_size == "auto":
        budget = TOKENS_ON_GPU if on_gpu else TOKENS_ON_CPU
        return _plan(batch, max(1, min(each, int(budget // mean))), processes)
    return _plan(batch, min(parameters.micro_batch_size, each), processes)


def after_kills(plan: MemoryPlan, batch: int, level: int) -> MemoryPlan:
    """What the next pod begins with when `level` pods were killed for their memory: each without a word, so by two rungs."""
    reason = f"pods of this run were killed for their memory {level} time(s)"
    for _ in range(level):
        lowest = plan.micro_batch_size == 1
        plan = _plan(batch, max(1, plan.micro_batch_size // PER_LEVEL), plan.processes, reason=reason).model_copy(
            update={"gradient_checkpointing": lowest or plan.gradient_checkpointing}
        )
    return plan


def fitting(plan: MemoryPlan, batch: int, needed: Callable[[MemoryPlan], int], available: int | None) -> MemoryPlan:
    """The first rung from `plan` down for which `needed` bytes are there; the lowest when none is."""
    if available is None:
        return plan
    first = needed(plan)
    why = f"it would need about {first / 2**30:.1f} GiB of {available / 2**30:.1f}"
    last = plan
    for rung in ladder(plan, batch):
        last = rung if rung is plan else rung.model_copy(update={"reason": why})
        if needed(rung) <= USABLE * available:
            break
    return last


def lower(plan: MemoryPlan, batch: int, why: str) -> MemoryPlan | None:
    """The next rung; None at the bottom.

    >>> lower(_plan(8, 8), 8, "").accumulation
    2
    """
    if plan.micro_batch_size > 1:
        halved = _plan(batch, plan.micro_batch_size // 2, plan.processes, reason=why[:256])
        return halved.model_copy(update={"gradient_checkpointing": plan.gradient_checkpointing})
    if not plan.gradient_checkpointing:
        return plan.model_copy(update={"gradient_checkpointing": True, "reason": why[:256]})
    return None


def finer(before: MemoryPlan | None, plan: MemoryPlan, batch: int) -> MemoryPlan:
    """What an earlier pod of the run had to come down to, for as many processes as there are now; else `plan`.

    A plan without a reason was only the share of one process among more.

    >>> finer(_plan(8, 2, 2, "too much"), _plan(8, 8), 8).accumulation, finer(_plan(8, 1, 8), _plan(8, 8), 8).accumulation
    (4, 1)
    """
    if before is None or not before.reason or _height(before) >= _height(plan):
        return plan
    micro, processes = before.micro_batch_size, plan.processes
    return before.model_copy(update={"accumulation": -(-batch // (micro * processes)), "processes": processes})


def _height(plan: MemoryPlan) -> tuple[int, bool]:
    """Its place on the ladder; lower needs less."""
    return plan.micro_batch_size, not plan.gradient_checkpointing


def ladder(plan: MemoryPlan, batch: int) -> Iterator[MemoryPlan]:
    """Every rung from `plan` down."""
    rung: MemoryPlan | None = plan
    while rung is not None:
        yield rung
        rung = lower(rung, batch, "")


def _plan(batch: int, micro: int, processes: int = 1, reason: str = "") -> MemoryPlan:
    return MemoryPlan(
        micro_batch_size=micro, accumulation=-(-batch // (micro * processes)), processes=processes, reason=reason
    )


def peak_bytes(device: torch.device) -> int:
    """Most memory used until now: the device's allocator, or the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak(device: torch.device) -> None:
    """Begin anew with the peak, where the device counts its own: loading may have needed more than steps do."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def used_bytes(device: torch.device) -> int:
    """Memory in use now that cannot be given back: the device's allocator, or the process without pages of files.

    A base in the device's own type stays such pages on a CPU, shared by all processes; the kernel reads them again.
    """
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = dict(line.split(":", 1) for line in lines if line.startswith(("RssAnon", "RssShmem")))
    return sum(int(size.split()[0]) * 1024 for size in sizes.values())


def available_bytes(device: torch.device, processes: int = 1) -> int | None:
    """The device's memory, or this process's part of the container's limit; None when it has none."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return None
    return None if limit == "max" else int(limit) // processes


def free_cache(device: torch.device) -> None:
    """After an out-of-memory error: give back what the allocator keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def needed_bytes(model: Any, plan: MemoryPlan, lengths: Lengths, *, packed: bool) -> int:
    """What steps cut by this plan need at once, on a model that is loaded and has taken none: what is in use, gradients and
    moments, and the heaviest pass."""
    device = next(p.device for p in model.parameters() if p.requires_grad)
    adapter = sum(p.numel() for p in model.parameters() if p.requires_grad)
    tokens = lengths.heaviest_pass(plan.micro_batch_size, packed=packed)
    supervised = round(lengths.supervised * tokens)
    one_pass = pass_bytes(model, tokens, supervised, twice=plan.gradient_checkpointing)
    return used_bytes(device) + MOMENTS * int(adapter) + one_pass


def pass_bytes(model: Any, tokens: int, supervised: int, *, twice: bool = False) -> int:
    """What one pass over `tokens` keeps for its way back.

    Per token and layer about twelve vectors of the hidden size and five of the feed-forward size stay alive (the inputs of
    every linear layer and norm, attention's, and what the way back adds); with activations computed twice only one vector
    per layer, and the others of one layer with its gradients. Of the head only supervised tokens, four times in float32.
    tests/bench/training.py measures it against real peaks.
    """
    config = model.config.get_text_config()
    layers, hidden = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
    if not isinstance(layers, int) or not isinstance(hidden, int):
        return 0  # an architecture that says too little: the ladder finds out
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    widest = inner if isinstance(inner, int) else max(inner)
    item = torch.finfo(model.dtype).bits // 8 if model.dtype.is_floating_point else 4
    layer = (12 * hidden + 5 * widest) * item
    kept = layers * hidden * item + 2 * layer if twice else layers * layer
    return int(tokens * kept + supervised * config.vocab_size * 4 * 4)


def flops_per_token(model: Any) -> float:
    """Forward 2 per weight, backward 2 for the way through frozen weights, and 2 more for the adapter's own (Kaplan 2020)."""
    frozen = sum(weights_in(p) for n, p in model.named_parameters() if not p.requires_grad and "embed" not in n)
    adapter = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return float(4 * frozen + 6 * adapter)


def weights_in(parameter: Any) -> int:
    """Weights of a parameter; a 4-bit one packs two into each of its bytes."""
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else state.shape.numel())
