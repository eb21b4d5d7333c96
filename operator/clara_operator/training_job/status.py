"""The status a verdict makes: conditions, attempts, the strings people read. Pure; called by decide and start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from clara_api import reasons
from clara_api.handoff.outcome import Outcome
from clara_api.lifecycle import Situation, condition, top_conditions
from clara_api.meta import BaseModelIdentity, Condition, LocalRef, find_condition, merge_conditions
from clara_api.training_job import Attempt, DataReport, Progress, TrainingJobDisplay, TrainingJobStatus

from clara_operator.failures import Failure
from clara_operator.plan import Plan, StatusWrite
from clara_operator.pod_facts import JobFacts
from clara_operator.training_job.events import events
from clara_operator.training_job.observe import FamilyVersion, Seen
from clara_operator.training_job.progress import for_people

KEPT_ATTEMPTS = 16
AT_THE_BEGINNING = (reasons.QUEUED, reasons.STARTING, reasons.PREPARING)
DATA_IS_BAD = (reasons.DATA_INVALID, reasons.DATA_CHANGED)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is true of the run now."""

    situation: Situation
    reason: str
    message: str
    locked: bool
    job: JobFacts | None = None
    failure: Failure | None = None
    progress: Progress | None = None
    position: int | None = None  # its place among those that wait for their turn


def with_status(
    seen: Seen,
    verdict: Verdict,
    now: datetime,
    *,
    adapter: FamilyVersion | None = None,
    outcome: Outcome | None = None,
    base: BaseModelIdentity | None = None,
) -> Plan:
    """A plan that writes this status if it differs from the one that is there, and tells what changed."""
    old = seen.status
    done = outcome if outcome is not None and outcome.result == "Succeeded" else None
    status = TrainingJobStatus(
        observed_generation=seen.generation,
        conditions=merge_conditions(old.conditions, _conditions(seen, verdict, outcome), now=now),
        progress=verdict.progress,
        attempts=_attempts(seen, verdict),
        effective=seen.effective.wire() | {"method": seen.spec.method},
        data_report=_data_report(seen, verdict, outcome),
        adapter_ref=LocalRef(name=adapter.name) if adapter else old.adapter_ref,
        artifact_uri=done.artifact_uri if done and done.artifact_uri else old.artifact_uri,
        artifact_digest=done.artifact_digest if done and done.artifact_digest else old.artifact_digest,
        version=adapter.version if adapter else old.version,
        recipe_locked=verdict.locked,
        rerun=seen.spec.rerun,
        queue_position=verdict.position,
        base_model=base or old.base_model,
        weights_digest=done.weights_digest if done and done.weights_digest else old.weights_digest,
        dry_run=done.dry_run if done and done.dry_run else old.dry_run,
        display=_display(verdict),
    )
    if status == old:
        return Plan()
    told = events(old, status, verdict.situation)
    return Plan(status=StatusWrite(seen.resource_version, status.wire()), events=told)


def _conditions(seen: Seen, verdict: Verdict, outcome: Outcome | None) -> list[Condition]:
    generation, reason, message = seen.generation, verdict.reason, verdict.message
    conditions = top_conditions("Succeeded", verdict.situation, reason, message, generation=generation)
    running = reason in (reasons.PREPARING, reasons.TRAINING)
    waits = verdict.position is not None
    for type_, holds in (("Running", running), ("Queued", waits)):
        conditions.append(condition(type_, "True" if holds else "False", reason, message, generation=generation))
    conditions.append(_data_ready(seen, verdict, outcome))
    return conditions


def _data_report(seen: Seen, verdict: Verdict, outcome: Outcome | None) -> DataReport | None:
    """The outcome's, else what the pod has told meanwhile; an earlier run's is forgotten when another begins."""
    if outcome is not None and outcome.data is not None:
        return outcome.data
    if seen.samples and seen.samples[-1].data is not None:
        return seen.samples[-1].data
    begins = verdict.reason == reasons.QUEUED and verdict.progress is None
    return None if begins else seen.status.data_report


def _data_ready(seen: Seen, verdict: Verdict, outcome: Outcome | None) -> Condition:
    generation = seen.generation
    before = find_condition(seen.status.conditions, "DataReady")
    if verdict.reason in DATA_IS_BAD:
        return condition("DataReady", "False", verdict.reason, verdict.message, generation=generation)
    if outcome is not None and outcome.data is not None:
        message = f"{outcome.data.rows} rows, {outcome.data.training_rows} to train on"
        return condition("DataReady", "True", reasons.DATA_READY, message, generation=generation)
    if verdict.reason == reasons.TRAINING:
        return condition(
            "DataReady", "True", reasons.DATA_READY, "all rows were read; steps are being taken", generation=generation
        )
    begins = verdict.reason in AT_THE_BEGINNING and verdict.progress is None
    if before is not None and before.status == "True" and not begins:
        return before
    return condition("DataReady", "Unknown", reasons.PENDING, "no pod has read the data yet", generation=generation)


def _attempts(seen: Seen, verdict: Verdict) -> list[Attempt]:
    """History: what is recorded, with the current attempt's line replaced by what is known now."""
    attempts = {a.number: a for a in seen.status.attempts}
    if verdict.job is not None:
        known = attempts.get(verdict.job.attempt) or Attempt(number=verdict.job.attempt, reason=verdict.reason)
        attempts[verdict.job.attempt] = _attempt(verdict, verdict.job, known)
    elif verdict.situation is Situation.DONE and attempts:
        last = max(attempts)
        attempts[last] = attempts[last].model_copy(update={"reason": verdict.reason})
    return [attempts[n] for n in sorted(attempts)][-KEPT_ATTEMPTS:]


def _attempt(verdict: Verdict, job: JobFacts, known: Attempt) -> Attempt:
    """A pod may be gone by now: what was known of it stays."""
    pod, failure = job.pod, verdict.failure
    ended = pod is not None and (failure is not None or job.finished is not None or pod.exit_code == 0)
    code = failure.exit_code if failure else pod.exit_code if pod else None
    lines = [line[:512] for line in failure.log_tail][-20:] if failure else known.last_log_lines
    return Attempt(
        number=job.attempt,
        reason=failure.reason if failure else verdict.reason,
        message=failure.sentence[:4096] if failure else "",
        exit_code=known.exit_code if code is None else code,
        started_at=known.started_at or (pod.started_at if pod else None),
        ended_at=(pod.ended_at if pod and ended else None) or known.ended_at or job.ended_at,
        node=(pod.node if pod else None) or known.node,
        base_model=job.base_name,
        memory_level=job.memory_level,
        last_log_lines=lines,
    )


def _display(verdict: Verdict) -> TrainingJobDisplay:
    progress = verdict.progress
    running = verdict.situation is Situation.IN_PROGRESS
    return TrainingJobDisplay(
        state=verdict.reason,
        progress=f"{progress.percent}%" if progress else "",
        loss=f"{progress.loss:.2f}" if progress and progress.loss is not None else "",
        eta=for_people(progress.eta_seconds) if progress and running else "",
    )
