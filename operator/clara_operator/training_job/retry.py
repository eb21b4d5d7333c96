"""What follows a failed attempt: another one, or the end. Pure; one row per class.

    DataInvalid, DataChanged, Diverged, NotServable, ArtifactInvalid, BaseMismatch             stop
    DiskFull, OutOfMemory                  again when spec.scratch or spec.resources were changed meanwhile, else
    DiskFull                               stop
    StoreUnreachable, Preempted, PodLost, NodeLost                                             again
    Bug                                                                                        again, once
    OutOfMemory, killed by the kernel      again with the step cut finer, to level 3; then the next base, or stop
    OutOfMemory, said by the trainer       the next base, or stop: it has walked the whole ladder
    BaseModelUnavailable                   the next base, or stop: it has tried the mirrors
    DeadlineExceeded                       stop, unless maxDuration was raised meanwhile

Attempts are bounded by retry.maxAttempts, their time by retry.maxDuration. Between two there is a back-off with jitter, the
same for the same object and attempt, so that every look at it tells the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from clara_api import reasons
from clara_api.training_job import TrainingBase

from clara_operator.failures import Failure
from clara_operator.training_job.attempts import Run, base_of, earlier_reasons
from clara_operator.training_job.backoff import delay
from clara_operator.training_job.deadline import seconds_left
from clara_operator.training_job.fallback import next_base
from clara_operator.training_job.observe import Seen
from clara_operator.training_job.recipe import room_digest

FINEST_LEVEL = 3
LACKS = frozenset({reasons.DISK_FULL, reasons.OUT_OF_MEMORY})
MAY_PASS = frozenset({reasons.STORE_UNREACHABLE, reasons.PREEMPTED, reasons.POD_LOST, reasons.NODE_LOST})


@dataclass(frozen=True, slots=True)
class Again:
    """Another attempt, from then on, on that base."""

    at: datetime
    base: TrainingBase
    memory_level: int
    message: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The end, until a person changes something."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class _Change:
    """What the next attempt does differently; base None: there is no use in one."""

    base: TrainingBase | None
    memory_level: int = 0
    words: str = ""
    by_person: bool = False  # who gave the run what it lacked: no limit on attempts stands against that


def after(seen: Seen, run: Run, failure: Failure, now: datetime) -> Again | Stop:
    """What follows the current attempt, which failed like this."""
    job = run.current
    assert job is not None
    tried, most = len(run.attempts), seen.spec.retry.max_attempts
    which = f"attempt {tried} of {most}"
    change = _change(seen, run, failure, now)
    if change.base is None:
        told = "; ".join(part for part in (failure.sentence, change.words) if part)
        return Stop(failure.reason, f"{told} ({which})")
    if tried >= most and not change.by_person:
        return Stop(failure.reason, f"{failure.sentence} ({which}; raise retry.maxAttempts for more)")
    if seconds_left(seen, run, now) <= 0:
        return Stop(reasons.DEADLINE_EXCEEDED, f"{_out_of_time(seen)} ({which}: {failure.message})")
    at = (job.ended_at or now) + delay(seen.uid, tried)
    words = f" {change.words}" if change.words else ""
    message = f"{which}: {failure.message}; attempt {tried + 1} follows at {at:%H:%M:%S} UTC{words}"
    return Again(at, change.base, change.memory_level, message)


def _change(seen: Seen, run: Run, failure: Failure, now: datetime) -> _Change:
    job = run.current
    assert job is not None
    base, level = base_of(seen.spec, job), job.memory_level
    if failure.reason in MAY_PASS:
        return _Change(base, level)
    if failure.reason == reasons.BUG:
        if reasons.BUG in earlier_reasons(seen, run):
            return _Change(None, words="it failed like this before")
        return _Change(base, level)
    if failure.reason in LACKS and job.room_digest not in (None, room_digest(seen.spec)):
        return _Change(base, 0, "because spec.resources or spec.scratch was changed", by_person=True)
    if failure.reason == reasons.OUT_OF_MEMORY and failure.by_kernel and level < FINEST_LEVEL:
        return _Change(base, level + 1, f"with the step cut finer (level {level + 1} of {FINEST_LEVEL})")
    if failure.reason in (reasons.OUT_OF_MEMORY, reasons.BASE_MODEL_UNAVAILABLE):
        fallback = next_base(seen, base)
        return _Change(fallback.base, 0, f"({fallback.message})" if fallback.base else fallback.message)
    if failure.reason == reasons.DEADLINE_EXCEEDED:
        if seconds_left(seen, run, now) > 0:
            return _Change(base, level, "because retry.maxDuration was raised")
        return _Change(None, words=_out_of_time(seen))
    return _Change(None)


def _out_of_time(seen: Seen) -> str:
    cure = "raise it to go on from the newest checkpoint"
    return f"retry.maxDuration {seen.spec.retry.max_duration} is used up; {cure}"
