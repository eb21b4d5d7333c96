"""Read Jobs and Pods into small frozen facts. Shared by the kinds that run Jobs; the only code that knows their status."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from clara_api import labels
from clara_api.handoff.outcome import EXIT_CODES, FailureClass, Outcome, parse_outcome

from clara_operator.cluster import Cluster
from clara_operator.plan import Manifest

CLASS_OF_EXIT_CODE: dict[int, FailureClass] = {code: name for name, code in EXIT_CODES.items()}
# pkg/kubelet/eviction: a volume's sizeLimit, a container's limit, the sum of the containers' limits.
OVER_ITS_DISK = re.compile(
    r"Usage of EmptyDir volume|Container .* exceeded its local ephemeral storage limit|Pod ephemeral local storage usage exceeds"
)
LAST_LINES, LINE_CHARS = 12, 240
BAD_WAITING = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
)


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod of a Job."""

    name: str
    phase: str
    node: str | None = None
    outcome: Outcome | None = None
    last_lines: tuple[str, ...] = ()  # of the log of a pod that left no outcome
    exit_code: int | None = None
    oom_killed: bool = False
    over_its_disk: str = ""  # the kubelet's words when it evicted the pod for what it had written
    running: bool = False
    disrupted: bool = False
    disruption: str = ""  # the reason of DisruptionTarget: who took the pod away
    deleting: bool = False
    waiting: str | None = None  # reason of a container that cannot start
    unschedulable: str | None = None  # the scheduler's words
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobFacts:
    """One Job Clara made, with its pods, oldest first."""

    name: str
    uid: str
    resource_version: str
    purpose: str
    attempt: int
    run_digest: str
    created_at: datetime
    finished: Literal["Complete", "Failed"] | None = None
    finish_reason: str = ""
    finish_message: str = ""
    ended_at: datetime | None = None
    golden_digest: str | None = None
    base_digest: str | None = None  # of the base this attempt was given
    base_name: str | None = None
    memory_level: int = 0
    room_digest: str | None = None  # of the memory, disk and CPUs its pods were given
    suspended: bool = False  # spec.suspend
    suspended_by_us: bool = False  # and it is ours to take back
    parked: bool = False  # what the Job controller made of spec.suspend
    deadline_seconds: int | None = None
    active_before: int | None = None  # seconds it ran before it was suspended
    started_at: datetime | None = None  # anew after each suspension
    pods: tuple[PodFacts, ...] = ()

    @property
    def pod(self) -> PodFacts | None:
        """The newest pod."""
        return self.pods[-1] if self.pods else None

    @property
    def outcome(self) -> Outcome | None:
        """What the newest pod that said something said."""
        return next((p.outcome for p in reversed(self.pods) if p.outcome is not None), None)


def jobs_of(cluster: Cluster, namespace: str, label: str, owner: str) -> tuple[JobFacts, ...]:
    """All Jobs with `label`=`owner`, by attempt."""
    found = cluster.all("Job", namespace, **{label: labels.label_value(owner)})
    facts = [job_facts(job, cluster) for job in found if not job["metadata"].get("deletionTimestamp")]
    return tuple(sorted(facts, key=lambda j: (j.purpose, j.attempt)))


