"""From an exception to the outcome the operator reads: classes, exit codes, the termination message.

Whatever can go wrong is raised as `Failure` where it is understood; what nobody understood is a `Bug`. `__main__` is the only
caller of `failed` and `write`.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from clara_api.handoff.outcome import EXIT_CODES, FailureClass, Outcome

OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "DefaultCPUAllocator")

log = logging.getLogger(__name__)


class Failure(Exception):
    """A failure with a class; the message says what is the case and what to do."""

    def __init__(self, failure: FailureClass, message: str) -> None:
        super().__init__(message)
        self.failure = failure
        self.message = message


class Terminated(BaseException):
    """SIGTERM arrived. No `Exception`, like KeyboardInterrupt: libraries that swallow errors must not swallow this one.

    `where` says how far the run was; `checkpoint_step` is the step of the newest complete checkpoint, if there is one.
    """

    def __init__(self, where: str = "", *, checkpoint_step: int | None = None) -> None:
        super().__init__(where)
        self.where = where
        self.checkpoint_step = checkpoint_step


def on_sigterm(signum: int, frame: FrameType | None) -> None:
    """Signal handler: unwind from wherever the program is. A preempted run publishes nothing."""
    raise Terminated()


def failed(error: BaseException, tail: Sequence[str]) -> Outcome:
    """The outcome of a run that ended with `error`."""
    failure, message = classify(error)
    step = error.checkpoint_step if isinstance(error, Terminated) else None
    return Outcome(result="Failed", failure=failure, message=message, checkpoint_step=step, log_tail=list(tail))


def classify(error: BaseException) -> tuple[FailureClass, str]:
    """Class and sentence of an error."""
    if isinstance(error, Failure):
        return error.failure, error.message
    if isinstance(error, Terminated):
        return "Preempted", told_to_stop(error)
    if is_out_of_memory(error):
        return "OutOfMemory", (
            f"memory ran out ({_first_line(error)}); raise spec.resources, or lower "
            "hyperparameters.microBatchSize or hyperparameters.maxLength"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "DiskFull", f"the pod's scratch space is full ({error.filename}); raise spec.scratch"
    return "Bug", f"{type(error).__name__}: {_first_line(error)}"


def told_to_stop(error: Terminated) -> str:
    """What was saved of a run that was told to stop."""
    where = f" ({error.where})" if error.where else ""
    if error.checkpoint_step is None:
        return f"the pod was told to stop before the run was complete{where}; nothing was published or saved"
    return f"the pod was told to stop{where}; the run goes on from the checkpoint of step {error.checkpoint_step}"


def is_out_of_memory(error: BaseException) -> bool:
    """Python's, CUDA's and the CPU allocator's ways of saying so. By name: torch may not even be imported."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY_WORDS)


def exit_code(outcome: Outcome) -> int:
    """0, or the reserved code of the failure class."""
    if outcome.result == "Succeeded":
        return 0
    return EXIT_CODES[outcome.failure or "Bug"]


def write(outcome: Outcome, path: Path) -> None:
    """Put the termination message where the kubelet reads it; the exit code still speaks when that fails."""
    try:
        path.write_text(fitting_message(outcome), encoding="utf-8")
    except OSError:
        log.exception("the termination message could not be written to %s", path)


def fitting_message(outcome: Outcome) -> str:
    """The termination message; long constraints and a long reason give way first: both lie whole in the store."""
    shorter = outcome
    if outcome.report is not None:
        report = outcome.report.model_copy(update={"failed_constraints": []})
        shorter = shorter.model_copy(update={"report": report})
    if outcome.recorded_decision is not None:
        decision = outcome.recorded_decision | {"reason": outcome.recorded_decision.get("reason", "")[:80]}
        shorter = shorter.model_copy(update={"recorded_decision": decision})
    try:
        return outcome.to_message()
    except ValueError:
        return shorter.to_message()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:500]
