"""TrainingJob (tj): one run of a recipe, from data to a published adapter."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from clara_api.meta import (
    BaseModelRef,
    ConfigMapKey,
    Digest,
    Family,
    LocalRef,
    Message,
    Model,
    Resources,
    Scheduling,
    SemVer,
    ShortText,
    Status,
    StoreUri,
)

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$", max_length=32)]
DataFormat = Literal["auto", "chat", "promptCompletion", "text"]


class Hyperparameters(Model):
    """What the optimizer does. Effective values (after the profile's defaults) are in status.effective."""

    rank: int = Field(default=16, ge=1, le=512, description="LoRA rank.")
    alpha: float = Field(default=32, gt=0, le=4096, description="LoRA alpha; the update is scaled by alpha / rank.")
    dropout: float = Field(default=0, ge=0, lt=1, description="Dropout on the adapter's input.")
    learning_rate: float = Field(default=2.0e-4, gt=0, le=1, description="Peak learning rate.")
    epochs: float = Field(default=3, gt=0, le=1000, description="Passes over the data.")
    global_batch_size: int = Field(
        default=64,
        ge=1,
        le=65536,
        description="Examples per optimizer step, whatever the memory: it never changes by itself.",
    )
    micro_batch_size: Literal["auto"] | int = Field(
        default="auto",
        description="Examples per forward pass: 'auto' or a divisor of globalBatchSize.",
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "type(self) == int ? self >= 1 && self <= 65536 : self == 'auto'",
                    "message": "microBatchSize is 'auto' or at least 1",
                }
            ]
        },
    )
    max_length: int = Field(
        default=1024, ge=16, le=131072, description="Longest example, in tokens; longer ones are cut."
    )
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1, description="Share of the steps in which the rate rises.")
    seed: int = Field(default=42, ge=0, le=2147483647, description="Seed of initialisation and order.")


class DataSource(Model):
    """Training rows: JSONL in the store (one file, or every *.jsonl below a prefix) or in a ConfigMap."""

    uri: StoreUri | None = Field(default=None, description="s3:// or volume:// file or prefix.")
    config_map: ConfigMapKey | None = Field(default=None, description="JSONL in a ConfigMap, for small data.")
    format: DataFormat = Field(
        default="auto", description="auto, chat ({messages}), promptCompletion ({prompt, completion}) or text ({text})."
    )
    weight: float = Field(default=1, gt=0, le=100, description="How often its rows are seen per epoch.")

    model_config = Model.model_config | {
        "json_schema_extra": {
            "x-kubernetes-validations": [
                {
                    "rule": "has(self.uri) != has(self.configMap)",
                    "message": "a data source has either uri or configMap",
                }
            ]
        }
    }


class Validation(Model):
    """Rows held out of training."""

    fraction: float = Field(
        default=0.1, ge=0, le=0.5, description="Share of the rows held out for metrics.loss of validation."
    )


class EvaluationRef(Model):
    """Which benchmark judges the adapter."""

    golden_dataset_ref: LocalRef = Field(description="GoldenDataset of the same namespace.")


VersionChoice = Annotated[
    str,
    StringConstraints(
        pattern=r"^(auto|patch|minor|major|(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*))$", max_length=32
    ),
]


class TrainingJobSpec(Model):
    """The recipe. Locked while it runs and after success; after a failure change it or raise `rerun`."""

    family: Family = Field(description="Name of the line of adapters, for example 'steuerrecht'.")
    version: VersionChoice = Field(default="auto", description="auto, patch, minor, major, or a forced X.Y.Z.")
    base_model: BaseModelRef = Field(description="The frozen base.")
    method: Literal["lora"] = Field(default="lora", description="lora.")
    profile: Literal["lora"] = Field(default="lora", description="Named defaults of the hyperparameters.")
    hyperparameters: Hyperparameters = Field(default_factory=Hyperparameters, description="Overrides of the profile.")
    data: list[DataSource] = Field(min_length=1, max_length=20, description="Where the rows come from.")
    validation: Validation = Field(default_factory=Validation, description="Rows held out.")
    evaluation: EvaluationRef | None = Field(default=None, description="Benchmark that judges the result.")
    resources: Resources = Field(default_factory=Resources, description="core/v1 resources of the trainer.")
    scheduling: Scheduling = Field(default_factory=Scheduling, description="Where the pod may run.")
    scratch: Quantity = Field(default="10Gi", description="Size limit of the pod's scratch space.")
    rerun: int = Field(
        default=0, ge=0, description="Raise it to run the same recipe again, after the data were repaired, say."
    )
    license: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        default=None, description="SPDX licence of the adapter, for example CC0-1.0."
    )


class Progress(Model):
    """Computed by the operator from differences of the step counter."""

    percent: int = Field(default=0, ge=0, le=100)
    step: int = Field(default=0, ge=0)
    total_steps: int = Field(default=0, ge=0)
    epoch: float | None = None
    eta_seconds: int | None = None
    loss: float | None = None
    tokens_per_second: float | None = None


class Attempt(Model):
    """One Job and how it ended."""

    number: int = Field(ge=1)
    reason: ShortText
    message: Message = ""
    exit_code: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    node: ShortText | None = None
    last_log_lines: list[Annotated[str, StringConstraints(max_length=512)]] = Field(default_factory=list, max_length=20)


class DataReport(Model):
    """What was found in the data."""

    rows: int = 0
    training_rows: int = 0
    validation_rows: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    truncated_rows: int = 0


class TrainingJobDisplay(Model):
    """Composed strings for people."""

    state: ShortText = ""
    progress: ShortText = ""
    loss: ShortText = ""
    eta: ShortText = ""


class TrainingJobStatus(Status):
    """How the run stands."""

    progress: Progress | None = None
    attempts: list[Attempt] = Field(default_factory=list, max_length=16)
    effective: dict[str, Any] | None = Field(default=None, description="Hyperparameters after profile and defaults.")
    data_report: DataReport | None = None
    adapter_ref: LocalRef | None = None
    artifact_uri: StoreUri | None = None
    artifact_digest: Digest | None = None
    version: SemVer | None = None
    recipe_locked: bool = Field(default=False, description="While true, the API server refuses changes of the recipe.")
    rerun: int = Field(default=0, description="The spec.rerun the last attempt belongs to.")
    display: TrainingJobDisplay = Field(default_factory=TrainingJobDisplay)
