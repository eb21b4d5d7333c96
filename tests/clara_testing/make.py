"""Objects as the API server would hold them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from clara_api import labels
from clara_api.adapter import engine_name
from clara_api.handoff.outcome import Outcome
from clara_operator.cluster import Cluster
from clara_operator.settings import Settings

NS = "recht"
T0 = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
BASE_DIGEST = "sha256:" + "b" * 64
ARTIFACT_DIGEST = "sha256:" + "a" * 64
WEIGHTS_DIGEST = "sha256:" + "c" * 64
Object = dict[str, Any]


def settings(**changes: Any) -> Settings:
    """An installation with an S3 store."""
    values: dict[str, Any] = {
        "namespace": "clara-system",
        "pod_name": "clara-operator-0",
        "watch_namespaces": NS,
        "trainer_image": "registry/clara-trainer:1",
        "engine_image": "registry/clara-engine:1",
        "artifact_prefix": "s3://clara",
        "allowed_prefixes": "s3://clara/models,s3://clara/data,s3://clara/adapters/{namespace}",
    }
    return Settings(**(values | changes))


def cluster(*objects: Object) -> Cluster:
    """A cache that holds these objects."""
    known = Cluster()
    for obj in objects:
        known.put(obj["kind"], obj)
    return known


def base(digest: str = BASE_DIGEST) -> Object:
    """A base model reference."""
    return {"name": "tiny-de", "uri": "s3://clara/models/tiny-de", "digest": digest}


def meta(name: str, **changes: Any) -> Object:
    """Metadata of a live object."""
    return {
        "name": name,
        "namespace": NS,
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": "2026-11-21T11:59:00Z",
    } | changes


def training_job(name: str = "steuerrecht-2026-11", *, status: Object | None = None, **spec: Any) -> Object:
    """A TrainingJob that can run."""
    defaults = {"family": "steuerrecht", "baseModel": base(), "data": [{"uri": "s3://clara/data/steuerrecht.jsonl"}]}
    return {
        "kind": "TrainingJob",
        "metadata": meta(name),
        "spec": defaults | spec,
        "status": status or {"observedGeneration": -1},
    }


def adapter(
    version: str = "1.0.0", *, family: str = "steuerrecht", status: Object | None = None, **spec: Any
) -> Object:
    """An Adapter; approved unless a status is given."""
    defaults = {
        "family": family,
        "version": version,
        "baseModel": {"name": "tiny-de", "digest": BASE_DIGEST},
        "artifact": {"uri": f"s3://clara/adapters/{NS}/{family}/{version}/1", "digest": digest_of(version)},
    }
    decided = {"outcome": "Approved", "reason": "ScoreAboveApprove", "artifactDigest": digest_of(version)}
    return {
        "apiVersion": "clara.vcc.dev/v1alpha1",
        "kind": "Adapter",
        "metadata": meta(f"{family}-{version}"),
        "spec": defaults | spec,
        "status": {"observedGeneration": 1, "decision": decided} if status is None else status,
    }


def digest_of(version: str) -> str:
    """A digest that differs by version."""
    return "sha256:" + version.replace(".", "").rjust(8, "0") + "0" * 56


def name_on_engine(version: str, family: str = "steuerrecht") -> str:
    """The engine name of `adapter(version)`."""
    return engine_name(family, version, digest_of(version))


def job(
    owner: str,
    purpose: str = "train",
    attempt: int = 1,
    *,
    run_digest: str,
    finished: str | None = None,
    **changes: Any,
) -> Object:
    """A Job Clara made for a TrainingJob (or, with `adapter=True`, for an Adapter).

    `base`, `level`: what the attempt was given. `suspended`: True, by us; "other", by somebody else. `deadline` and
    `active_before` are seconds; it began an hour before T0 unless `started` says otherwise.
    """
    label = labels.ADAPTER if changes.pop("adapter", False) else labels.TRAINING_JOB
    golden = changes.pop("golden_digest", "")
    suspended, active = changes.pop("suspended", False), changes.pop("active_before", None)
    notes = {labels.BASE_DIGEST: changes.pop("base", BASE_DIGEST), labels.MEMORY_LEVEL: str(changes.pop("level", 0))}
    notes |= {labels.BASE_MODEL: "tiny-de"}
    notes |= {labels.SUSPENDED: "true"} if suspended is True else {}
    notes |= {labels.ACTIVE_SECONDS: str(active)} if active is not None else {}
    spec = {"suspend": bool(suspended)} | ({"activeDeadlineSeconds": d} if (d := changes.pop("deadline", None)) else {})
    started = changes.pop("started", T0 - timedelta(hours=1)).isoformat()
    conditions = [{"type": "Suspended", "status": "True"}] if changes.pop("parked", False) else []
    name = f"{owner}-{purpose}-{attempt}"
    if finished:
        at = changes.pop("at", T0 - timedelta(minutes=1)).isoformat()
        conditions += [{"type": finished, "status": "True", "lastTransitionTime": at, **changes}]
    marks = {label: owner, labels.PURPOSE: purpose, labels.ATTEMPT: str(attempt)}
    notes |= {labels.RUN_DIGEST: run_digest, labels.GOLDEN_DIGEST: golden}
    return {
        "kind": "Job",
        "metadata": meta(name, labels=marks, annotations=notes),
        "spec": spec,
        "status": {"conditions": conditions, "startTime": started},
    }


def golden_dataset(name: str, *, family: str = "steuerrecht", samples: int = 1, size: int = 10) -> Object:
    """A benchmark with prompts of `size` characters."""
    made = [{"id": f"s-{n}", "prompt": "p" * size, "reference": "r"} for n in range(samples)]
    return {
        "kind": "GoldenDataset",
        "metadata": meta(name),
        "spec": {"family": family, "samples": made},
        "status": {"observedGeneration": 1},
    }


def job_pod(
    of: Object, *, phase: str = "Running", outcome: Outcome | None = None, exit_code: int | None = None, **status: Any
) -> Object:
    """A pod of a Job: running, or ended with an exit code and perhaps an outcome."""
    state: Object = {"running": {"startedAt": "2026-11-21T11:59:10Z"}}
    if exit_code is not None:
        state = {
            "terminated": {
                "exitCode": exit_code,
                "finishedAt": "2026-11-21T11:59:50Z",
                "reason": status.pop("ended", "Error"),
            }
        }
        if outcome is not None:
            state["terminated"]["message"] = outcome.to_message()
    marks = dict(of["metadata"]["labels"]) | {"batch.kubernetes.io/job-name": of["metadata"]["name"]}
    owner = [{"kind": "Job", "uid": of["metadata"]["uid"]}]
    body = {"phase": phase, "containerStatuses": [{"state": state}]} | status
    name = f"{of['metadata']['name']}-xyz"
    return {
        "kind": "Pod",
        "metadata": meta(name, labels=marks, ownerReferences=owner),
        "spec": {"nodeName": "node1"},
        "status": body,
    }


def success(**changes: Any) -> Outcome:
    """A finished training run."""
    values: dict[str, Any] = {
        "result": "Succeeded",
        "artifact_uri": f"s3://clara/adapters/{NS}/steuerrecht/uid/1",
        "artifact_digest": ARTIFACT_DIGEST,
        "weights_digest": WEIGHTS_DIGEST,
        "rank": 16,
        "step": 30,
        "total_steps": 30,
        "loss": 0.41,
    }
    return Outcome(**(values | changes))


def serving_deployment(name: str = "verwaltung", *, status: Object | None = None, **spec: Any) -> Object:
    """Two engines that serve one family."""
    defaults = {
        "baseModel": base(),
        "engine": {"replicas": 2},
        "families": [{"name": "steuerrecht", "versions": "*", "minEngines": 2}],
    }
    return {
        "kind": "ServingDeployment",
        "metadata": meta(name),
        "spec": defaults | spec,
        "status": status or {"observedGeneration": -1},
    }


def engine_pod(name: str, *, owner: str = "verwaltung") -> Object:
    """A running engine pod."""
    marks = {labels.SERVING_DEPLOYMENT: owner, "app.kubernetes.io/component": "engine"}
    return {
        "kind": "Pod",
        "metadata": meta(name, labels=marks),
        "spec": {"nodeName": "node1"},
        "status": {"phase": "Running", "podIP": "10.0.0.1"},
    }


def engine(
    name: str, *, wanted: list[Object] | None = None, held: list[Object] | None = None, healthy: bool = True
) -> Object:
    """An Engine with what it should hold and what it holds."""
    spec = {"servingDeploymentRef": {"name": "verwaltung"}, "baseModel": base(), "adapters": wanted or []}
    status = {"observedGeneration": 1, "healthy": healthy, "adapters": held or []}
    return {"kind": "Engine", "metadata": meta(name), "spec": spec, "status": status}


def wanted(version: str, state: str = "serve", family: str = "steuerrecht") -> Object:
    """One entry of Engine.spec.adapters."""
    uri = f"s3://clara/adapters/{NS}/{family}/{version}/1"
    return {"engineName": name_on_engine(version, family), "digest": digest_of(version), "uri": uri, "state": state}


def held(version: str, state: str = "Verified", family: str = "steuerrecht", **changes: Any) -> Object:
    """One entry of Engine.status.adapters."""
    return {"engineName": name_on_engine(version, family), "digest": digest_of(version), "state": state} | changes
