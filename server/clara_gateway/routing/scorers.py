"""How good a placement is: lower is better, the first scorer decides, the next ones break ties. Called by `pick.py`.

An engine that already runs the adapter comes first among equally busy ones: a batch holds only `maxLoras` different
adapters. The order keeps that from growing into a hot spot: affinity never beats a less busy engine.
"""

from __future__ import annotations

from collections.abc import Callable

from clara_gateway.routing.filters import Moment, Placement

Scorer = Callable[[Placement, Moment], int]


def requests_in_flight(placement: Placement, moment: Moment) -> int:
    """Requests that this gateway has running on the engine."""
    return moment.in_flight.get(placement.engine.key, 0)


def adapter_is_idle_there(placement: Placement, moment: Moment) -> int:
    """0 when the engine runs this adapter now, 1 when it would be one more in the batch."""
    return 0 if moment.running.get((placement.engine.key, placement.served_name)) else 1


SCORERS: tuple[Scorer, ...] = (requests_in_flight, adapter_is_idle_there)


def score(placement: Placement, moment: Moment) -> tuple[int, ...]:
    """All scores of a placement, in order of weight."""
    return tuple(scorer(placement, moment) for scorer in SCORERS)
