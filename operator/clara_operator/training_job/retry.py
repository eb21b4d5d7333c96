"""What a failed attempt means: its reason, its sentence, and whether another attempt may help. Pure.

First cut of the policy: classes that may pass are tried again with exponential back-off, at most MAX_ATTEMPTS times a run;
everything else stops and says what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from clara_api import reasons
from clara_api.handoff.outcome import FailureClass

from clara_operator.pod_facts import CLASS_OF_EXIT_CODE, JobFacts

MAX_ATTEMPTS = 4
FIRST_DELAY = timedelta(seconds=10)
LONGEST_DELAY = timedelta(minutes=5)

REASON_OF_CLASS: dict[FailureClass, str] = {
    "DataInvalid": reasons.DATA_INVALID,
    "BaseModelUnavailable": reasons.BASE_MODEL_UNAVAILABLE,
    "StoreUnreachable": reasons.STORE_UNREACHABLE,
    "Diverged": reasons.DIVERGED,
    "OutOfMemory": reasons.OUT_OF_MEMORY,
    "ArtifactInvalid": reasons.ARTIFACT_INVALID,
    "BaseMismatch": reasons.BASE_MISMATCH,
    "NotServable": reasons.NOT_SERVABLE,
    "JudgeUnreachable": reasons.JUDGE_UNREACHABLE,
    "ArtifactMissing": reasons.POD_LOST,
    "Preempted": reasons.PREEMPTED,
    "Bug": reasons.BUG,
}
MAY_PASS = frozenset({reasons.STORE_UNREACHABLE, reasons.PREEMPTED, reasons.POD_LOST})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt ended without an artifact."""

    reason: str
    message: str
    exit_code: int | None = None
    log_tail: tuple[str, ...] = ()

    @property
    def may_pass(self) -> bool:
        """Whether the same run may succeed later."""
        return self.reason in MAY_PASS


def failure_of(job: JobFacts) -> Failure | None:
    """The failure of a finished Job; None when it holds none that can be read (then the store is asked)."""
    pod, outcome = job.pod, job.outcome
    if outcome is not None and outcome.result == "Failed" and outcome.failure is not None:
        code = pod.exit_code if pod else None
        return Failure(REASON_OF_CLASS[outcome.failure], outcome.message, code, tuple(outcome.log_tail))
    if pod is not None and pod.oom_killed:
        return Failure(
            reasons.OUT_OF_MEMORY,
            "the pod was killed for using more memory than resources.limits.memory; raise it, or lower "
            "hyperparameters.maxLength or microBatchSize, then raise spec.rerun",
            pod.exit_code,
        )
    if job.finish_reason == "DeadlineExceeded":
        return Failure(reasons.DEADLINE_EXCEEDED, job.finish_message or "the run took too long")
    if pod is not None and pod.exit_code in CLASS_OF_EXIT_CODE:
        name = CLASS_OF_EXIT_CODE[pod.exit_code]
        return Failure(
            REASON_OF_CLASS[name], f"the pod ended with exit code {pod.exit_code} and said no more", pod.exit_code
        )
    if pod is not None and pod.exit_code not in (None, 0) and not pod.disrupted:
        return Failure(
            reasons.BUG,
            f"the pod ended with exit code {pod.exit_code} and left no outcome; 'kubectl logs {pod.name}' shows more",
            pod.exit_code,
        )
    return None


def next_attempt_at(attempts_of_run: int, ended_at: datetime) -> datetime:
    """When the attempt after `attempts_of_run` failed ones may start."""
    delay = min(LONGEST_DELAY, FIRST_DELAY * int(3 ** (attempts_of_run - 1)))
    return ended_at + delay
