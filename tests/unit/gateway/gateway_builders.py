"""Objects of the cluster with good defaults, for the gateway's tests."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

from clara_gateway.routing.snapshot import Snapshot, deployment_view, engine_view, take_snapshot

_revisions = itertools.count(1)


def digest_of(name: str) -> str:
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def engine_name(public: str) -> str:
    return f"{public}-{digest_of(public)[7:15]}"


def route(public: str, state: str = "Serving", *, weight: int = 100, successor: str | None = None) -> dict[str, Any]:
    family, version = public.rsplit("-", 1)
    built = {
        "family": family,
        "version": version,
        "engineName": engine_name(public),
        "digest": digest_of(public),
        "state": state,
        "weight": weight if state == "Serving" else 0,
    }
    return built | ({"successor": successor} if successor else {})


def deployment(
    *routes: dict[str, Any],
    name: str = "verwaltung",
    namespace: str = "amt-a",
    base: str = "tiny-de",
    families: dict[str, int] | None = None,
) -> dict[str, Any]:
    """`families`: name → minEngines; by default those of the routes, with 1."""
    wanted = families if families is not None else {r["family"]: 1 for r in routes}
    return {
        "metadata": meta(name, namespace) | {"creationTimestamp": "2026-11-01T00:00:00Z"},
        "spec": {
            "baseModel": {"name": base, "uri": "s3://clara/models/tiny-de", "digest": digest_of(base)},
            "families": [{"name": n, "minEngines": m} for n, m in wanted.items()],
        },
        "status": {"observedGeneration": 1, "routes": list(routes)},
    }


def engine(
    name: str = "engine-0",
    *verified: str,
    namespace: str = "amt-a",
    deployment: str = "verwaltung",
    address: str = "10.0.0.1:8000",
    state: str = "Verified",
    **status: Any,
) -> dict[str, Any]:
    """`verified`: public names it holds, all in `state`."""
    adapters = [{"engineName": engine_name(v), "digest": digest_of(v), "state": state} for v in verified]
    return {
        "metadata": meta(name, namespace),
        "spec": {
            "servingDeploymentRef": {"name": deployment},
            "baseModel": {"name": "tiny-de", "uri": "s3://clara/models/tiny-de", "digest": digest_of("tiny-de")},
            "address": address,
        },
        "status": {"healthy": True, "draining": False, "process": "p1", "adapters": adapters} | status,
    }


def meta(name: str, namespace: str) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, "uid": f"uid-{name}", "resourceVersion": str(next(_revisions))}


def snapshot(*objects: dict[str, Any]) -> Snapshot:
    """A snapshot of deployments and engines in any order."""
    engines = [o for o in objects if "servingDeploymentRef" in o["spec"]]
    deployments = [o for o in objects if o not in engines]
    return take_snapshot(map(deployment_view, deployments), map(engine_view, engines))
