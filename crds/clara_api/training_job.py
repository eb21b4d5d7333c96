"""TrainingJob (tj): one run of a recipe, from data to a published adapter."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from clara_api.meta import (
    BaseModelIdentity,
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
Duration = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,5}(s|m|h|d)$", max_length=8)]
DataFormat = Literal["auto", "chat", "promptCompletion", "text"]


Method = Literal["lora", "qlora", "dora"]
Profile = Literal["lora", "qlora", "continuous", "multi-gpu"]
MicroBatchSize = Literal["auto"] | int

_MICRO_BATCH_RULE: dict[str, Any] = {
    "x-kubernetes-validations": [
        {
            "rule": "type(self) == int ? self >= 1 && self <= 65536 : self == 'auto'",
            "message": "microBatchSize is 'auto' or at least 1",
        }
    ]
}


class Hyperparameters(Model):
    """What the optimizer does, every field decided: profile defaults with the person's overrides (profiles.py).

    In status.effective and in each run. `HyperparameterOverrides` is what people write.
    """

    rank: int = 16
    alpha: float = 32
    rank_stabilized: bool = False
    dropout: float = 0
    learning_rate: float = 2.0e-4
    epochs: float = 3
    global_batch_size: int = 64
    micro_batch_size: MicroBatchSize = "auto"
    max_length: int = 1024
    packing: bool = True
    warmup_ratio: float = 0.03
    seed: int = 42


class HyperparameterOverrides(Model):
    """What differs from the profile. A field that is left out is the profile's; status.effective shows the result."""

    rank: int | None = Field(default=None, ge=1, le=512, description="LoRA rank; 16 in every profile.")
    alpha: float | None = Field(
        default=None, gt=0, le=4096, description="LoRA alpha; the update is scaled by alpha / rank."
    )
    rank_stabilized: bool | None = Field(
        default=None, description="Scale by alpha / sqrt(rank) instead (rsLoRA): larger ranks then learn as fast."
    )
    dropout: float | None = Field(default=None, ge=0, lt=1, description="Dropout on the adapter's input.")
    learning_rate: float | None = Field(default=None, gt=0, le=1, description="Peak learning rate.")
    epochs: float | None = Field(default=None, gt=0, le=1000, description="Passes over the data.")
    global_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=65536,
        description="Examples per optimizer step, whatever the memory: it never changes by itself.",
    )
    micro_batch_size: MicroBatchSize | None = Field(
        default=None,
        description="Examples per forward pass: 'auto' or a number. Memory decides how a step is cut, never the step.",
        json_schema_extra=_MICRO_BATCH_RULE,
    )
    max_length: int | None = Field(
        default=None, ge=16, le=131072, description="Longest example, in tokens; see dataPolicy.longRows."
    )
    packing: bool | None = Field(
        default=None,
        description="Lay the examples of a micro-batch end to end, without padding; the loss is the same.",
    )
    warmup_ratio: float | None = Field(
        default=None, ge=0, lt=1, description="Share of the steps in which the rate rises."
    )
    seed: int | None = Field(
        default=None, ge=0, le=2147483647, description="Seed of initialisation and order; 42 unless given."
    )


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
        default=0.1, ge=0, le=0.5, description="Share of the rows held out, for validationLoss and pplDev."
    )


class DataPolicy(Model):
    """What happens to rows that should not be learned from. `fail` ends the run as DataInvalid and names the lines."""

    empty_rows: Literal["drop", "fail"] = Field(
        default="fail", description="Rows whose prompt, answer or text is empty: drop or fail."
    )
    duplicate_rows: Literal["keep", "drop", "fail"] = Field(
        default="drop", description="Rows equal to an earlier one: keep, drop or fail."
    )
    long_rows: Literal["truncate", "drop", "fail"] = Field(
        default="truncate", description="Rows of more than maxLength tokens: truncate, drop or fail."
    )
    golden_leaks: Literal["drop", "fail"] = Field(
        default="fail",
        description="Rows that are, or nearly are, a sample of a GoldenDataset of the family: drop or fail.",
    )


