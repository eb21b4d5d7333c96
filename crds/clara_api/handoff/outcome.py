"""Handoff 4: finished pod → operator. The termination message, at most 3 KiB, and the exit codes.

Success is global_step == max_steps AND this message; never the exit code alone: transformers writes its SIGTERM checkpoint,
reports 100 % and exits 0.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError

from clara_api.handoff.eval_report import ReportSummary
from clara_api.meta import BaseModelIdentity, Digest, Model
from clara_api.training_job import DataReport, DryRunReport, MemoryPlan

LIMIT_BYTES = 3 * 1024

# Exit codes are classes too: what survives when the message is lost. 0 only together with a message that says so.
EXIT_DATA_INVALID = 64
EXIT_BASE_MODEL_UNAVAILABLE = 65
EXIT_STORE_UNREACHABLE = 66
EXIT_DIVERGED = 67
EXIT_OUT_OF_MEMORY = 68
EXIT_ARTIFACT_INVALID = 69
EXIT_JUDGE_UNREACHABLE = 70
EXIT_ARTIFACT_MISSING = 71
EXIT_BASE_MISMATCH = 72
EXIT_NOT_SERVABLE = 73
EXIT_DATA_CHANGED = 74
EXIT_DISK_FULL = 75
EXIT_SETUP_DIFFERS = 76
EXIT_BUG = 79
EXIT_PREEMPTED = 83

FailureClass = Literal[
    "DataInvalid",
    "BaseModelUnavailable",
    "StoreUnreachable",
    "Diverged",
    "OutOfMemory",
    "ArtifactInvalid",
    "BaseMismatch",
    "NotServable",
    "JudgeUnreachable",
    "ArtifactMissing",
    "DataChanged",
    "DiskFull",
    "SetupDiffers",
    "Preempted",
    "Bug",
]

EXIT_CODES: dict[FailureClass, int] = {
    "DataInvalid": EXIT_DATA_INVALID,
    "BaseModelUnavailable": EXIT_BASE_MODEL_UNAVAILABLE,
    "StoreUnreachable": EXIT_STORE_UNREACHABLE,
    "Diverged": EXIT_DIVERGED,
    "OutOfMemory": EXIT_OUT_OF_MEMORY,
    "ArtifactInvalid": EXIT_ARTIFACT_INVALID,
    "BaseMismatch": EXIT_BASE_MISMATCH,
    "NotServable": EXIT_NOT_SERVABLE,
    "JudgeUnreachable": EXIT_JUDGE_UNREACHABLE,
    "ArtifactMissing": EXIT_ARTIFACT_MISSING,
    "DataChanged": EXIT_DATA_CHANGED,
    "DiskFull": EXIT_DISK_FULL,
    "SetupDiffers": EXIT_SETUP_DIFFERS,
    "Preempted": EXIT_PREEMPTED,
    "Bug": EXIT_BUG,
}


class Outcome(Model):
    """What a pod says when it ends."""

    schema_: Literal["clara.vcc.dev/outcome/v1"] = Field(default="clara.vcc.dev/outcome/v1", alias="schema")
    result: Literal["Succeeded", "Failed"]
    failure: FailureClass | None = None
    message: str = ""
    artifact_uri: str | None = None
    artifact_digest: Digest | None = None
    weights_digest: Digest | None = None
    rank: int | None = None
    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    data: DataReport | None = None
    base_model: BaseModelIdentity | None = Field(default=None, description="The base the adapter was trained on.")
    resumed_from_step: int | None = None
    checkpoint_step: int | None = Field(
        default=None, description="Step of the newest complete checkpoint in the store."
    )
    memory: MemoryPlan | None = None
    dry_run: DryRunReport | None = None
    report: ReportSummary | None = None
    recorded_decision: dict[str, str] | None = Field(
        default=None, description="The newest person's decision found beside the artifact: decision, by, reason, at."
    )
    log_tail: list[str] = Field(default_factory=list)

    def to_message(self) -> str:
        """JSON of at most LIMIT_BYTES: log lines go first, then the message is cut."""
        outcome = self
        while len(text := _dump(outcome)) > LIMIT_BYTES:
            if outcome.log_tail:
                outcome = outcome.model_copy(update={"log_tail": outcome.log_tail[1:]})
            elif len(outcome.message) > 64:
                outcome = outcome.model_copy(update={"message": outcome.message[: len(outcome.message) * 3 // 4] + "…"})
            else:
                raise ValueError("an outcome without log lines and message must fit")
        return text.decode()


def _dump(outcome: Outcome) -> bytes:
    return outcome.model_dump_json(by_alias=True, exclude_none=True).encode()


def parse_outcome(message: str | None) -> Outcome | None:
    """Read a termination message; None when it is no outcome (killed, or a kubelet's own text)."""
    if not message:
        return None
    try:
        return Outcome.model_validate_json(message)
    except ValidationError:
        return None
