"""spec.suspend: the Job is told to stop after a checkpoint, and to go on. Pure.

Only a suspension of ours is taken back: a queueing system that suspends the Job keeps its word.
"""

from __future__ import annotations

from datetime import datetime

from clara_api import labels

from clara_operator.plan import Patch
from clara_operator.pod_facts import JobFacts
from clara_operator.training_job.attempts import active_seconds
from clara_operator.training_job.deadline import job_ref
from clara_operator.training_job.observe import Seen


def stop(seen: Seen, job: JobFacts, now: datetime) -> Patch | None:
    """Pods get SIGTERM, save and end; the time they had is written down, the deadline is taken off."""
    if job.suspended:
        return None
    notes = {labels.SUSPENDED: "true", labels.ACTIVE_SECONDS: str(active_seconds(job, now))}
    spec = {"suspend": True, "activeDeadlineSeconds": None}
    return Patch(job_ref(seen, job), {"metadata": {"annotations": notes}, "spec": spec})


def go_on(seen: Seen, job: JobFacts) -> Patch:
    """The Job controller makes a pod, which takes the run up at its newest checkpoint."""
    return Patch(
        job_ref(seen, job), {"metadata": {"annotations": {labels.SUSPENDED: None}}, "spec": {"suspend": False}}
    )


def checkpoint_step(seen: Seen, job: JobFacts | None) -> int | None:
    """Step of the newest complete checkpoint, as the pod's last word or its progress said."""
    said = job.outcome.checkpoint_step if job and job.outcome else None
    known = seen.status.progress.checkpoint_step if seen.status.progress else None
    return max((s for s in (said, known) if s is not None), default=None)


def words(seen: Seen, job: JobFacts | None) -> str:
    """What a suspended run is doing."""
    cure = "spec.suspend: false goes on"
    if job is None:
        return f"no pod was made; {cure}"
    if job.finished is None and job.pod is not None and job.pod.running:
        return f"pod {job.pod.name} saves a checkpoint and stops"
    step = checkpoint_step(seen, job)
    return f"stopped at the checkpoint of step {step}; {cure} there" if step else f"stopped before a checkpoint; {cure}"
