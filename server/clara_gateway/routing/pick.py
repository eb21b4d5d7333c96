"""Filter → score → pick: the engine that gets the next request. Called by `proxy.py` before every attempt."""

from __future__ import annotations

from collections.abc import Sequence

from clara_gateway.routing.filters import Moment, Placement, available
from clara_gateway.routing.scorers import score


def pick(placements: Sequence[Placement], moment: Moment, *, turn: int) -> Placement | None:
    """The best available placement, or None. Equals take turns: `turn` is any counter that moves on."""
    candidates = [p for p in placements if available(p, moment)]
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    scores = [score(p, moment) for p in candidates]
    best = min(scores)
    equals = [p for p, s in zip(candidates, scores, strict=True) if s == best]
    return equals[turn % len(equals)]