class TrainingBase(BaseModelRef):
    """The base to train on, and where else the same bytes lie."""

    mirrors: list[StoreUri] = Field(
        default_factory=list, max_length=4, description="Other places of the same digest, tried in order."
    )


class StartFrom(Model):
    """An adapter to continue, instead of a new one."""

    adapter_ref: LocalRef = Field(description="Adapter of the same namespace, family and base.")


class Conversion(Model):
    """How a result that engines refuse (DoRA) becomes one they load: re-fitted to a plain LoRA by SVD."""

    rank: int = Field(default=32, ge=1, le=512, description="Rank of the re-fitted LoRA.")
    max_error: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Largest relative error of the change in log-probabilities; above it the run ends NotServable.",
    )


class Queue(Model):
    """Who goes first when more runs wait than may run at once in a namespace."""

    priority: int = Field(default=3, ge=1, le=5, description="1 (low) to 5 (high); waiting raises it.")


class Checkpoints(Model):
    """How often the state of the run is put into the store while training goes on."""

    every_steps: int = Field(default=100, ge=1, le=1_000_000, description="Steps between two checkpoints.")
    keep: int = Field(default=2, ge=1, le=10, description="Newest complete checkpoints that are kept while it runs.")


class Retry(Model):
    """How long a run is tried."""

    max_attempts: int = Field(
        default=4, ge=1, le=16, description="Attempts that may fail; a pod that was only moved does not count."
    )
    max_duration: Duration = Field(
        default="12h", description="Time in which its pods may run, in all attempts: 90m, 12h, 3d. Raise it to go on."
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
    base_model: TrainingBase = Field(description="The frozen base.")
    fallback_base_models: list[TrainingBase] = Field(
        default_factory=list,
        max_length=3,
        description="Other bases, tried in order when the base cannot be loaded or does not fit into memory; only those "
        "that a ServingDeployment of the family runs on.",
    )
    start_from: StartFrom | None = Field(default=None, description="Continue this adapter.")
    method: Method = Field(
        default="lora",
        description="lora; qlora (the base in 4 bits: less memory); dora (weights decomposed into size and direction).",
    )
    profile: Profile = Field(
        default="lora",
        description="Named defaults of the hyperparameters: lora, qlora, continuous (few small steps), multi-gpu.",
    )
    hyperparameters: HyperparameterOverrides = Field(
        default_factory=HyperparameterOverrides, description="What differs from the profile."
    )
    conversion: Conversion | None = Field(
        default=None, description="For method dora: how the result becomes servable. Without it the job is NotServable."
    )
    data: list[DataSource] = Field(min_length=1, max_length=20, description="Where the rows come from.")
    data_policy: DataPolicy = Field(default_factory=DataPolicy, description="What happens to rows that are no good.")
    validation: Validation = Field(default_factory=Validation, description="Rows held out.")
    evaluation: EvaluationRef | None = Field(default=None, description="Benchmark that judges the result.")
    resources: Resources = Field(default_factory=Resources, description="core/v1 resources of the trainer.")
    scheduling: Scheduling = Field(default_factory=Scheduling, description="Where the pod may run.")
    scratch: Quantity = Field(default="10Gi", description="Size limit of the pod's scratch space.")
    queue: Queue = Field(default_factory=Queue, description="Who goes first.")
    checkpoints: Checkpoints = Field(default_factory=Checkpoints, description="How often the state is saved.")
    retry: Retry = Field(default_factory=Retry, description="How often and how long it is tried.")
    suspend: bool = Field(default=False, description="True: save a checkpoint, then stop; false again continues there.")
    dry_run: bool = Field(
        default=False,
        description="Load, check the data, take one step on the longest batch, report memory and time, publish nothing.",
    )
    rerun: int = Field(
        default=0, ge=0, description="Raise it to run the same recipe again, after the data were repaired, say."
    )
    license: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        default=None, description="SPDX licence of the adapter, for example CC0-1.0."
    )


