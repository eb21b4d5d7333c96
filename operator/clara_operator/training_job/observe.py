"""Everything `decide` looks at, in one frozen value. Missing things are None, never exceptions."""

from __future__ import annotations

from dataclasses import dataclass

from clara_api import labels
from clara_api.training_job import TrainingJobSpec, TrainingJobStatus

from clara_operator.cluster import Cluster, ProgressSample
from clara_operator.plan import Key, Manifest
from clara_operator.pod_facts import JobFacts, jobs_of
from clara_operator.subject import Subject


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
    max_lora_rank: int | None = None  # the smallest of the ServingDeployments that serve the family
    max_lora_rank_of: str = ""
    progress_ca: str = ""


def observe(subject: Subject[TrainingJobSpec, TrainingJobStatus], cluster: Cluster) -> Seen:
    """The TrainingJob with its attempts, its progress and the versions its family has."""
    key, spec = subject.key, subject.spec
    jobs = jobs_of(cluster, key.namespace, labels.TRAINING_JOB, key.name)
    jobs = tuple(j for j in jobs if j.purpose in (labels.PURPOSE_TRAIN, labels.PURPOSE_RECOVER))
    rank, rank_of = _serving_limit(cluster, key.namespace, spec.family)
    newest = max((j.attempt for j in jobs), default=0)
    return Seen(
        key=key,
        uid=subject.uid,
        generation=subject.generation,
        resource_version=subject.resource_version,
        spec=spec,
        status=subject.status,
        jobs=jobs,
        samples=cluster.progress(key.namespace, key.name, newest),
        versions=tuple(_versions(cluster, key.namespace, spec.family)),
        max_lora_rank=rank,
        max_lora_rank_of=rank_of,
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


def _serving_limit(cluster: Cluster, namespace: str, family: str) -> tuple[int | None, str]:
    limits = [
        (obj["spec"].get("engine", {}).get("maxLoraRank", 64), obj["metadata"]["name"])
        for obj in cluster.all("ServingDeployment", namespace)
        if any(f["name"] == family for f in obj["spec"].get("families") or [])
    ]
    return min(limits) if limits else (None, "")
