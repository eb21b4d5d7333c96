"""What the gateway knows, as one frozen value: namespaces → families → versions → engines that may answer.

`knowledge.py` turns each changed object into a view (once per resourceVersion) and calls `take_snapshot` on the views; the
rest of `routing/` only looks things up in the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from clara_api.engine import EngineObjectSpec, EngineObjectStatus
from clara_api.serving_deployment import Route, RouteState, ServingDeploymentSpec, ServingDeploymentStatus
from clara_api.versions import version_key

from clara_gateway.routing.filters import EngineView, Placement, why_no_requests

_STRONGEST: dict[RouteState, int] = {"Retired": 0, "Loading": 1, "Serving": 2}


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """One ServingDeployment: its base and its routes."""

    namespace: str
    name: str
    base: str
    created: int
    min_engines: Mapping[str, int]
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One version of a family in one namespace, over all deployments that have it."""

    namespace: str
    family: str
    version: str
    state: RouteState
    aliased: bool  # some deployment lets the alias point here
    proven: bool  # verified on minEngines engines of some deployment
    successor: str | None
    base: str
    created: int
    placements: tuple[Placement, ...]

    @property
    def public_name(self) -> str:
        return f"{self.family}-{self.version}"


@dataclass(frozen=True, slots=True)
class ServedBase:
    """A base model in one namespace, over all deployments that have it."""

    namespace: str
    name: str
    created: int
    placements: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class FamilyView:
    """Every known version of a family (newest first), and where its alias points now."""

    name: str
    versions: Mapping[str, ServedVersion]
    alias: ServedVersion | None


@dataclass(frozen=True, slots=True)
class NamespaceView:
    """What one namespace serves."""

    families: Mapping[str, FamilyView] = field(default_factory=dict)
    bases: Mapping[str, ServedBase] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything known at one moment."""

    namespaces: Mapping[str, NamespaceView] = field(default_factory=dict)
    engines: tuple[EngineView, ...] = ()


def engine_view(obj: Mapping[str, Any]) -> EngineView:
    """An Engine object as routing needs it. Raises pydantic.ValidationError when it is not one."""
    spec = EngineObjectSpec.model_validate(obj.get("spec"))
    status = EngineObjectStatus.model_validate(obj.get("status") or {})
    return EngineView(
        namespace=obj["metadata"]["namespace"],
        name=obj["metadata"]["name"],
        deployment=spec.serving_deployment_ref.name,
        address=spec.address or "",
        process=status.process or "",
        healthy=status.healthy,
        draining=status.draining,
        verified={a.engine_name: a.digest for a in status.adapters if a.state == "Verified"},
    )


def deployment_view(obj: Mapping[str, Any]) -> DeploymentView:
    """A ServingDeployment object as routing needs it. Raises pydantic.ValidationError when it is not one."""
    spec = ServingDeploymentSpec.model_validate(obj.get("spec"))
    status = ServingDeploymentStatus.model_validate(obj.get("status") or {})
    return DeploymentView(
        namespace=obj["metadata"]["namespace"],
        name=obj["metadata"]["name"],
        base=spec.base_model.name,
        created=_seconds(obj["metadata"].get("creationTimestamp")),
        min_engines={f.name: f.min_engines for f in spec.families},
        routes=tuple(status.routes),
    )


def take_snapshot(deployments: Iterable[DeploymentView], engines: Iterable[EngineView]) -> Snapshot:
    """Index the views by the names clients use."""
    all_engines = tuple(engines)
    willing: dict[tuple[str, str], list[EngineView]] = {}
    for engine in all_engines:
        if why_no_requests(engine) is None:
            willing.setdefault((engine.namespace, engine.deployment), []).append(engine)
    by_namespace: dict[str, list[DeploymentView]] = {}
    for deployment in sorted(deployments, key=lambda d: (d.namespace, d.name)):
        by_namespace.setdefault(deployment.namespace, []).append(deployment)
    return Snapshot(
        namespaces={
            namespace: NamespaceView(families=_families(members, willing), bases=_bases(members, willing))
            for namespace, members in by_namespace.items()
        },
        engines=all_engines,
    )


_Willing = Mapping[tuple[str, str], Sequence[EngineView]]


def _families(deployments: Sequence[DeploymentView], willing: _Willing) -> dict[str, FamilyView]:
    found: dict[str, dict[str, ServedVersion]] = {}
    for deployment in deployments:
        for name in deployment.min_engines:
            found.setdefault(name, {})
        for route in deployment.routes:
            versions = found.setdefault(route.family, {})
            one = _served(deployment, route, willing.get((deployment.namespace, deployment.name), ()))
            other = versions.get(route.version)
            versions[route.version] = one if other is None else _merged(other, one)
    return {name: _family(name, versions) for name, versions in found.items()}


def _family(name: str, versions: Mapping[str, ServedVersion]) -> FamilyView:
    newest_first = dict(sorted(versions.items(), key=lambda item: version_key(item[0]), reverse=True))
    aliased = [v for v in newest_first.values() if v.aliased]
    alias = next((v for v in aliased if v.proven), None)
    alias = alias or next((v for v in aliased if v.placements), None)
    return FamilyView(name, newest_first, alias or next(iter(aliased), None))


def _served(deployment: DeploymentView, route: Route, engines: Sequence[EngineView]) -> ServedVersion:
    serving = route.state == "Serving"
    ready = [e for e in engines if e.verified.get(route.engine_name) == route.digest] if serving else []
    return ServedVersion(
        namespace=deployment.namespace,
        family=route.family,
        version=route.version,
        state=route.state,
        aliased=serving and route.weight > 0,
        proven=len(ready) >= deployment.min_engines.get(route.family, 1),
        successor=route.successor,
        base=deployment.base,
        created=deployment.created,
        placements=tuple(Placement(e, route.engine_name) for e in ready),
    )


def _merged(a: ServedVersion, b: ServedVersion) -> ServedVersion:
    """One version that two deployments of a namespace have: the better state counts, the engines add up."""
    best = a if _STRONGEST[a.state] >= _STRONGEST[b.state] else b
    return ServedVersion(
        namespace=best.namespace,
        family=best.family,
        version=best.version,
        state=best.state,
        aliased=a.aliased or b.aliased,
        proven=(a.aliased and a.proven) or (b.aliased and b.proven),
        successor=best.successor,
        base=best.base,
        created=min(a.created, b.created),
        placements=a.placements + b.placements,
    )


def _bases(deployments: Sequence[DeploymentView], willing: _Willing) -> dict[str, ServedBase]:
    bases: dict[str, ServedBase] = {}
    for d in deployments:
        here = tuple(Placement(e, d.base) for e in willing.get((d.namespace, d.name), ()))
        before = bases.get(d.base)
        created = min(before.created, d.created) if before else d.created
        bases[d.base] = ServedBase(d.namespace, d.base, created, (before.placements if before else ()) + here)
    return bases


def _seconds(timestamp: str | None) -> int:
    return int(datetime.fromisoformat(timestamp).timestamp()) if timestamp else 0
