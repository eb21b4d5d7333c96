"""Which custom resources must be looked at when an object changes. Pure; called for every watch event.

TrainingJob        itself; when it may have freed a slot or changed the order: those that wait for their turn
Adapter            itself, its TrainingJob and those that continue it, the ServingDeployments of its family, its GoldenDataset
GoldenDataset      itself, the Adapters that name it
ServingDeployment  itself, the Adapters in its routes, the TrainingJobs of its families
Engine             its ServingDeployment, the Adapters whose entry changed
Job                the object in its labels; a train Job that ends or is suspended: those that wait for their turn
Pod                the object in its labels
Deployment, PodDisruptionBudget   their ServingDeployment
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clara_api import labels
from clara_api.adapter import engine_name

from clara_operator.cluster import Cluster
from clara_operator.plan import Key, Manifest

Trigger = Callable[[Manifest | None, Manifest | None, Cluster], set[Key]]


def keys_for(kind: str, old: Manifest | None, new: Manifest | None, cluster: Cluster) -> set[Key]:
    """Keys to reconcile; empty for an event that changes nothing anybody reads."""
    if new is None and old is None:
        return set()
    return TRIGGERS[kind](old, new, cluster)


def _self(kind: str, obj: Manifest) -> Key:
    return Key(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])


def _some(old: Manifest | None, new: Manifest | None) -> Manifest:
    obj = new if new is not None else old
    assert obj is not None
    return obj


def _training_job(old: Manifest | None, new: Manifest | None, cluster: Cluster) -> set[Key]:
    obj = _some(old, new)
    keys = {_self("TrainingJob", obj)}
    if old is None:  # a base that nobody named until now may let an evaluation start
        keys |= {_self("Adapter", a) for a in cluster.all("Adapter", obj["metadata"]["namespace"]) if not _decided(a)}
    if _stands(old) != _stands(new):
        keys |= _waiting(cluster, obj["metadata"]["namespace"])
    return keys


def _stands(job: Manifest | None) -> object:
    """What the order of those that wait depends on."""
    if job is None:
        return None
    spec, status = job["spec"], job.get("status") or {}
    reason = next((c["reason"] for c in status.get("conditions") or [] if c["type"] == "Succeeded"), "")
    return spec.get("suspend"), spec.get("queue"), reason, "queuePosition" in status


def _waiting(cluster: Cluster, namespace: str) -> set[Key]:
    """TrainingJobs that stand in line."""
    jobs = cluster.all("TrainingJob", namespace)
    return {_self("TrainingJob", j) for j in jobs if (j.get("status") or {}).get("queuePosition")}


def _adapter(old: Manifest | None, new: Manifest | None, cluster: Cluster) -> set[Key]:
    obj = _some(old, new)
    namespace, spec = obj["metadata"]["namespace"], obj["spec"]
    keys = {_self("Adapter", obj)}
    job = (obj["metadata"].get("labels") or {}).get(labels.TRAINING_JOB)
    if job and (old is None or new is None):
        keys.add(Key("TrainingJob", namespace, job))
    keys |= {_self("TrainingJob", j) for j in cluster.all("TrainingJob", namespace) if _continues(j, obj)}
    keys |= {
        _self("ServingDeployment", d)
        for d in cluster.all("ServingDeployment", namespace)
        if _names_family(d, spec["family"])
    }
    golden = (spec.get("evaluation") or {}).get("goldenDatasetRef", {}).get("name")
    if golden:
        keys.add(Key("GoldenDataset", namespace, golden))
    return keys


def _golden_dataset(old: Manifest | None, new: Manifest | None, cluster: Cluster) -> set[Key]:
    obj = _some(old, new)
    keys = {_self("GoldenDataset", obj)}
    if old is None or new is None:
        for adapter in cluster.all("Adapter", obj["metadata"]["namespace"]):
            named = (adapter["spec"].get("evaluation") or {}).get("goldenDatasetRef", {}).get("name")
            if named == obj["metadata"]["name"]:
                keys.add(_self("Adapter", adapter))
    return keys


def _serving_deployment(old: Manifest | None, new: Manifest | None, cluster: Cluster) -> set[Key]:
    obj = _some(old, new)
    namespace = obj["metadata"]["namespace"]
    keys = {_self("ServingDeployment", obj)}
    changed = _changed(_routes(old), _routes(new))
    spec_changed = old is None or new is None or old["spec"] != new["spec"]
    families = {f["name"] for o in (old, new) if o for f in o["spec"].get("families") or []} if spec_changed else set()
    for adapter in cluster.all("Adapter", namespace):
        if adapter["spec"]["family"] in families or _engine_name(adapter) in changed:
            keys.add(_self("Adapter", adapter))
    open_jobs = (j for j in cluster.all("TrainingJob", namespace) if not (j.get("status") or {}).get("adapterRef"))
    keys |= {_self("TrainingJob", j) for j in open_jobs if j["spec"].get("family") in families}
    return keys


def _engine(old: Manifest | None, new: Manifest | None, cluster: Cluster) -> set[Key]:
    obj = _some(old, new)
    namespace = obj["metadata"]["namespace"]
    keys = {Key("ServingDeployment", namespace, obj["spec"]["servingDeploymentRef"]["name"])}
    changed = _changed(_held(old), _held(new)) | _changed(_wanted(old), _wanted(new))
    if _healthy(old) != _healthy(new):
        changed |= set(_wanted(old)) | set(_wanted(new))
    if changed:
        keys |= {_self("Adapter", a) for a in cluster.all("Adapter", namespace) if _engine_name(a) in changed}
    return keys


def _child(old: Manifest | None, new: Manifest | None, cluster: Cluster) -> set[Key]:
    obj = _some(old, new)
    namespace, marks = obj["metadata"]["namespace"], obj["metadata"].get("labels") or {}
    keys: set[Key] = set()
    for label, kind in _OWNERS.items():
        if name := marks.get(label):
            keys.add(Key(kind, namespace, _full_name(cluster, kind, namespace, name)))
    return keys


def _job(old: Manifest | None, new: Manifest | None, cluster: Cluster) -> set[Key]:
    """A slot is free when a train Job ends, is suspended or is gone."""
    keys = _child(old, new, cluster)
    meta = _some(old, new)["metadata"]
    if (meta.get("labels") or {}).get(labels.PURPOSE) == labels.PURPOSE_TRAIN and _trains(old) and not _trains(new):
        keys |= _waiting(cluster, meta["namespace"])
    return keys


def _trains(job: Manifest | None) -> bool:
    if job is None or (job.get("spec") or {}).get("suspend"):
        return False
    conditions = (job.get("status") or {}).get("conditions") or []
    return not any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)


_OWNERS = {
    labels.TRAINING_JOB: "TrainingJob",
    labels.ADAPTER: "Adapter",
    labels.SERVING_DEPLOYMENT: "ServingDeployment",
}

TRIGGERS: dict[str, Trigger] = {
    "TrainingJob": _training_job,
    "Adapter": _adapter,
    "GoldenDataset": _golden_dataset,
    "ServingDeployment": _serving_deployment,
    "Engine": _engine,
    "Job": _job,
    "Pod": _child,
    "Deployment": _child,
    "PodDisruptionBudget": _child,
}


def _full_name(cluster: Cluster, kind: str, namespace: str, value: str) -> str:
    """The owner's name from a label value, which is cut when the name is longer than 63 characters."""
    if cluster.get(kind, namespace, value) is not None:
        return value
    names = (name for ns, name in cluster.keys(kind) if ns == namespace)
    return next((name for name in names if labels.label_value(name) == value), value)


