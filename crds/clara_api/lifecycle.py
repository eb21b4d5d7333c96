"""The situations an object can be in, and what its conditions then say. One table for people, kstatus and Argo CD.

    situation      Ready/Succeeded   Reconciling  Stalled   Argo CD
    IN_PROGRESS    Unknown           True         –         Progressing
    DONE           True              –            –         Healthy
    WAITS_PERSON   Unknown           –            –         Suspended
    FAILED         False             –            True      Degraded
    SUPERSEDED     False             –            –         Healthy
    DEGRADED       False             True         –         Degraded

Reconciling and Stalled are abnormal-true: absent when false. Called by every `decide`.
"""

from __future__ import annotations

from enum import Enum

from clara_api.meta import Condition, ConditionStatus
from clara_api.reasons import REASONS


class Situation(Enum):
    """The row of the table: (status of the top condition, Reconciling, Stalled)."""

    IN_PROGRESS = ("Unknown", True, False)
    DONE = ("True", False, False)
    WAITS_PERSON = ("Unknown", False, False)
    FAILED = ("False", False, True)
    SUPERSEDED = ("False", False, False)
    DEGRADED = ("False", True, False)


def top_conditions(type_: str, situation: Situation, reason: str, message: str, *, generation: int) -> list[Condition]:
    """The top condition (`Ready` or `Succeeded`) and kstatus' Reconciling or Stalled beside it."""
    status, reconciling, stalled = situation.value
    conditions = [condition(type_, status, reason, message, generation=generation)]
    if reconciling:
        conditions.append(condition("Reconciling", "True", reason, message, generation=generation))
    if stalled:
        conditions.append(condition("Stalled", "True", reason, message, generation=generation))
    return conditions


def condition(type_: str, status: ConditionStatus | str, reason: str, message: str, *, generation: int) -> Condition:
    """A condition whose reason is in the table of reasons; its time is set by `meta.merge_conditions`."""
    if reason not in REASONS:
        raise ValueError(f"'{reason}' is no reason of clara_api.reasons")
    return Condition(
        type=type_,
        status=status,
        reason=reason,
        message=message[:4096] or REASONS[reason],
        observed_generation=generation,
    )
