"""Everything `decide` looks at for one Adapter, in one frozen value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from clara_api import labels
from clara_api.adapter import AdapterSpec, AdapterStatus, engine_name
from clara_api.golden_dataset import GoldenDatasetSpec
from clara_api.meta import BaseModelRef, Resources, Scheduling
from pydantic import ValidationError

from clara_operator.cluster import Cluster
from clara_operator.golden_dataset.digest import golden_digest
from clara_operator.plan import Key, Manifest
from clara_operator.pod_facts import JobFacts, jobs_of
from clara_operator.subject import Subject

Part = TypeVar("Part", Resources, Scheduling)


@dataclass(frozen=True, slots=True)
class Golden:
    """The benchmark named by spec.evaluation."""

    name: str
    digest: str
    spec: GoldenDatasetSpec


@dataclass(frozen=True, slots=True)
class Serving:
    """What the ServingDeployments and Engines of the namespace do with this version."""

    asked_by: tuple[str, ...] = ()  # ServingDeployments whose routes name it as Serving or Loading
    successor: str | None = None  # the version served instead
    min_engines: int = 1
    wanted: int = 0
    verified: int = 0
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """One Adapter and what belongs to it."""

    key: Key
    uid: str
    generation: int
    resource_version: str
    manifest: Manifest
    spec: AdapterSpec
    status: AdapterStatus
    jobs: tuple[JobFacts, ...] = ()
    golden: Golden | None = None
    golden_wanted: str | None = None
    golden_problem: str = ""  # why there is no benchmark although one is named
    base: BaseModelRef | None = None  # None: nobody in the namespace says where the base lies
    serving: Serving = Serving()
    max_lora_rank: int | None = None
    resources: Resources = field(default_factory=Resources)  # the evaluation needs what the training needed
    scheduling: Scheduling = field(default_factory=Scheduling)

    @property
    def engine_name(self) -> str:
        """Its name on every engine."""
        return engine_name(self.spec.family, self.spec.version, self.spec.artifact.digest)


def observe(subject: Subject[AdapterSpec, AdapterStatus], cluster: Cluster) -> Seen:
    """The Adapter with its Jobs, its benchmark, its base and the engines that hold it."""
    key, obj, spec = subject.key, subject.manifest, subject.spec
    wanted = spec.evaluation.golden_dataset_ref.name if spec.evaluation else None
    deployments = [d for d in cluster.all("ServingDeployment", key.namespace) if _serves(d, spec)]
    made_by = _training_job(cluster, key.namespace, obj)
    golden = _golden(cluster, key.namespace, wanted) if wanted else None
    ranks = [d["spec"].get("engine", {}).get("maxLoraRank", 64) for d in deployments]
    return Seen(
        key=key,
        uid=subject.uid,
        generation=subject.generation,
        resource_version=subject.resource_version,
        manifest=obj,
        spec=spec,
        status=subject.status,
        jobs=jobs_of(cluster, key.namespace, labels.ADAPTER, key.name),
        golden=golden if isinstance(golden, Golden) else None,
        golden_wanted=wanted,
        golden_problem=golden if isinstance(golden, str) else "",
        base=_base(cluster, key.namespace, spec, obj),
        serving=_serving(cluster, key.namespace, spec, deployments),
        max_lora_rank=min(ranks) if ranks else None,
        resources=_read(Resources, made_by.get("resources")),
        scheduling=_read(Scheduling, made_by.get("scheduling")),
    )


def _read(model: type[Part], value: object) -> Part:
    """A part of another object's spec; the defaults when it cannot be read, which that object says itself."""
    try:
        return model.model_validate(value or {})
    except ValidationError:
        return model()


def _training_job(cluster: Cluster, namespace: str, adapter: Manifest) -> dict[str, Any]:
    """The spec of the run that made it, while that TrainingJob is there."""
    name = (adapter["metadata"].get("labels") or {}).get(labels.TRAINING_JOB)
    job = cluster.get("TrainingJob", namespace, name) if name else None
    spec: dict[str, Any] = job["spec"] if job else {}
    return spec


def _serves(deployment: Manifest, spec: AdapterSpec) -> bool:
    same_base = deployment["spec"]["baseModel"]["digest"] == spec.base_model.digest
    return same_base and any(f["name"] == spec.family for f in deployment["spec"].get("families") or [])


def _golden(cluster: Cluster, namespace: str, name: str) -> Golden | str:
    """The benchmark, or the sentence that says why it cannot be used."""
    obj = cluster.get("GoldenDataset", namespace, name)
    if obj is None or obj["metadata"].get("deletionTimestamp"):
        return f"GoldenDataset {name} does not exist in namespace {namespace}; apply it"
    try:
        spec = GoldenDatasetSpec.model_validate(obj["spec"])
    except ValidationError:
        return f"GoldenDataset {name} cannot be read; 'kubectl describe gds {name} -n {namespace}' names the field"
    return Golden(name, golden_digest(spec), spec)


def _base(cluster: Cluster, namespace: str, spec: AdapterSpec, obj: Manifest) -> BaseModelRef | None:
    """Where a base of that digest lies, from whoever in the namespace names it."""
    for kind in ("ServingDeployment", "TrainingJob"):
        for other in cluster.all(kind, namespace):
            base: dict[str, Any] = other["spec"]["baseModel"]
            if base["digest"] == spec.base_model.digest:
                with suppress(ValidationError):  # the other object says so itself; another may name the base too
                    return BaseModelRef.model_validate(base)
    hint = (obj["metadata"].get("annotations") or {}).get(labels.BASE_URI)
    try:
        return BaseModelRef(name=spec.base_model.name, digest=spec.base_model.digest, uri=hint) if hint else None
    except ValidationError:
        return None


def _serving(cluster: Cluster, namespace: str, spec: AdapterSpec, deployments: list[Manifest]) -> Serving:
    name = engine_name(spec.family, spec.version, spec.artifact.digest)
    asked, successor, min_engines = [], None, 1
    for deployment in deployments:
        for route in (deployment.get("status") or {}).get("routes") or []:
            if route["engineName"] != name:
                continue
            if route["state"] == "Retired":
                successor = route.get("successor")
            else:
                asked.append(deployment["metadata"]["name"])
                min_engines = next(
                    f.get("minEngines", 1) for f in deployment["spec"]["families"] if f["name"] == spec.family
                )
    wanted = verified = 0
    errors: list[str] = []
    for engine, held in _holding(cluster, namespace, name):
        wanted += 1
        verified += (
            held is not None and held["state"] == "Verified" and bool((engine.get("status") or {}).get("healthy"))
        )
        if held is not None and held["state"] == "Failed":
            why = ": ".join(held[part] for part in ("reason", "error") if held.get(part))
            errors.append(f"{engine['metadata']['name']}: {why or 'failed'}")
    return Serving(tuple(asked), successor if not asked else None, min_engines, wanted, verified, tuple(errors))


def _holding(cluster: Cluster, namespace: str, name: str) -> Iterator[tuple[Manifest, dict[str, Any] | None]]:
    """Engines that should hold `name`, and what each says of it."""
    for engine in cluster.all("Engine", namespace):
        if any(a["engineName"] == name and a["state"] != "retire" for a in engine["spec"].get("adapters") or []):
            held = (engine.get("status") or {}).get("adapters") or []
            yield engine, next((h for h in held if h["engineName"] == name), None)
