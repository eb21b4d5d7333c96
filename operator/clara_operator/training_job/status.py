"""The status a verdict makes: conditions, progress, attempts, the strings people read. Pure; called by decide."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from clara_api import reasons
from clara_api.handoff.outcome import Outcome
from clara_api.lifecycle import Situation, condition, top_conditions
from clara_api.meta import Condition, LocalRef, find_condition, merge_conditions
from clara_api.profiles import effective
from clara_api.training_job import Attempt, Progress, TrainingJobDisplay, TrainingJobStatus

from clara_operator.plan import Event, Plan, StatusWrite
from clara_operator.pod_facts import JobFacts
from clara_operator.training_job.observe import FamilyVersion, Seen
from clara_operator.training_job.progress import for_people, progress_of
from clara_operator.training_job.retry import Failure

KEPT_ATTEMPTS = 16


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is true of the run now."""

    situation: Situation
    reason: str
    message: str
    locked: bool
    job: JobFacts | None = None
    failure: Failure | None = None
    adapter: str | None = None


def with_status(
    seen: Seen, verdict: Verdict, now: datetime, *, adapter: FamilyVersion | None = None, outcome: Outcome | None = None
) -> Plan:
    """A plan that writes this status if it differs from the one that is there, and tells what changed."""
    progress = _progress(seen, verdict, outcome)
    verdict = _with_training(verdict, progress, seen)
    old = seen.status
    status = TrainingJobStatus(
        observed_generation=seen.generation,
        conditions=merge_conditions(old.conditions, _conditions(seen, verdict, outcome), now=now),
        progress=progress,
        attempts=_attempts(seen, verdict),
        effective=effective(seen.spec.profile, seen.spec.hyperparameters).wire(),
        data_report=outcome.data if outcome and outcome.data else old.data_report,
        adapter_ref=LocalRef(name=adapter.name) if adapter else old.adapter_ref,
        artifact_uri=outcome.artifact_uri if outcome else old.artifact_uri,
        artifact_digest=outcome.artifact_digest if outcome else old.artifact_digest,
        version=adapter.version if adapter else old.version,
        recipe_locked=verdict.locked,
        rerun=seen.spec.rerun,
        display=_display(verdict, progress),
    )
    if status == old:
        return Plan()
    return Plan(status=StatusWrite(seen.resource_version, status.wire()), events=_events(seen, verdict))


def _progress(seen: Seen, verdict: Verdict, outcome: Outcome | None) -> Progress | None:
    if outcome is not None and outcome.total_steps:
        return Progress(percent=100, step=outcome.step or 0, total_steps=outcome.total_steps, loss=outcome.loss)
    if verdict.situation is Situation.DONE:
        return seen.status.progress
    if verdict.job is None or verdict.reason in (reasons.QUEUED, reasons.STARTING):
        return None
    return progress_of(seen.samples) or seen.status.progress


def _with_training(verdict: Verdict, progress: Progress | None, seen: Seen) -> Verdict:
    """A running pod that has taken steps is Training, not Preparing."""
    if verdict.reason != reasons.PREPARING or progress is None or progress.step == 0:
        return verdict
    job = verdict.job
    where = job.pod.node if job and job.pod and job.pod.node else "its node"
    message = f"attempt {job.attempt if job else 1} on {where} takes {progress.total_steps} steps"
    return Verdict(verdict.situation, reasons.TRAINING, message, verdict.locked, verdict.job)


def _conditions(seen: Seen, verdict: Verdict, outcome: Outcome | None) -> list[Condition]:
    generation = seen.generation
    conditions = top_conditions("Succeeded", verdict.situation, verdict.reason, verdict.message, generation=generation)
    running = verdict.reason in (reasons.PREPARING, reasons.TRAINING)
    conditions.append(
        condition("Running", "True" if running else "False", verdict.reason, verdict.message, generation=generation)
    )
    conditions.append(_data_ready(seen, verdict, outcome))
    return conditions


def _data_ready(seen: Seen, verdict: Verdict, outcome: Outcome | None) -> Condition:
    generation = seen.generation
    before = find_condition(seen.status.conditions, "DataReady")
    if verdict.reason == reasons.DATA_INVALID:
        return condition("DataReady", "False", reasons.DATA_INVALID, verdict.message, generation=generation)
    if outcome is not None and outcome.data is not None:
        message = f"{outcome.data.rows} rows, {outcome.data.training_rows} to train on"
        return condition("DataReady", "True", reasons.DATA_READY, message, generation=generation)
    if verdict.reason == reasons.TRAINING:
        return condition(
            "DataReady", "True", reasons.DATA_READY, "all rows were read; steps are being taken", generation=generation
        )
    if before is not None and before.status == "True" and verdict.reason in (reasons.SUCCEEDED, reasons.PUBLISHING):
        return before
    return condition("DataReady", "Unknown", reasons.PENDING, "no pod has read the data yet", generation=generation)


def _attempts(seen: Seen, verdict: Verdict) -> list[Attempt]:
    """History: what is recorded, with the current attempt's line replaced by what is known now."""
    attempts = {a.number: a for a in seen.status.attempts}
    job = verdict.job
    if job is not None:
        pod = job.pod
        failure = verdict.failure
        known = attempts.get(job.attempt)
        reason = failure.reason if failure else verdict.reason
        attempts[job.attempt] = Attempt(
            number=job.attempt,
            reason=reason,
            message=failure.message if failure else "",
            exit_code=pod.exit_code if pod else None,
            started_at=(pod.started_at if pod else None) or (known.started_at if known else None),
            ended_at=(pod.ended_at if pod else None) or job.ended_at,
            node=pod.node if pod else None,
            last_log_lines=[line[:512] for line in (failure.log_tail if failure else ())][-20:],
        )
    elif verdict.situation is Situation.DONE and attempts:
        last = max(attempts)
        attempts[last] = attempts[last].model_copy(update={"reason": reasons.SUCCEEDED})
    return [attempts[n] for n in sorted(attempts)][-KEPT_ATTEMPTS:]


def _display(verdict: Verdict, progress: Progress | None) -> TrainingJobDisplay:
    running = verdict.situation is Situation.IN_PROGRESS
    return TrainingJobDisplay(
        state=verdict.reason,
        progress=f"{progress.percent}%" if progress else "",
        loss=f"{progress.loss:.2f}" if progress and progress.loss is not None else "",
        eta=for_people(progress.eta_seconds) if progress and running else "",
    )


def _events(seen: Seen, verdict: Verdict) -> tuple[Event, ...]:
    """Each step once: when the reason changes."""
    before = find_condition(seen.status.conditions, "Succeeded")
    if before is not None and before.reason == verdict.reason:
        return ()
    kind = (
        "Warning"
        if verdict.situation is Situation.FAILED or verdict.reason in (reasons.RETRYING, reasons.POD_LOST)
        else "Normal"
    )
    return (Event("Warning" if kind == "Warning" else "Normal", verdict.reason, verdict.message),)
