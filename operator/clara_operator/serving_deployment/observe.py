"""Everything `decide` looks at for one ServingDeployment, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clara_api import labels
from clara_api.adapter import engine_name
from clara_api.engine import EngineObjectSpec, EngineObjectStatus
from clara_api.serving_deployment import ServingDeploymentSpec, ServingDeploymentStatus
from pydantic import ValidationError

from clara_operator.cluster import Cluster
from clara_operator.plan import Key, Manifest
from clara_operator.pod_facts import PodFacts, pod_facts
from clara_operator.subject import Subject


@dataclass(frozen=True, slots=True)
class Approved:
    """An approved Adapter of a family and base."""

    family: str
    version: str
    uri: str
    digest: str

    @property
    def engine_name(self) -> str:
        """Its name on engines."""
        return engine_name(self.family, self.version, self.digest)


@dataclass(frozen=True, slots=True)
class EnginePod:
    """One engine pod and its Engine object, if it has one yet."""

    name: str
    uid: str
    address: str | None
    facts: PodFacts
    going: bool
    spec: EngineObjectSpec | None = None
    status: EngineObjectStatus | None = None

    @property
    def healthy(self) -> bool:
        """Its vLLM answers and nothing is ending."""
        return self.status is not None and self.status.healthy and not self.status.draining and not self.going

    def holds(self, name: str, digest: str) -> str | None:
        """The state in which it holds that adapter, or None."""
        held = self.status.adapters if self.status else []
        return next((h.state for h in held if h.engine_name == name and h.digest == digest), None)


@dataclass(frozen=True, slots=True)
class Seen:
    """One ServingDeployment and what belongs to it."""

    key: Key
    uid: str
    generation: int
    resource_version: str
    spec: ServingDeploymentSpec
    status: ServingDeploymentStatus
    deployment: Manifest | None = None
    pods: tuple[EnginePod, ...] = ()
    approved: tuple[Approved, ...] = ()
    waiting_review: tuple[str, ...] = ()  # newer versions of its families that wait for a person

    @property
    def live(self) -> tuple[EnginePod, ...]:
        """Pods that are not ending."""
        return tuple(p for p in self.pods if not p.going)


def observe(subject: Subject[ServingDeploymentSpec, ServingDeploymentStatus], cluster: Cluster) -> Seen:
    """The ServingDeployment with its engine pods and the approved versions of its families."""
    key, spec = subject.key, subject.spec
    families = {f.name for f in spec.families}
    adapters = [a for a in cluster.all("Adapter", key.namespace) if a["spec"].get("family") in families]
    adapters = [a for a in adapters if a["spec"]["baseModel"]["digest"] == spec.base_model.digest]
    return Seen(
        key=key,
        uid=subject.uid,
        generation=subject.generation,
        resource_version=subject.resource_version,
        spec=spec,
        status=subject.status,
        deployment=cluster.get("Deployment", key.namespace, deployment_name(key.name)),
        pods=_pods(cluster, key),
        approved=tuple(
            _approved(a) for a in adapters if _decision(a) == "Approved" and not a["metadata"].get("deletionTimestamp")
        ),
        waiting_review=tuple(sorted(a["metadata"]["name"] for a in adapters if _decision(a) == "NeedsReview")),
    )


def deployment_name(name: str) -> str:
    """The engines' Deployment."""
    return labels.child_name(name, "engine")


def _pods(cluster: Cluster, key: Key) -> tuple[EnginePod, ...]:
    marks = {labels.SERVING_DEPLOYMENT: labels.label_value(key.name), "app.kubernetes.io/component": "engine"}
    pods = sorted(cluster.all("Pod", key.namespace, **marks), key=lambda p: p["metadata"]["name"])
    return tuple(
        _pod(cluster, pod) for pod in pods if (pod.get("status") or {}).get("phase") not in ("Failed", "Succeeded")
    )


def _pod(cluster: Cluster, pod: Manifest) -> EnginePod:
    meta = pod["metadata"]
    engine = cluster.get("Engine", meta["namespace"], meta["name"]) or {}
    spec, status = _parse_engine(engine)
    return EnginePod(
        name=meta["name"],
        uid=meta["uid"],
        address=(pod.get("status") or {}).get("podIP"),
        facts=pod_facts(pod),
        going=bool(meta.get("deletionTimestamp")),
        spec=spec,
        status=status,
    )


def _parse_engine(engine: dict[str, Any]) -> tuple[EngineObjectSpec | None, EngineObjectStatus | None]:
    try:
        spec = EngineObjectSpec.model_validate(engine["spec"]) if "spec" in engine else None
        status = EngineObjectStatus.model_validate(engine["status"]) if "status" in engine else None
    except ValidationError:
        return None, None
    return spec, status


def _decision(adapter: Manifest) -> str | None:
    """The latched decision, only while it belongs to these bytes."""
    decision = (adapter.get("status") or {}).get("decision") or {}
    if decision.get("artifactDigest") != adapter["spec"]["artifact"]["digest"]:
        return None
    outcome = decision.get("outcome")
    return str(outcome) if outcome else None


def _approved(adapter: Manifest) -> Approved:
    spec = adapter["spec"]
    return Approved(spec["family"], spec["version"], spec["artifact"]["uri"], spec["artifact"]["digest"])
