"""Handoff 6: evaluation pod → report. The full report lies in the store, its summary travels in the outcome."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clara_api.digests import canonical_json, sha256_digest
from clara_api.meta import Digest, Model


class ConstraintFailure(Model):
    """A hard constraint that an answer broke."""

    sample: str
    kind: Literal["mustCite", "mustMatch", "mustNotMatch"]
    expected: str


class JudgeRecord(Model):
    """Who judged, by content."""

    model: str
    endpoint: str
    prompt_digest: Digest
    criteria: dict[str, float] = Field(description="Criterion to weight.")


class SampleResult(Model):
    """One answer and its scores, 0 to 100. `score` is None when it could not be scored; `error` says why."""

    id: str
    group: str
    prompt: str
    answer: str
    reference: str
    difficulty: str
    score: float | None = None
    base_answer: str | None = None
    scores: dict[str, float] = Field(default_factory=dict, description="Scorer or criterion to score.")
    failed_constraints: list[ConstraintFailure] = Field(default_factory=list)
    error: str | None = None


class ReportSummary(Model):
    """What the gate needs."""

    score: float | None = None
    low: float | None = Field(default=None, description="Lower end of the 95 % interval over groups.")
    high: float | None = None
    pass_rate: float | None = None
    samples: int
    groups: int
    unscored: int = 0
    failed_constraints: list[ConstraintFailure] = Field(default_factory=list, description="The first few.")
    failed_constraint_count: int = 0
    golden_digest: Digest
    report_uri: str
    report_digest: Digest | None = None
    judge_model: str | None = None
    judge_prompt_digest: Digest | None = None
    adopted: bool = False


class EvalReport(Model):
    """report.json."""

    schema_: Literal["clara.vcc.dev/eval-report/v1"] = Field(default="clara.vcc.dev/eval-report/v1", alias="schema")
    family: str
    version: str
    artifact_digest: Digest
    golden_name: str
    golden_digest: Digest
    base_model_digest: Digest
    summary: ReportSummary
    judge: JudgeRecord | None = None
    samples: list[SampleResult]

    def to_bytes(self) -> bytes:
        """The bytes that are stored."""
        return canonical_json(self.wire()) + b"\n"

    def digest(self) -> str:
        """Digest of the stored bytes; the summary inside carries none of its own."""
        return sha256_digest(self.to_bytes())
