"""The gate before a pod: not suspended, nothing known to fail, its turn. Then the attempt is made, or the Job goes on. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from clara_api import reasons
from clara_api.lifecycle import Situation
from clara_api.training_job import Progress, TrainingBase

from clara_operator.failures import Failure
from clara_operator.plan import Event, Plan
from clara_operator.pod_facts import JobFacts
from clara_operator.settings import Settings
from clara_operator.training_job import build, deadline, queue, suspend
from clara_operator.training_job.attempts import Run, base_of
from clara_operator.training_job.observe import Seen
from clara_operator.training_job.preflight import refusal
from clara_operator.training_job.progress import saved
from clara_operator.training_job.status import Verdict, with_status


def start(
    seen: Seen,
    run: Run,
    base: TrainingBase,
    settings: Settings,
    now: datetime,
    *,
    level: int = 0,
    failure: Failure | None = None,
) -> Plan:
    """The next attempt of the run, or what it waits for. `failure`: how the one before ended, to be remembered."""
    progress = _carried_over(seen, run, base)
    closed = gate(seen, run, progress, settings, now)
    if closed is not None:
        return closed
    attempt = build.NextAttempt(run.newest_number + 1, base, level, max(1, deadline.seconds_left(seen, run, now)))
    created, left_out = build.build_training(seen, attempt, settings)
    message = f"attempt {len(run.attempts) + 1} of {seen.spec.retry.max_attempts} is being created"
    events: tuple[Event, ...] = ()
    if left_out:
        told = f"GoldenDataset {', '.join(left_out)} did not fit into the run or cannot be read: leaks from it are not found"
        events = (Event("Warning", reasons.GOLDEN_LEFT_OUT, told),)
        message = f"{message}; {told}"
    last = run.current if failure else None
    verdict = Verdict(Situation.IN_PROGRESS, reasons.QUEUED, message, True, last, failure, progress=progress)
    plan = with_status(seen, verdict, now)
    return replace(plan, create=created, events=(*plan.events, *events))


def go_on(seen: Seen, run: Run, job: JobFacts, settings: Settings, now: datetime) -> Plan:
    """A Job that spec.suspend had stopped, when it is its turn again."""
    progress = saved(seen.status.progress, job.outcome)
    closed = gate(seen, run, progress, settings, now)
    if closed is not None:
        return closed
    step = suspend.checkpoint_step(seen, job)
    message = f"Job {job.name} goes on {f'at step {step}' if step else 'from the start'}"
    verdict = Verdict(Situation.IN_PROGRESS, reasons.QUEUED, message, locked=True, job=job, progress=progress)
    return replace(with_status(seen, verdict, now), patch=(suspend.go_on(seen, job),))


def gate(seen: Seen, run: Run, progress: Progress | None, settings: Settings, now: datetime) -> Plan | None:
    """Why no pod may be made now; None when one may. The recipe is locked as soon as it has had an attempt."""
    locked = bool(run.attempts)
    if seen.spec.suspend:
        words = suspend.words(seen, run.current)
        verdict = Verdict(Situation.WAITS_PERSON, reasons.SUSPENDED, words, locked=locked, progress=progress)
        return with_status(seen, verdict, now)
    refused = refusal(seen, settings)
    if refused is not None:
        held = (
            run.current is not None and run.current.finished is None
        )  # its Job goes on with the recipe it was made from
        verdict = Verdict(Situation.FAILED, refused.reason, refused.message, locked=held, progress=progress)
        return with_status(seen, verdict, now)
    turn = queue.turn(seen.key.name, seen.contenders, settings.max_running_jobs, now)
    if turn.now:
        return None
    verdict = Verdict(
        Situation.IN_PROGRESS, reasons.QUEUED, turn.message, locked=locked, progress=progress, position=turn.position
    )
    return replace(with_status(seen, verdict, now), again_after=turn.look_after or timedelta(minutes=10))


def _carried_over(seen: Seen, run: Run, base: TrainingBase) -> Progress | None:
    """Checkpoints belong to a run on a base: another one begins with nothing."""
    job = run.current
    if job is None or base_of(seen.spec, job).digest != base.digest:
        return None
    return saved(seen.status.progress, job.outcome)
