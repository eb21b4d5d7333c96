"""Which base comes next when one cannot be loaded or does not fit into memory. Pure; called by retry.

A fallback is of use only where engines with that base serve the family; others are passed over, and the message says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from clara_api.training_job import TrainingBase

from clara_operator.training_job.observe import Seen


@dataclass(frozen=True, slots=True)
class Fallback:
    """The next base, or None; and what to say about it."""

    base: TrainingBase | None
    message: str


def next_base(seen: Seen, current: TrainingBase) -> Fallback:
    """The first base after `current` in spec order that the family's engines can use."""
    bases = [seen.spec.base_model, *seen.spec.fallback_base_models]
    at = next((i for i, b in enumerate(bases) if b.digest == current.digest), 0)
    skipped: list[str] = []
    for base in bases[at + 1 :]:
        why = _useless(seen, base)
        if why is None:
            return Fallback(base, "; ".join([*skipped, f"fallback base {base.name} is used"]))
        skipped.append(f"fallback base {base.name} is skipped: {why}")
    return Fallback(None, "; ".join(skipped))


def _useless(seen: Seen, base: TrainingBase) -> str | None:
    if seen.start is not None and seen.start.base_digest != base.digest:
        return "startFrom continues an adapter of another base"
    if all(e.base_digest != base.digest for e in seen.engines):
        return f"no ServingDeployment with its digest lists family {seen.spec.family}"
    return None
