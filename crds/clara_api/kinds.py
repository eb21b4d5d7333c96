"""The custom resources as the API server sees them: names, columns, rules over the whole object.

`crds/render.py` makes the YAML from this table; the operator and the tests read kinds and plurals from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from clara_api.adapter import AdapterSpec, AdapterStatus
from clara_api.engine import EngineObjectSpec, EngineObjectStatus
from clara_api.golden_dataset import GoldenDatasetSpec, GoldenDatasetStatus
from clara_api.meta import Model
from clara_api.serving_deployment import ServingDeploymentSpec, ServingDeploymentStatus
from clara_api.training_job import TrainingJobSpec, TrainingJobStatus


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column: a simple path only; composed strings live in status.display."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL rule and the sentence a person reads when it is broken."""

    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One custom resource."""

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    spec: type[Model]
    status: type[Model]
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...] = ()
    selectable: tuple[str, ...] = ()
    categories: tuple[str, ...] = ("clara",)


_READY = '.status.conditions[?(@.type=="Ready")].status'
_READY_REASON = '.status.conditions[?(@.type=="Ready")].reason'
_AGE = Column("Age", ".metadata.creationTimestamp", "date")


def _message(condition: str) -> Column:
    return Column("Message", f'.status.conditions[?(@.type=="{condition}")].message', priority=1)


_RECIPE = (
    "family",
    "version",
    "baseModel",
    "fallbackBaseModels",
    "startFrom",
    "method",
    "profile",
    "hyperparameters",
    "conversion",
    "data",
    "dataPolicy",
    "validation",
    "dryRun",
    "rerun",
)


def _unchanged(field: str) -> str:
    new, old = f"self.spec.{field}", f"oldSelf.spec.{field}"
    return f"(has({new}) == has({old}) && (!has({new}) || {new} == {old}))"


TRAINING_JOB = Kind(
    kind="TrainingJob",
    plural="trainingjobs",
    singular="trainingjob",
    short_names=("tj",),
    spec=TrainingJobSpec,
    status=TrainingJobStatus,
    columns=(
        Column("Family", ".spec.family"),
        Column("Method", ".spec.method"),
        Column("State", '.status.conditions[?(@.type=="Succeeded")].reason'),
        Column("Progress", ".status.display.progress"),
        Column("Loss", ".status.display.loss"),
        Column("ETA", ".status.display.eta"),
        Column("Adapter", ".status.adapterRef.name"),
        Column("Attempt", ".status.attempts[-1:].number", "integer", priority=1),
        Column("Checkpoint", ".status.progress.checkpointStep", "integer", priority=1),
        Column("Queue", ".status.queuePosition", "integer", priority=1),
        _message("Succeeded"),
        _AGE,
    ),
    rules=(
        Rule(
            "!has(oldSelf.status) || !has(oldSelf.status.recipeLocked) || !oldSelf.status.recipeLocked || ("
            + " && ".join(_unchanged(f) for f in _RECIPE)
            + ")",
            f"the recipe ({', '.join(_RECIPE)}) is locked while the job runs and after it succeeded; "
            "make a new TrainingJob instead",
        ),
        Rule("self.spec.rerun >= oldSelf.spec.rerun", "rerun can only be raised"),
        Rule("self.spec.profile != 'qlora' || self.spec.method == 'qlora'", "profile qlora needs method qlora"),
        Rule("self.spec.profile != 'continuous' || has(self.spec.startFrom)", "profile continuous needs startFrom"),
        Rule("!has(self.spec.startFrom) || self.spec.method != 'dora'", "a published adapter is not continued as dora"),
        Rule("!has(self.spec.conversion) || self.spec.method == 'dora'", "only method dora needs a conversion"),
    ),
    selectable=(".spec.family", ".spec.baseModel.name"),
)

ADAPTER = Kind(
    kind="Adapter",
    plural="adapters",
    singular="adapter",
    short_names=("adp",),
    spec=AdapterSpec,
    status=AdapterStatus,
    columns=(
        Column("Family", ".spec.family"),
        Column("Version", ".spec.version"),
        Column("Score", ".status.display.score"),
        Column("Decision", ".status.display.decision"),
        Column("Engines", ".status.display.engines"),
        Column("Ready", _READY),
        Column("Reason", _READY_REASON, priority=1),
        _message("Ready"),
        _AGE,
    ),
    rules=(
        Rule(
            "self.metadata.name == self.spec.family + '-' + self.spec.version",
            "an Adapter is named FAMILY-X.Y.Z after its spec",
        ),
        Rule(
            " && ".join(f"self.spec.{f} == oldSelf.spec.{f}" for f in ("family", "version", "baseModel", "artifact")),
            "family, version, baseModel and artifact of an Adapter never change; make a new version instead",
        ),
    ),
    selectable=(".spec.family", ".spec.version"),
)

GOLDEN_DATASET = Kind(
    kind="GoldenDataset",
    plural="goldendatasets",
    singular="goldendataset",
    short_names=("gds",),
    spec=GoldenDatasetSpec,
    status=GoldenDatasetStatus,
    columns=(
        Column("Family", ".spec.family"),
        Column("Samples", ".status.samples", "integer"),
        Column("Groups", ".status.groups", "integer"),
        Column("Approves From", ".status.display.approvesFrom"),
        Column("Judge", ".status.display.judge", priority=1),
        Column("Ready", _READY),
        _message("Ready"),
        _AGE,
    ),
    rules=(
        Rule(
            "self.spec.thresholds.review <= self.spec.thresholds.approve",
            "thresholds.review must not exceed thresholds.approve",
        ),
        Rule(
            " && ".join(
                _unchanged(f)
                for f in ("family", "language", "samples", "scorers", "thresholds", "mode", "maxNewTokens")
            )
            + " && has(self.spec.judge) == has(oldSelf.spec.judge)"
            + " && (!has(self.spec.judge) || self.spec.judge.model == oldSelf.spec.judge.model)",
            "a GoldenDataset is immutable (but judge.endpoint and judge.secretRef): make a new one, for example with -v2",
        ),
    ),
    selectable=(".spec.family",),
)

SERVING_DEPLOYMENT = Kind(
    kind="ServingDeployment",
    plural="servingdeployments",
    singular="servingdeployment",
    short_names=("sdep",),
    spec=ServingDeploymentSpec,
    status=ServingDeploymentStatus,
    columns=(
        Column("Base", ".spec.baseModel.name"),
        Column("Engines", ".status.display.engines"),
        Column("Adapters", ".status.display.adapters"),
        Column("Ready", _READY),
        Column("Reason", _READY_REASON),
        _message("Ready"),
        _AGE,
    ),
    rules=(
        Rule(
            "self.spec.baseModel == oldSelf.spec.baseModel",
            "the base model never changes; make a new ServingDeployment",
        ),
        Rule(
            "!has(self.spec.families) || self.spec.engine.maxCpuLoras >= size(self.spec.families) + 1",
            "engine.maxCpuLoras must be at least the number of families + 1: a version change needs head-room",
        ),
        Rule(
            "self.spec.engine.maxCpuLoras >= self.spec.engine.maxLoras",
            "engine.maxCpuLoras must not be below engine.maxLoras",
        ),
        Rule(
            "!has(self.spec.families) || self.spec.families.all(f, f.minEngines <= self.spec.engine.replicas)",
            "families[].minEngines must not exceed engine.replicas: the alias would never move",
        ),
    ),
    selectable=(".spec.baseModel.name",),
)

ENGINE = Kind(
    kind="Engine",
    plural="engines",
    singular="engine",
    short_names=(),
    spec=EngineObjectSpec,
    status=EngineObjectStatus,
    columns=(
        Column("Deployment", ".spec.servingDeploymentRef.name"),
        Column("Healthy", ".status.healthy", "boolean"),
        Column("Draining", ".status.draining", "boolean"),
        Column("Version", ".status.engineVersion"),
        _AGE,
    ),
    categories=(),
    selectable=(".spec.servingDeploymentRef.name",),
)

KINDS: tuple[Kind, ...] = (TRAINING_JOB, ADAPTER, GOLDEN_DATASET, SERVING_DEPLOYMENT, ENGINE)
BY_NAME: dict[str, Kind] = {k.kind: k for k in KINDS}
