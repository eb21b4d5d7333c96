"""Which version of each family each engine should hold, and where the aliases point. Pure.

    load → verify → serve (the alias moves) → retire

The alias moves when the wanted version is verified on `minEngines` engines. The old version is retired one pass later, when
the routes that no longer name it are what the API server holds: nothing new is sent, running answers end, then the agent
unloads it. Never more adapters on an engine than it can register.
"""

from __future__ import annotations

from dataclasses import dataclass

from clara_api import versions
from clara_api.engine import WantedAdapter
from clara_api.serving_deployment import FamilySelector, Route

from clara_operator.serving_deployment.observe import Approved, EnginePod, Seen

REMEMBERED = 10  # retired versions per family that are still answered with 'superseded by'


@dataclass(frozen=True, slots=True)
class FamilyPlan:
    """One family: what is served, what should be, and whether the alias may move now."""

    selector: FamilySelector
    wanted: Approved | None
    current: Route | None  # the Serving route, as the API server holds it
    verified: int  # engines on which `wanted` is verified
    moves: bool  # the alias moves to `wanted` in this pass

    @property
    def settled(self) -> bool:
        """The wanted version is the served one."""
        return (
            self.wanted is not None and self.current is not None and self.current.engine_name == self.wanted.engine_name
        )


def plan_family(seen: Seen, selector: FamilySelector) -> FamilyPlan:
    """Choose the newest approved version in range and see how far it is."""
    approved = [a for a in seen.approved if a.family == selector.name]
    newest = versions.newest_in_range([a.version for a in approved], selector.versions)
    wanted = next((a for a in approved if a.version == newest), None)
    current = next((r for r in seen.status.routes if r.family == selector.name and r.state == "Serving"), None)
    if current is None:
        current = _from_engines(seen, selector.name)
    verified = (
        sum(p.healthy and p.holds(wanted.engine_name, wanted.digest) == "Verified" for p in seen.live) if wanted else 0
    )
    settled = wanted is not None and current is not None and current.engine_name == wanted.engine_name
    return FamilyPlan(
        selector,
        wanted,
        current,
        verified,
        moves=not settled and wanted is not None and verified >= selector.min_engines,
    )


def _from_engines(seen: Seen, family: str) -> Route | None:
    """What was served, if the status was lost: engines still say which name they serve."""
    for pod in seen.live:
        for adapter in pod.spec.adapters if pod.spec else []:
            approved = next(
                (a for a in seen.approved if a.family == family and a.engine_name == adapter.engine_name), None
            )
            if adapter.state == "serve" and approved is not None:
                return _route(approved, "Serving", 100)
    return None


def adapters_for(seen: Seen, pod: EnginePod, families: list[FamilyPlan]) -> list[WantedAdapter]:
    """What this engine should hold: served first, then retiring, then new ones while there is room."""
    served, loading = [], []
    for family in families:
        current = _approved_route(seen, family.current)
        if current is not None:
            served.append(_wanted(current, "serve"))
        if family.wanted is not None and not family.settled:
            loading.append(_wanted(family.wanted, "load"))
    names = {a.engine_name for a in (*served, *loading)}
    retiring = [
        _retired(a)
        for a in (pod.spec.adapters if pod.spec else [])
        if a.engine_name not in names and _still_there(pod, a)
    ]
    # What failed is not registered and the agent keeps an eye on its own room, so it stays listed without taking any.
    failed = [a for a in loading if pod.holds(a.engine_name, a.digest) == "Failed"]
    begun = {a.engine_name for a in pod.spec.adapters} if pod.spec else set()
    waiting = sorted((a for a in loading if a not in failed), key=lambda a: a.engine_name not in begun)
    room = seen.spec.engine.max_cpu_loras - len(served) - len(retiring)
    return sorted((*served, *retiring, *failed, *waiting[: max(0, room)]), key=lambda a: a.engine_name)


def _approved_route(seen: Seen, route: Route | None) -> Approved | None:
    """The route's bytes, while they are still approved and known: a revoked version is retired at once."""
    if route is None:
        return None
    return next((a for a in seen.approved if a.engine_name == route.engine_name), None)


def _still_there(pod: EnginePod, adapter: WantedAdapter) -> bool:
    return pod.holds(adapter.engine_name, adapter.digest) is not None


def _wanted(approved: Approved, state: str) -> WantedAdapter:
    return WantedAdapter(engine_name=approved.engine_name, digest=approved.digest, uri=approved.uri, state=state)


def _retired(adapter: WantedAdapter) -> WantedAdapter:
    return adapter.model_copy(update={"state": "retire"})


def routes_for(seen: Seen, families: list[FamilyPlan]) -> list[Route]:
    """The routes that are true after this pass, sorted by engine name."""
    routes: dict[str, Route] = {}
    for family in families:
        for route in _family_routes(seen, family):
            routes.setdefault(route.engine_name, route)
    return [routes[name] for name in sorted(routes)]


def _family_routes(seen: Seen, family: FamilyPlan) -> list[Route]:
    wanted, current = family.wanted, family.current
    alive = _approved_route(seen, current)
    serving = wanted if family.moves or family.settled else alive
    routes = [_route(serving, "Serving", 100)] if serving is not None else []
    if wanted is not None and wanted is not serving and (serving is None or wanted.engine_name != serving.engine_name):
        routes.append(_route(wanted, "Loading", 0))
    kept = {r.engine_name for r in routes}
    successor = serving.version if serving else wanted.version if wanted else None
    old = [
        r
        for r in seen.status.routes
        if r.family == family.selector.name and r.engine_name not in kept and r.state != "Loading"
    ]
    old.sort(key=lambda r: versions.version_key(r.version), reverse=True)
    retired = {"state": "Retired", "weight": 0, "successor": successor}
    return routes + [r.model_copy(update=retired) for r in old[:REMEMBERED]]


def _route(approved: Approved, state: str, weight: int) -> Route:
    return Route(
        family=approved.family,
        version=approved.version,
        engine_name=approved.engine_name,
        digest=approved.digest,
        state=state,
        weight=weight,
    )
