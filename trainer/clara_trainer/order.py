"""Which examples make which step: a pure function of seed and step, so that a resumed run needs no saved position. For train.py.

The data are seen epoch after epoch as one endless row, each epoch in its own order; step k takes the next `global_batch`
examples of it. Nothing depends on how a step is cut into micro-batches.
"""

from __future__ import annotations

import functools
import hashlib
import math


@functools.lru_cache(maxsize=2)  # a step reaches over at most two epochs
def epoch_order(examples: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The examples 0 … n-1 in this epoch's order. By hash, because libraries change their shuffles between versions."""
    return tuple(sorted(range(examples), key=lambda i: hashlib.sha256(f"{seed}\n{epoch}\n{i}".encode()).digest()))


def total_steps(examples: int, *, epochs: float, global_batch: int) -> int:
    """Optimizer steps of the whole run, at least one.

    >>> total_steps(100, epochs=3, global_batch=64)
    5
    """
    return max(1, math.ceil(round(examples * epochs, 6) / global_batch))


def batch(step: int, *, examples: int, epochs: float, global_batch: int, seed: int) -> list[int]:
    """The examples of `step` (from 0); the last step takes what is left.

    >>> sorted(batch(0, examples=4, epochs=1, global_batch=3, seed=7) + batch(1, examples=4, epochs=1, global_batch=3, seed=7))
    [0, 1, 2, 3]
    """
    seen = max(1, round(examples * epochs))
    places = range(step * global_batch, min((step + 1) * global_batch, seen))
    return [epoch_order(examples, seed, place // examples)[place % examples] for place in places]


def learning_rate(step: int, *, peak: float, steps: int, warmup_ratio: float) -> float:
    """Rate of `step` (from 0): linear rise, then half a cosine down to zero (Loshchilov & Hutter 2017).

    At least the last step has a rate above zero: a run of one step learns.

    >>> [round(learning_rate(s, peak=1, steps=5, warmup_ratio=0.2), 2) for s in range(5)]
    [0.0, 1.0, 0.85, 0.5, 0.15]
    """
    warmup = min(math.ceil(steps * warmup_ratio), steps - 1)
    if step < warmup:
        return peak * step / max(1, warmup)
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))
