"""Everything `decide` looks at, in one frozen value. Missing things are None, never exceptions."""

from __future__ import annotations

from dataclasses import dataclass

from clara_api import labels
from clara_api.golden_dataset import GoldenDatasetSpec
from clara_api.handoff.run import GoldenPrompts, GoldenSample
from clara_api.profiles import effective
from clara_api.training_job import Hyperparameters, TrainingJobSpec, TrainingJobStatus
from pydantic import ValidationError

from clara_operator.cluster import Cluster, ProgressSample
from clara_operator.plan import Key, Manifest
from clara_operator.pod_facts import JobFacts, jobs_of
from clara_operator.subject import Subject
from clara_operator.training_job.contenders import contenders
from clara_operator.training_job.queue import Contender


@dataclass(frozen=True, slots=True)
class FamilyVersion:
    """An Adapter of the same family."""

    name: str
    version: str
    base_digest: str
    job_uid: str | None = None
    recipe_digest: str | None = None
    sources_digest: str | None = None


@dataclass(frozen=True, slots=True)
class FamilyEngines:
    """A ServingDeployment that lists the family."""

    name: str
    base_digest: str
    max_lora_rank: int


@dataclass(frozen=True, slots=True)
class StartFrom:
    """The Adapter that startFrom names."""

    name: str
    family: str
    base_digest: str
    uri: str
    digest: str
    verified: bool
    rank: int | None = None  # once it is verified


@dataclass(frozen=True, slots=True)
class Seen:
    """One TrainingJob and what belongs to it."""

    key: Key
    uid: str
    generation: int
    resource_version: str
    spec: TrainingJobSpec
    status: TrainingJobStatus
    jobs: tuple[JobFacts, ...] = ()
    samples: tuple[ProgressSample, ...] = ()
    versions: tuple[FamilyVersion, ...] = ()
    engines: tuple[FamilyEngines, ...] = ()
    start: StartFrom | None = None  # None also when the Adapter that is named is not there
    golden: tuple[GoldenPrompts, ...] = ()  # every GoldenDataset of the family, by name
    golden_unreadable: tuple[str, ...] = ()
    contenders: tuple[Contender, ...] = ()  # empty while it has a pod: then nobody asks
    progress_ca: str = ""

    @property
    def effective(self) -> Hyperparameters:
        """What is trained with: the profile, what the person wrote over it, and the rank of an adapter that goes on."""
        decided = effective(self.spec.profile, self.spec.hyperparameters)
        rank = self.start.rank if self.start else None
        return decided.model_copy(update={"rank": rank}) if rank else decided


def observe(subject: Subject[TrainingJobSpec, TrainingJobStatus], cluster: Cluster) -> Seen:
    """The TrainingJob with its attempts, its progress and the versions its family has."""
    key, spec = subject.key, subject.spec
    jobs = jobs_of(cluster, key.namespace, labels.TRAINING_JOB, key.name)
    jobs = tuple(j for j in jobs if j.purpose in (labels.PURPOSE_TRAIN, labels.PURPOSE_RECOVER))
    train = [j for j in jobs if j.purpose == labels.PURPOSE_TRAIN]
    newest = max(train, key=lambda j: j.attempt, default=None)
    golden, unreadable = _golden(cluster, key.namespace, spec.family)
    trains = any(j.finished is None and not j.suspended for j in train)
    return Seen(
        key=key,
        uid=subject.uid,
        generation=subject.generation,
        resource_version=subject.resource_version,
        spec=spec,
        status=subject.status,
        jobs=jobs,
        samples=_samples(cluster, key, newest),
        versions=tuple(_versions(cluster, key.namespace, spec.family)),
        engines=tuple(_engines(cluster, key.namespace, spec.family)),
        start=_start(cluster, key.namespace, spec),
        golden=golden,
        golden_unreadable=unreadable,
        contenders=() if trains else contenders(cluster, key.namespace, key.name),
        progress_ca=cluster.progress_ca,
    )


def _versions(cluster: Cluster, namespace: str, family: str) -> list[FamilyVersion]:
    found = []
    for obj in cluster.all("Adapter", namespace):
        if obj["spec"].get("family") == family:
            found.append(_family_version(obj))
    return found


def _family_version(obj: Manifest) -> FamilyVersion:
    meta, spec = obj["metadata"], obj["spec"]
    notes = meta.get("annotations") or {}
    return FamilyVersion(
        name=meta["name"],
        version=spec["version"],
        base_digest=spec["baseModel"]["digest"],
        job_uid=(meta.get("labels") or {}).get(labels.TRAINING_JOB_UID),
        recipe_digest=notes.get(labels.RECIPE_DIGEST),
        sources_digest=notes.get(labels.SOURCES_DIGEST),
    )


def _samples(cluster: Cluster, key: Key, job: JobFacts | None) -> tuple[ProgressSample, ...]:
    """What the newest pod said; an earlier one's rate and loss are not this one's."""
    if job is None or job.pod is None:
        return ()
    return tuple(s for s in cluster.progress(key.namespace, key.name, job.attempt) if s.pod == job.pod.name)


def _engines(cluster: Cluster, namespace: str, family: str) -> list[FamilyEngines]:
    return [
        FamilyEngines(
            obj["metadata"]["name"],
            obj["spec"]["baseModel"]["digest"],
            obj["spec"].get("engine", {}).get("maxLoraRank", 64),
        )
        for obj in cluster.all("ServingDeployment", namespace)
        if any(f["name"] == family for f in obj["spec"].get("families") or [])
    ]


def _start(cluster: Cluster, namespace: str, spec: TrainingJobSpec) -> StartFrom | None:
    if spec.start_from is None:
        return None
    obj = cluster.get("Adapter", namespace, spec.start_from.adapter_ref.name)
    if obj is None or obj["metadata"].get("deletionTimestamp"):
        return None
    adapter = obj["spec"]
    conditions = (obj.get("status") or {}).get("conditions") or []
    return StartFrom(
        name=obj["metadata"]["name"],
        family=adapter["family"],
        base_digest=adapter["baseModel"]["digest"],
        uri=adapter["artifact"]["uri"],
        digest=adapter["artifact"]["digest"],
        verified=any(c["type"] == "Verified" and c["status"] == "True" for c in conditions),
        rank=(obj.get("status") or {}).get("rank"),
    )


def _golden(cluster: Cluster, namespace: str, family: str) -> tuple[tuple[GoldenPrompts, ...], tuple[str, ...]]:
    """The samples of each GoldenDataset of the family, and the names of those that this version cannot read."""
    found, unreadable = [], []
    for obj in cluster.all("GoldenDataset", namespace):
        name = obj["metadata"]["name"]
        if obj["spec"].get("family") != family:
            continue
        try:
            spec = GoldenDatasetSpec.model_validate(obj["spec"])
        except ValidationError:
            unreadable.append(name)
            continue
        samples = [GoldenSample(id=s.id, prompt=s.prompt, reference=s.reference) for s in spec.samples]
        found.append(GoldenPrompts(name=name, samples=samples))
    return tuple(sorted(found, key=lambda g: g.name)), tuple(sorted(unreadable))