class MemoryPlan(Model):
    """How a step is cut to fit into memory. The step itself, globalBatchSize examples, never changes."""

    micro_batch_size: int = Field(ge=1, description="Examples per forward pass.")
    accumulation: int = Field(ge=1, description="Forward passes per step, in each process.")
    processes: int = Field(default=1, ge=1, description="Processes that share a step: one per GPU.")
    gradient_checkpointing: bool = Field(default=False, description="Activations are computed twice to save memory.")
    reason: ShortText = Field(default="", description="Why it is not what was asked for.")


class DryRunReport(Model):
    """What a dry run measured."""

    total_steps: int = 0
    seconds_per_step: float = 0
    estimated_seconds: float = Field(default=0, description="All steps at the measured time per step.")
    longest_batch_tokens: int = 0
    peak_memory_bytes: int = Field(default=0, description="Measured on the longest batch.")
    estimated_memory_bytes: int = Field(
        default=0, description="What was computed before: weights, adapter, activations."
    )
    available_memory_bytes: int | None = Field(default=None, description="The device's, or the container's limit.")
    memory: MemoryPlan | None = None


class Progress(Model):
    """Computed by the operator from differences of the step counter."""

    percent: int = Field(default=0, ge=0, le=100)
    step: int = Field(default=0, ge=0)
    total_steps: int = Field(default=0, ge=0)
    epoch: float | None = None
    eta_seconds: int | None = None
    loss: float | None = None
    tokens_per_second: float | None = None
    phase: ShortText | None = Field(default=None, description="What the pod does now, in words.")
    learning_rate: float | None = None
    checkpoint_step: int | None = Field(default=None, description="Step of the newest complete checkpoint.")
    resumed_from_step: int | None = Field(default=None, description="Step at which this pod took up the run.")
    interruptions: int = Field(default=0, description="How often a pod of this run went on from another's checkpoint.")
    peak_memory_bytes: int | None = None
    memory: MemoryPlan | None = None


class Attempt(Model):
    """One Job and how it ended."""

    number: int = Field(ge=1)
    reason: ShortText
    message: Message = ""
    exit_code: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    node: ShortText | None = None
    base_model: ShortText | None = Field(default=None, description="Name of the base this attempt was given.")
    memory_level: int = Field(
        default=0, description="How many times the step was cut finer after pods ran out of memory."
    )
    last_log_lines: list[Annotated[str, StringConstraints(max_length=512)]] = Field(default_factory=list, max_length=20)


class DataReport(Model):
    """What was found in the data. The whole report, with line numbers, is data_report.json in the artifact."""

    rows: int = 0
    training_rows: int = Field(default=0, description="Rows learned from, after drops and weights.")
    validation_rows: int = 0
    tokens: int = 0
    supervised_tokens: int = Field(default=0, description="Tokens that carry loss.")
    truncated_rows: int = 0
    dropped_empty: int = 0
    dropped_duplicates: int = 0
    dropped_long: int = 0
    dropped_leaks: int = Field(default=0, description="Rows that were, or nearly were, a golden sample.")
    golden_unchecked: list[ShortText] = Field(
        default_factory=list, max_length=32, description="GoldenDatasets that the rows could not be compared with."
    )
    median_tokens: int = 0
    longest_tokens: int = 0
    digest: Digest | None = Field(default=None, description="Over the digests of all sources, in their order.")


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
    queue_position: int | None = Field(default=None, description="Place among the runs that wait; 1 is next.")
    base_model: BaseModelIdentity | None = Field(default=None, description="The base used: a fallback, perhaps.")
    weights_digest: Digest | None = Field(default=None, description="Equal for runs that ended with the same bits.")
    dry_run: DryRunReport | None = None
    display: TrainingJobDisplay = Field(default_factory=TrainingJobDisplay)
