"""Who has a slot in a namespace and who wants one, read from the cache. Called by observe for a run that could start."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

from clara_api import labels, reasons
from clara_api.meta import Condition

from clara_operator.cluster import Cluster
from clara_operator.plan import Manifest
from clara_operator.pod_facts import parse_time
from clara_operator.training_job import queue
from clara_operator.training_job.backoff import delay
from clara_operator.training_job.queue import Contender


def contenders(cluster: Cluster, namespace: str, mine: str) -> tuple[Contender, ...]:
    """Every TrainingJob of the namespace that runs, is between two attempts, or stands in line; and `mine`, which would."""
    jobs = _train_jobs(cluster, namespace)
    found = []
    for obj in cluster.all("TrainingJob", namespace):
        name = obj["metadata"]["name"]
        stage = _stage(obj, jobs.get(labels.label_value(name), []))
        if name == mine and stage != queue.BETWEEN:
            stage = queue.WAITING
        if stage is not None:
            found.append(_contender(obj, stage))
    return tuple(found)


def _contender(obj: Manifest, stage: str) -> Contender:
    """One of them; since when it waits stands in its condition Queued."""
    created = parse_time(obj["metadata"]["creationTimestamp"]) or datetime.min
    waits = _condition(obj, "Queued")
    since = waits.last_transition_time if waits is not None and waits.status == "True" else None
    priority = ((obj.get("spec") or {}).get("queue") or {}).get("priority", 3)
    return Contender(obj["metadata"]["name"], stage, priority, created, since)


def _train_jobs(cluster: Cluster, namespace: str) -> dict[str, list[Manifest]]:
    by_owner: dict[str, list[Manifest]] = {}
    for job in cluster.with_coming("Job", namespace):
        marks = job["metadata"].get("labels") or {}
        if marks.get(labels.PURPOSE) == labels.PURPOSE_TRAIN and labels.TRAINING_JOB in marks:
            by_owner.setdefault(marks[labels.TRAINING_JOB], []).append(job)
    return by_owner


def _stage(obj: Manifest, jobs: list[Manifest]) -> str | None:
    if any(_runs(job) for job in jobs):
        return queue.RUNNING
    if (obj.get("spec") or {}).get("suspend") or obj["metadata"].get("deletionTimestamp"):
        return None
    top, waits = _condition(obj, "Succeeded"), _condition(obj, "Queued")
    if waits is not None and waits.status == "True":
        return queue.WAITING
    if top is not None and top.reason == reasons.RETRYING and _is_short(obj, jobs):
        return queue.BETWEEN
    return None


def _runs(job: Manifest) -> bool:
    ended = any(
        c["type"] in ("Complete", "Failed") and c["status"] == "True"
        for c in (job.get("status") or {}).get("conditions") or []
    )
    return not ended and not (job.get("spec") or {}).get("suspend")


def _is_short(obj: Manifest, jobs: list[Manifest]) -> bool:
    """Whether the back-off of a run between two attempts is short enough to keep its slot."""
    notes: list[dict[str, Any]] = [j["metadata"].get("annotations") or {} for j in jobs]
    newest = max(jobs, key=lambda j: int(j["metadata"]["labels"].get(labels.ATTEMPT, "1")), default=None)
    if newest is None:
        return False
    digest = (newest["metadata"].get("annotations") or {}).get(labels.RUN_DIGEST)
    tried = sum(n.get(labels.RUN_DIGEST) == digest for n in notes)
    return delay(obj["metadata"]["uid"], tried) <= queue.KEPT


def _condition(obj: Manifest, type_: str) -> Condition | None:
    for found in (obj.get("status") or {}).get("conditions") or []:
        if found.get("type") == type_:
            with suppress(ValueError):  # a newer version wrote it: it says so itself
                return Condition.model_validate(found)
    return None
