"""Which engines may take a request. Called by `snapshot.py` (facts from the cluster) and `pick.py` (facts of this moment).

A filter is named by the fact that rules an engine out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

EngineKey = tuple[str, str, str, str]  # namespace, name, address, process: a restarted engine is another one


@dataclass(frozen=True, slots=True)
class EngineView:
    """One engine as the cluster reports it. `verified` maps engine names to the digest proven on this process."""

    namespace: str
    name: str
    deployment: str
    address: str
    process: str
    healthy: bool
    draining: bool
    verified: Mapping[str, str]

    @property
    def key(self) -> EngineKey:
        return (self.namespace, self.name, self.address, self.process)


@dataclass(frozen=True, slots=True)
class Placement:
    """An engine and the name under which it holds the wanted model."""

    engine: EngineView
    served_name: str


@dataclass(frozen=True, slots=True)
class Moment:
    """What only this gateway knows right now."""

    ejected: Collection[EngineKey] = ()
    refused: Mapping[EngineKey, EngineView] = field(default_factory=dict)  # engines that refused this very request
    in_flight: Mapping[EngineKey, int] = field(default_factory=dict)
    running: Mapping[tuple[EngineKey, str], int] = field(default_factory=dict)  # the same, per served name


def engine_has_no_address(engine: EngineView) -> bool:
    """The pod has no IP yet, or none any more."""
    return not engine.address


def engine_is_not_healthy(engine: EngineView) -> bool:
    """Its agent says so."""
    return not engine.healthy


def engine_is_draining(engine: EngineView) -> bool:
    """The pod is ending; what runs there goes on."""
    return engine.draining


def engine_is_ejected(placement: Placement, moment: Moment) -> bool:
    """This gateway put it out by itself."""
    return placement.engine.key in moment.ejected


def engine_refused_this_request(placement: Placement, moment: Moment) -> bool:
    """Once refused, an engine is asked again only after it reported something new about itself."""
    return moment.refused.get(placement.engine.key) == placement.engine


CLUSTER_FACTS: tuple[Callable[[EngineView], bool], ...] = (
    engine_has_no_address,
    engine_is_not_healthy,
    engine_is_draining,
)
MOMENTARY_FACTS: tuple[Callable[[Placement, Moment], bool], ...] = (engine_is_ejected, engine_refused_this_request)


def why_no_requests(engine: EngineView) -> str | None:
    """The first fact that keeps requests from an engine, in words, or None when it may take some."""
    return next((fact.__name__.replace("_", " ") for fact in CLUSTER_FACTS if fact(engine)), None)


def available(placement: Placement, moment: Moment) -> bool:
    """Whether nothing speaks against this placement at this moment."""
    return not any(fact(placement, moment) for fact in MOMENTARY_FACTS)
