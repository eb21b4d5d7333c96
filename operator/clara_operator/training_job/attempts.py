"""The attempts of the run that the spec asks for now, read from Jobs and their annotations. Pure; called by decide.

Nothing here is remembered by the process: which base and memory level an attempt was given, and how long it ran, stand on
its Job.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from clara_api import labels, reasons
from clara_api.handoff.outcome import Outcome
from clara_api.training_job import TrainingBase, TrainingJobSpec

from clara_operator.failures import KILLED, Failure, failure_of
from clara_operator.pod_facts import JobFacts
from clara_operator.training_job.observe import Seen
from clara_operator.training_job.recipe import run_digest


@dataclass(frozen=True, slots=True)
class Run:
    """The attempts of the recipe as it is now, oldest first."""

    attempts: tuple[JobFacts, ...]
    recovery: JobFacts | None
    newest_number: int

    @property
    def current(self) -> JobFacts | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None


def run_of(seen: Seen) -> Run:
    """Attempts of another recipe do not count; but an unfinished one is the run, whatever the spec says by now."""
    train = tuple(j for j in seen.jobs if j.purpose == labels.PURPOSE_TRAIN)
    unfinished = next((j for j in reversed(train) if j.finished is None), None)
    digest = unfinished.run_digest if unfinished else run_digest(seen.spec)
    attempts = tuple(j for j in train if j.run_digest == digest)
    current = attempts[-1] if attempts else None
    recovery = next(
        (j for j in seen.jobs if current and j.purpose == labels.PURPOSE_RECOVER and j.attempt == current.attempt), None
    )
    numbers = [j.attempt for j in train] + [a.number for a in seen.status.attempts]
    return Run(attempts, recovery, max(numbers, default=0))


def published(run: Run) -> Outcome | None:
    """The outcome of a finished run, from its pod or from the recovery Job."""
    for job in (run.current, run.recovery):
        outcome = job.outcome if job else None
        if outcome is None or outcome.result != "Succeeded" or outcome.artifact_digest is None:
            continue
        if job is run.recovery or (outcome.step is not None and outcome.step == outcome.total_steps):
            return outcome
    return None


def dry_run_done(run: Run) -> Outcome | None:
    """The outcome of a dry run that took its step."""
    outcome = run.current.outcome if run.current else None
    return outcome if outcome is not None and outcome.result == "Succeeded" and outcome.dry_run is not None else None


def base_of(spec: TrainingJobSpec, job: JobFacts) -> TrainingBase:
    """The base an attempt was given."""
    bases = (spec.base_model, *spec.fallback_base_models)
    return next((b for b in bases if b.digest == job.base_digest), spec.base_model)


def recorded_failure(seen: Seen, job: JobFacts) -> Failure | None:
    """What status says of a finished attempt whose pod is gone by now."""
    known = next((a for a in seen.status.attempts if a.number == job.attempt), None)
    if known is None or not known.message or known.ended_at is None:
        return None
    killed = known.reason == reasons.OUT_OF_MEMORY and known.exit_code == KILLED
    return Failure(known.reason, known.message, known.exit_code, tuple(known.last_log_lines), by_kernel=killed)


def earlier_reasons(seen: Seen, run: Run) -> tuple[str, ...]:
    """Why the attempts before the current one failed: as recorded, because their pods may be gone."""
    recorded = {a.number: a.reason for a in seen.status.attempts}
    found = []
    for job in run.attempts[:-1]:
        failure = failure_of(job)
        found.append(failure.reason if failure else recorded.get(job.attempt, ""))
    return tuple(found)


def active_seconds(job: JobFacts, now: datetime) -> int:
    """How long an attempt has had a pod, or waited for one; time in which it was suspended does not count."""
    before = job.active_before or 0
    if job.suspended or job.parked:
        return before
    since = job.started_at or job.created_at
    return before + max(0, int(((job.ended_at or now) - since).total_seconds()))
