"""Why a finished Job ended without what it was made for: from pods, exit codes and outcomes to one Failure. Pure.

Called by training_job (retry.py says what follows) and by adapter/decide.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from clara_api import reasons
from clara_api.handoff.outcome import FailureClass, Outcome

from clara_operator.pod_facts import CLASS_OF_EXIT_CODE, JobFacts, PodFacts

KILLED = 137  # 128 + SIGKILL
NODE_IS_GONE = ("DeletionByPodGC", "DeletionByTaintManager")  # reasons of DisruptionTarget

REASON_OF_CLASS: dict[FailureClass, str] = {
    "DataInvalid": reasons.DATA_INVALID,
    "DataChanged": reasons.DATA_CHANGED,
    "BaseModelUnavailable": reasons.BASE_MODEL_UNAVAILABLE,
    "StoreUnreachable": reasons.STORE_UNREACHABLE,
    "Diverged": reasons.DIVERGED,
    "OutOfMemory": reasons.OUT_OF_MEMORY,
    "ArtifactInvalid": reasons.ARTIFACT_INVALID,
    "BaseMismatch": reasons.BASE_MISMATCH,
    "NotServable": reasons.NOT_SERVABLE,
    "JudgeUnreachable": reasons.JUDGE_UNREACHABLE,
    "ArtifactMissing": reasons.POD_LOST,
    "DiskFull": reasons.DISK_FULL,
    "Preempted": reasons.PREEMPTED,
    "SetupDiffers": reasons.BUG,  # only people who repeat a run by hand see it
    "Bug": reasons.BUG,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What was the case, and what a person can do when nothing else follows."""

    reason: str
    message: str
    exit_code: int | None = None
    log_tail: tuple[str, ...] = ()
    cure: str = ""
    by_kernel: bool = False  # killed without a word: the trainer could not walk its ladder

    @property
    def sentence(self) -> str:
        """The message with its cure."""
        return f"{self.message}; {self.cure}" if self.cure else self.message


def failure_of(job: JobFacts) -> Failure | None:
    """The failure of a finished Job; None when it holds none that can be read (then the store is asked).

    Only the newest pod counts: an earlier one that was moved said so, and another went on.
    """
    if job.finish_reason == "DeadlineExceeded":  # the last pod was told to stop, so it says Preempted
        said = job.outcome.log_tail if job.outcome else []
        return Failure(reasons.DEADLINE_EXCEEDED, job.finish_message or "the run took too long", log_tail=tuple(said))
    pod = job.pod
    if pod is None:
        return None
    return _over_its_disk(pod) or _said(pod) or _stopped_by_us(job, pod) or _killed(pod) or _coded(pod)


def lost(job: JobFacts) -> Failure:
    """The pod is gone, and the store holds nothing of it."""
    pod = job.pod
    if pod is not None and pod.disruption in NODE_IS_GONE:
        return Failure(reasons.NODE_LOST, f"node {pod.node} of pod {pod.name} is gone, and nothing was published")
    return Failure(reasons.POD_LOST, f"the pod of attempt {job.attempt} vanished and published nothing")


def _over_its_disk(pod: PodFacts) -> Failure | None:
    """The kubelet's word counts before the pod's: that one only knows that it was told to stop."""
    if not pod.over_its_disk:
        return None
    field = "spec.scratch" if "EmptyDir" in pod.over_its_disk else 'spec.resources.limits["ephemeral-storage"]'
    return Failure(
        reasons.DISK_FULL,
        f"pod {pod.name} was evicted: {pod.over_its_disk.rstrip('. ')}",
        pod.exit_code,
        tuple(pod.outcome.log_tail) if pod.outcome else pod.last_lines,
        cure=f"raise {field}: the run goes on from its newest checkpoint",
    )


def _said(pod: PodFacts) -> Failure | None:
    outcome: Outcome | None = pod.outcome
    if outcome is None or outcome.result != "Failed" or outcome.failure is None:
        return None
    if outcome.failure == "Bug" and pod.oom_killed:  # the kernel took one process of the pod, and the others wondered
        return None
    reason = REASON_OF_CLASS[outcome.failure]
    return Failure(reason, outcome.message or reasons.REASONS[reason], pod.exit_code, tuple(outcome.log_tail))


def _stopped_by_us(job: JobFacts, pod: PodFacts) -> Failure | None:
    if not job.suspended_by_us or pod.exit_code in (None, 0):
        return None
    message = f"pod {pod.name} was stopped for spec.suspend before it could save"
    return Failure(reasons.PREEMPTED, message, pod.exit_code)


def _killed(pod: PodFacts) -> Failure | None:
    """By the kernel for its memory, which a finer cut may cure; or by somebody on the node, which may pass."""
    if pod.oom_killed:
        return Failure(
            reasons.OUT_OF_MEMORY,
            "the pod was killed for using more memory than resources.limits.memory",
            pod.exit_code,
            pod.last_lines,
            cure="raise it: the run goes on from its newest checkpoint; or lower hyperparameters.maxLength",
            by_kernel=True,
        )
    if pod.exit_code == KILLED and not (pod.disrupted or pod.deleting):
        message = f"pod {pod.name} was killed on its node, not for its memory"
        return Failure(reasons.POD_LOST, message, pod.exit_code, pod.last_lines)
    return None


def _coded(pod: PodFacts) -> Failure | None:
    if pod.exit_code in CLASS_OF_EXIT_CODE:
        reason = REASON_OF_CLASS[CLASS_OF_EXIT_CODE[pod.exit_code]]
        message = f"the pod ended with exit code {pod.exit_code} and said no more"
        return Failure(reason, message, pod.exit_code, pod.last_lines)
    if pod.exit_code in (None, 0) or pod.disrupted:
        return None
    return Failure(
        reasons.BUG,
        f"the pod ended with exit code {pod.exit_code} and left no outcome",
        pod.exit_code,
        pod.last_lines,
        cure=f"'kubectl logs {pod.name}' shows more",
    )
