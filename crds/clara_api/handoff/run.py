"""Handoffs 1 and 5: what a pod is asked to do, JSON in a ConfigMap mounted at /clara/run/run.json.

The operator writes it once per attempt; `python -m clara_trainer RUN.json` reads it. Store keys are never in here: they come
as environment from the namespace's Secret `clara-store`, or the store is the claim `clara-artifacts` mounted at VOLUME_ROOT.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from clara_api.golden_dataset import Judge, Sample, Scorer, Thresholds
from clara_api.meta import BaseModelRef, Digest, Model
from clara_api.training_job import (
    Checkpoints,
    Conversion,
    DataFormat,
    DataPolicy,
    Hyperparameters,
    Method,
    Profile,
    TrainingBase,
)

RUN_DIR = "/clara/run"  # the ConfigMap: run.json, and ca.crt of the progress endpoint
RUN_FILE = "/clara/run/run.json"
CA_FILE = "/clara/run/ca.crt"
DATA_DIR = "/clara/data"  # ConfigMap sources: /clara/data/<index>/<key>
SCRATCH_DIR = "/clara/scratch"
ENV_SCRATCH_BYTES = "CLARA_SCRATCH_BYTES"  # spec.scratch: above it the kubelet evicts the pod
VOLUME_ROOT = "/clara/volumes"  # volume://CLAIM/PATH is /clara/volumes/CLAIM/PATH
TOKEN_FILE = "/clara/token/token"  # projected progress token
JUDGE_TOKEN_FILE = "/clara/judge/token"
LISTED = "AdapterListEnd"
TERMINATION_LOG = "/dev/termination-log"


class GoldenSample(Model):
    """What a training row must not repeat."""

    id: str
    prompt: str
    reference: str = ""


class GoldenPrompts(Model):
    """The samples of one GoldenDataset of the family."""

    name: str
    samples: list[GoldenSample]


class StartAdapter(Model):
    """An artifact to continue."""

    name: str
    uri: str
    digest: Digest


class DataFile(Model):
    """One source of rows: a store URI, or a file mounted from a ConfigMap."""

    name: str = Field(description="What messages call it, for example 'steuerrecht.jsonl'.")
    uri: str | None = None
    path: str | None = None
    format: DataFormat = "auto"
    weight: float = 1


class TrainRun(Model):
    """Train one adapter and publish it. Attempts of one run share `run_uri`: checkpoints and the digests of the data."""

    kind: Literal["Train"] = "Train"
    namespace: str
    name: str
    uid: str
    attempt: int
    family: str
    base_model: TrainingBase = Field(description="The base of this attempt: the one asked for, or a fallback.")
    method: Method = "lora"
    profile: Profile = "lora"
    hyperparameters: Hyperparameters
    start_from: StartAdapter | None = None
    conversion: Conversion | None = None
    data: list[DataFile]
    data_policy: DataPolicy = Field(default_factory=DataPolicy)
    golden: list[GoldenPrompts] = Field(default_factory=list, description="What the data must not contain.")
    golden_left_out: list[str] = Field(default_factory=list, description="GoldenDatasets that did not fit in here.")
    validation_fraction: float
    checkpoints: Checkpoints = Field(default_factory=Checkpoints)
    gpus: int = Field(default=0, description="GPUs that the pod has by its limits.")
    processes: int = Field(default=1, ge=1, description="Processes that share each step: one per GPU (profiles.py).")
    memory_level: int = Field(default=0, description="How often a pod of this run was killed for its memory.")
    dry_run: bool = False
    run_uri: str = Field(default="", description="Folder of the run's own state: data.json and checkpoints.")
    artifact_uri: str = Field(description="Folder to publish to; manifest.json is written last.")
    license: str | None = None
    image: str | None = Field(default=None, description="Image the pod was asked to run, for the manifest.")


class ReproduceRun(Model):
    """Repeat a published run from its manifest and compare the weights. Nothing is published."""

    kind: Literal["Reproduce"] = "Reproduce"
    namespace: str
    name: str
    artifact_uri: str
    approximate: bool = Field(default=False, description="Accept another machine or other packages; compare effects.")


class RecoverRun(Model):
    """The pod vanished: look for manifest.json at the known key and report it as the outcome, or ArtifactMissing."""

    kind: Literal["Recover"] = "Recover"
    namespace: str
    name: str
    uid: str
    attempt: int
    artifact_uri: str


class ServingLimits(Model):
    """What the engines of this family take, checked before an adapter is called good."""

    max_lora_rank: int = 512


class EvaluationRun(Model):
    """Verify an artifact, answer the golden prompts, score the answers, write the report.

    Without `golden_digest` and samples only the artifact is verified. An existing report for the same digests is adopted.
    """

    kind: Literal["Evaluate"] = "Evaluate"
    namespace: str
    name: str
    uid: str
    family: str
    version: str
    base_model: BaseModelRef
    artifact_uri: str
    artifact_digest: Digest
    adapter_object: dict[str, Any] = Field(description="Written beside the manifest as adapter.json.")
    golden_name: str | None = None
    golden_digest: Digest | None = None
    samples: list[Sample] = Field(default_factory=list)
    scorers: list[Scorer] = Field(default_factory=list)
    judge: Judge | None = None
    thresholds: Thresholds = Field(default_factory=Thresholds)
    max_new_tokens: int = 256
    limits: ServingLimits = Field(default_factory=ServingLimits)


class RecordRun(Model):
    """Write a person's decision beside the artifact, where a re-created Adapter finds it."""

    kind: Literal["Record"] = "Record"
    namespace: str
    name: str
    uid: str
    artifact_uri: str
    artifact_digest: Digest
    decision: dict[str, Any] = Field(description="decision, by, reason, at, reportDigest.")
    decision_digest: Digest


class ListRun(Model):
    """Print every adapter.json of a namespace, one JSON document per line: what to apply again after a disaster.

    The last line is {"kind": LISTED, "count": N}.
    """

    kind: Literal["List"] = "List"
    namespace: str
    name: str
    adapters_uri: str = Field(description="PREFIX/adapters/NAMESPACE")


AnyRun = TrainRun | ReproduceRun | RecoverRun | EvaluationRun | RecordRun | ListRun
Run = Annotated[AnyRun, Field(discriminator="kind")]
RUN: TypeAdapter[AnyRun] = TypeAdapter(Run)
