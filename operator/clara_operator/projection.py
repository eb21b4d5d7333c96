"""What the cache keeps of an object: the parts reconcilers read, and nothing that only costs memory.

`managedFields` alone is often larger than the rest. Called by the intake for each watched object, and by `act` for what it
read live.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clara_api.meta import GROUP

from clara_operator.plan import Manifest

_METADATA = (
    "name", "namespace", "uid", "resourceVersion", "generation", "labels",
    "creationTimestamp", "deletionTimestamp", "ownerReferences",
)  # fmt: skip
_POD_STATUS = ("phase", "podIP", "conditions", "containerStatuses", "initContainerStatuses", "reason", "message")


def project(kind: str, obj: Mapping[str, Any]) -> Manifest:
    """The kept parts of `obj`; the original is not changed."""
    kept: Manifest = {"metadata": _metadata(obj["metadata"])}
    for key in ("apiVersion", "kind"):
        if key in obj:
            kept[key] = obj[key]
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return kept | _BY_KIND.get(kind, _whole)(spec, status)


def _metadata(meta: Mapping[str, Any]) -> dict[str, Any]:
    kept = _some(meta, _METADATA)
    ours = {k: v for k, v in (meta.get("annotations") or {}).items() if k.startswith(f"{GROUP}/")}
    return kept | ({"annotations": ours} if ours else {})


def _whole(spec: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    return {"spec": dict(spec), "status": dict(status)}


def _pod(spec: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    return {"spec": _some(spec, ("nodeName",)), "status": _some(status, _POD_STATUS)}


def _job(spec: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    return {"spec": _some(spec, ("suspend", "activeDeadlineSeconds")), "status": dict(status)}


def _deployment(spec: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    return {"spec": _some(spec, ("replicas",)), "status": dict(status)}


def _nothing(spec: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    """That it is there, and its generation, is all anybody reads."""
    return {"spec": {}, "status": {}}


_BY_KIND: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]] = {
    "Pod": _pod,
    "Job": _job,
    "Deployment": _deployment,
    "PodDisruptionBudget": _nothing,
}


def _some(source: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: source[key] for key in keys if key in source}