def job_facts(job: Manifest, cluster: Cluster) -> JobFacts:
    """Read one Job and its pods."""
    meta = job["metadata"]
    marks = meta.get("labels") or {}
    notes = meta.get("annotations") or {}
    spec, status = job.get("spec") or {}, job.get("status") or {}
    finished = next(
        (c for c in status.get("conditions") or [] if c["type"] in ("Complete", "Failed") and c["status"] == "True"),
        None,
    )
    pods = cluster.all("Pod", meta["namespace"], **{"batch.kubernetes.io/job-name": meta["name"]})
    pods = [p for p in pods if any(o.get("uid") == meta["uid"] for o in p["metadata"].get("ownerReferences") or [])]
    return JobFacts(
        name=meta["name"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        purpose=marks.get(labels.PURPOSE, ""),
        attempt=int(marks.get(labels.ATTEMPT, "1")),
        run_digest=notes.get(labels.RUN_DIGEST, ""),
        golden_digest=notes.get(labels.GOLDEN_DIGEST) or None,
        base_digest=notes.get(labels.BASE_DIGEST),
        base_name=notes.get(labels.BASE_MODEL),
        memory_level=_number(notes.get(labels.MEMORY_LEVEL)) or 0,
        room_digest=notes.get(labels.ROOM_DIGEST),
        suspended=bool(spec.get("suspend")),
        suspended_by_us=labels.SUSPENDED in notes,
        parked=any(c["type"] == "Suspended" and c["status"] == "True" for c in status.get("conditions") or []),
        deadline_seconds=spec.get("activeDeadlineSeconds"),
        active_before=_number(notes.get(labels.ACTIVE_SECONDS)),
        started_at=parse_time(status.get("startTime")),
        created_at=parse_time(meta["creationTimestamp"]) or datetime.min,
        finished=finished["type"] if finished else None,
        finish_reason=(finished or {}).get("reason", ""),
        finish_message=(finished or {}).get("message", ""),
        ended_at=parse_time((finished or {}).get("lastTransitionTime")),
        pods=tuple(pod_facts(p) for p in sorted(pods, key=lambda p: p["metadata"]["creationTimestamp"])),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def pod_facts(pod: Manifest) -> PodFacts:
    """Read one pod; its first container is the one that speaks."""
    status = pod.get("status") or {}
    conditions = status.get("conditions") or []
    container: dict[str, Any] = next(iter(status.get("containerStatuses") or []), {})
    state = container.get("state") or {}
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    scheduled = next((c for c in conditions if c["type"] == "PodScheduled" and c["status"] == "False"), None)
    disruption = next((c for c in conditions if c["type"] == "DisruptionTarget" and c["status"] == "True"), None)
    outcome = parse_outcome(ended.get("message"))
    return PodFacts(
        name=pod["metadata"]["name"],
        phase=status.get("phase", "Pending"),
        node=(pod.get("spec") or {}).get("nodeName"),
        outcome=outcome,
        last_lines=() if outcome else _last_lines(ended.get("message")),
        exit_code=ended.get("exitCode"),
        oom_killed=ended.get("reason") == "OOMKilled",
        over_its_disk=_over_its_disk(status),
        running="running" in state,
        disrupted=disruption is not None,
        disruption=(disruption or {}).get("reason", ""),
        deleting=bool(pod["metadata"].get("deletionTimestamp")),
        waiting=_waiting(status),
        unschedulable=scheduled.get("message") if scheduled else None,
        started_at=parse_time((state.get("running") or {}).get("startedAt") or ended.get("startedAt")),
        ended_at=parse_time(ended.get("finishedAt")),
    )


def _last_lines(message: str | None) -> tuple[str, ...]:
    """The end of the log, which the kubelet puts in place of a missing outcome; the first line may be torn."""
    lines = []
    for line in (message or "").splitlines()[-LAST_LINES:]:
        try:
            said = json.loads(line)
            lines.append(f"{str(said['level']).upper()} {said['message']}"[:LINE_CHARS])
        except (ValueError, KeyError, TypeError):
            lines.append(line[:LINE_CHARS])
    return tuple(lines)


def _over_its_disk(status: dict[str, Any]) -> str:
    """Evicted for its own sizeLimit or ephemeral-storage limit; a node that runs full says DisruptionTarget instead."""
    message = str(status.get("message") or "").strip()
    return message if status.get("reason") == "Evicted" and OVER_ITS_DISK.match(message) else ""


def _waiting(status: dict[str, Any]) -> str | None:
    containers: Sequence[dict[str, Any]] = (status.get("initContainerStatuses") or []) + (
        status.get("containerStatuses") or []
    )
    for container in containers:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in BAD_WAITING:
            return f"{waiting['reason']}: {waiting.get('message', '')}".strip().rstrip(":")
    return None


def parse_time(text: str | None) -> datetime | None:
    """An API timestamp as an aware datetime."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
