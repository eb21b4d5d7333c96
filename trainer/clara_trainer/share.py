"""One process's share of a step: forward and backward over its examples. Called by gradients.py and in every worker (workers.py).

A share is everything that a process must be told: with the weights of the moment it gives the same numbers wherever it is
computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from clara_trainer.batches import Layout, log_likelihood
from clara_trainer.stop import Stop
from clara_trainer.tokens import Example


@dataclass(frozen=True, slots=True)
class Share:
    """What one process computes of a step."""

    passes: Sequence[Sequence[Example]]  # the examples of each forward pass
    divisor: int  # supervised tokens of the whole step, over all processes
    seed: int  # of dropout
    gradient_checkpointing: bool
    learn: bool = True  # False: only the loss, without dropout


def compute(model: Any, device: torch.device, layout: Layout, share: Share, stop: Stop) -> float | None:
    """The share's part of the step's mean loss; its gradients lie in the parameters. None when told to stop between passes."""
    prepare(model, share)
    total = 0.0
    for examples in share.passes:
        if stop.requested:
            return None
        with torch.set_grad_enabled(share.learn), autocast(device):
            loss = log_likelihood(model, layout.batch(examples).to(device)) / share.divisor
        if share.learn:
            loss.backward()
        total += float(loss.detach())
    return total


def prepare(model: Any, share: Share) -> None:
    """No gradients of before, this share's randomness, and activations computed twice where it says so."""
    model.zero_grad(set_to_none=True)
    model.train(share.learn)
    torch.manual_seed(share.seed)
    if share.gradient_checkpointing and not model.is_gradient_checkpointing:
        model.enable_input_require_grads()  # frozen embeddings would cut the way back
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def seed_of(seed: int, step: int, process: int = 0) -> int:
    """Randomness of a step (dropout) is a function of seed and step: nothing to save, nothing to restore.

    Each process has its own, or they would all leave out the same places.
    """
    who = f"\n{process}" if process else ""
    return int.from_bytes(hashlib.sha256(f"{seed}\nstep\n{step}{who}".encode()).digest()[:7])


def autocast(device: torch.device) -> Any:
    """bfloat16 matrices on a GPU; on a CPU nothing changes."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()
