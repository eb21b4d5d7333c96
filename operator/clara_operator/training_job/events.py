"""What people are told once: each step of a run, a resume, a step that is cut finer. Pure; called with every status write."""

from __future__ import annotations

from clara_api import reasons
from clara_api.lifecycle import Situation
from clara_api.meta import find_condition
from clara_api.training_job import MemoryPlan, Progress, TrainingJobStatus

from clara_operator.plan import Event

WARN = (reasons.RETRYING, reasons.POD_LOST, reasons.NODE_LOST, reasons.PREEMPTED, reasons.IMAGE_UNAVAILABLE)


def events(old: TrainingJobStatus, new: TrainingJobStatus, situation: Situation) -> tuple[Event, ...]:
    """What the new status says that the old one did not."""
    found = (_step(old, new, situation), _resumed(old.progress, new.progress), _memory(old.progress, new.progress))
    return tuple(event for event in found if event is not None)


def _step(old: TrainingJobStatus, new: TrainingJobStatus, situation: Situation) -> Event | None:
    """When the reason changes."""
    before, now = find_condition(old.conditions, "Succeeded"), find_condition(new.conditions, "Succeeded")
    assert now is not None
    if before is not None and before.reason == now.reason:
        return None
    bad = situation is Situation.FAILED or now.reason in WARN
    return Event("Warning" if bad else "Normal", now.reason, now.message)


def _resumed(old: Progress | None, new: Progress | None) -> Event | None:
    if new is None or not new.resumed_from_step:
        return None
    if old is not None and (old.resumed_from_step, old.interruptions) == (new.resumed_from_step, new.interruptions):
        return None
    times = f"{new.interruptions} interruption{'s' if new.interruptions != 1 else ''} so far"
    return Event(
        "Normal", reasons.RESUMED, f"the run goes on from the checkpoint of step {new.resumed_from_step}; {times}"
    )


def _memory(old: Progress | None, new: Progress | None) -> Event | None:
    """The plan a run begins with is no news, unless it already is not what was asked for."""
    plan, before = new.memory if new else None, old.memory if old else None
    if plan is None or plan == before or (before is None and not plan.reason):
        return None
    return Event("Normal", reasons.MEMORY_PLAN_CHANGED, _words(plan))


def _words(plan: MemoryPlan) -> str:
    twice = ", activations computed twice" if plan.gradient_checkpointing else ""
    why = f": {plan.reason}" if plan.reason else ""
    each = f" in each of {plan.processes} processes" if plan.processes > 1 else ""
    return f"a step is {plan.accumulation} x {plan.micro_batch_size} examples{each}{twice}{why}"
