"""retry.maxDuration: what is left of it for an attempt, and the Job's own deadline kept in step. Pure.

Time counts while a Job is active: not in the queue, not between attempts, not while suspended. Kubernetes resets a Job's
clock when it resumes, but looks at the old one first, so a deadline that stands on a suspended Job can fail it at once
(kube-controller-manager 1.34, `pastActiveDeadline`): it is taken off with the suspension and put back when the clock is new.
"""

from __future__ import annotations

import re
from datetime import datetime

from clara_operator.plan import Patch, Ref
from clara_operator.pod_facts import JobFacts
from clara_operator.training_job.attempts import Run, active_seconds
from clara_operator.training_job.observe import Seen

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(duration: str) -> int:
    """90m → 5400."""
    match = re.fullmatch(r"(\d+)([smhd])", duration)
    assert match is not None, duration
    return int(match[1]) * _SECONDS[match[2]]


def seconds_left(seen: Seen, run: Run, now: datetime) -> int:
    """What the next attempt may take; 0 or less when nothing is left."""
    return seconds_of(seen.spec.retry.max_duration) - sum(active_seconds(j, now) for j in run.attempts)


def deadline_patch(seen: Seen, run: Run, now: datetime) -> Patch | None:
    """The current Job's deadline, when it is off after a suspension, or maxDuration was changed meanwhile."""
    job = run.current
    if job is None or job.finished or job.suspended or job.parked or job.started_at is None:
        return None
    if job.deadline_seconds is None and job.active_before is None:
        return None  # made by an operator that set none: it is left alone
    earlier = sum(active_seconds(j, now) for j in run.attempts[:-1]) + (job.active_before or 0)
    wanted = max(1, seconds_of(seen.spec.retry.max_duration) - earlier)
    if wanted == job.deadline_seconds:
        return None
    return Patch(job_ref(seen, job), {"spec": {"activeDeadlineSeconds": wanted}})


def job_ref(seen: Seen, job: JobFacts) -> Ref:
    """The Job as it was seen."""
    return Ref("batch/v1", "Job", seen.key.namespace, job.name, job.uid, job.resource_version)
