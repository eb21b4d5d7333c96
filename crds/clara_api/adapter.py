"""Adapter (adp): one immutable version of a family, named FAMILY-X.Y.Z. It outlives the job that made it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from clara_api.meta import BaseModelIdentity, Digest, Family, Model, SemVer, ShortText, Status, StoreUri
from clara_api.training_job import EvaluationRef


class Artifact(Model):
    """The bytes."""

    uri: StoreUri = Field(description="Folder that holds manifest.json.")
    digest: Digest = Field(description="sha256 of manifest.json, which holds the digest of every file.")


class Approval(Model):
    """A person's decision. Who may write it is RBAC: `update` on adapters/approval, only under the own user name."""

    decision: Literal["Approved", "Rejected"] = Field(description="Approved or Rejected.")
    by: Annotated[str, StringConstraints(min_length=1, max_length=256)] = Field(description="The own user name.")
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = Field(
        description="Why; kept for the audit."
    )


class AdapterSpec(Model):
    """The version. Only `approval` and `evaluation` may change."""

    family: Family = Field(description="The family.")
    version: SemVer = Field(description="X.Y.Z.")
    base_model: BaseModelIdentity = Field(description="The base it was trained on.")
    artifact: Artifact = Field(description="Where the bytes lie and what they must be.")
    evaluation: EvaluationRef | None = Field(default=None, description="A new golden set is a new evaluation.")
    approval: Approval | None = Field(
        default=None, description="A person's decision, given by 'kubectl clara approve'."
    )


class JudgeIdentity(Model):
    """Who judged."""

    model: ShortText = ""
    prompt_digest: ShortText = ""


class Evaluation(Model):
    """Summary of the newest evaluation; the full report lies in the store."""

    score: float | None = Field(default=None, description="0 to 100.")
    low: float | None = Field(default=None, description="Lower end of the 95 % interval.")
    high: float | None = Field(default=None, description="Upper end of the 95 % interval.")
    pass_rate: float | None = Field(default=None, description="Share of samples at or above samplePass, 0 to 1.")
    samples: int = 0
    unscored: int = 0
    failed_constraints: int = 0
    report_uri: StoreUri | None = None
    report_digest: Digest | None = None
    golden_dataset_digest: Digest | None = None
    golden_dataset: ShortText | None = None
    judge: JudgeIdentity | None = None
    adopted: bool = Field(default=False, description="True when the report was found in the store, not computed again.")


class Decision(Model):
    """The latched decision and what it rests on."""

    outcome: Literal["Approved", "NeedsReview", "Rejected"]
    reason: ShortText
    message: Annotated[str, StringConstraints(max_length=1024)] = ""
    by: ShortText | None = None
    at: datetime | None = None
    artifact_digest: Digest
    golden_dataset_digest: Digest | None = None
    report_digest: Digest | None = None
    adopted: bool = Field(default=False, description="It was found beside the artifact; nobody decided on this object.")


class EngineCounts(Model):
    """Engines that should hold this version, and those on which it is verified."""

    wanted: int = 0
    verified: int = 0
    failed: int = 0


class AdapterDisplay(Model):
    """Composed strings for people."""

    score: ShortText = ""
    decision: ShortText = ""
    engines: ShortText = ""


class AdapterStatus(Status):
    """How the version stands."""

    weights_digest: Digest | None = Field(
        default=None, description="Of the safetensors alone: equal for bit-identical runs."
    )
    engine_name: ShortText | None = Field(default=None, description="FAMILY-X.Y.Z-<digest8>: its name on every engine.")
    rank: int | None = None
    evaluation: Evaluation | None = None
    decision: Decision | None = None
    recorded_approval: Digest | None = Field(
        default=None, description="Digest of the approval in force that lies beside the artifact."
    )
    engines: EngineCounts = Field(default_factory=EngineCounts)
    display: AdapterDisplay = Field(default_factory=AdapterDisplay)


def engine_name(family: str, version: str, artifact_digest: str) -> str:
    """The immutable name on engines. vLLM serves stale prefix caches when a name is reused for other bytes."""
    return f"{family}-{version}-{artifact_digest.removeprefix('sha256:')[:8]}"