def _changed(old: dict[str, Any], new: dict[str, Any]) -> set[str]:
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def _routes(obj: Manifest | None) -> dict[str, Any]:
    return {r["engineName"]: r for r in ((obj or {}).get("status") or {}).get("routes") or []}


def _held(obj: Manifest | None) -> dict[str, Any]:
    return {a["engineName"]: a for a in ((obj or {}).get("status") or {}).get("adapters") or []}


def _wanted(obj: Manifest | None) -> dict[str, Any]:
    return {a["engineName"]: a for a in ((obj or {}).get("spec") or {}).get("adapters") or []}


def _healthy(obj: Manifest | None) -> bool:
    return bool(((obj or {}).get("status") or {}).get("healthy"))


def _engine_name(adapter: Manifest) -> str:
    spec = adapter["spec"]
    return engine_name(spec["family"], spec["version"], spec["artifact"]["digest"])


def _continues(job: Manifest, adapter: Manifest) -> bool:
    start = job["spec"].get("startFrom") or {}
    return bool(start.get("adapterRef", {}).get("name") == adapter["metadata"]["name"])


def _names_family(deployment: Manifest, family: str) -> bool:
    return any(f["name"] == family for f in deployment["spec"].get("families") or [])


def _decided(adapter: Manifest) -> bool:
    return bool((adapter.get("status") or {}).get("decision"))
