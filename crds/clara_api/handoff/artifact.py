"""Handoff 3: pod → artifact store. Key layout, digests, and the manifest that is written last.

    PREFIX/runs/NAMESPACE/FAMILY/TRAININGJOB-UID/RUN/         what the attempts of a run share: data.json, checkpoints/
    PREFIX/adapters/NAMESPACE/FAMILY/TRAININGJOB-UID/ATTEMPT/
        adapter_model.safetensors, adapter_config.json      the adapter, as peft writes it
        fingerprint.json                                    what loading it must change (clara_api.fingerprint)
        data_report.json, report.html                       what was learned from, and how it went, to look at
        manifest.json                                       last: readers believe only what it lists
        adapter.json                                        the Adapter object, to apply again after a disaster
        decisions/<digest>.json                             what people decided
        evaluations/<golden digest hex>/report.json         adopted, never repeated

A person's own artifact needs only manifest.json and what it lists.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from clara_api.digests import canonical_json, sha256_digest
from clara_api.meta import BaseModelIdentity, Digest, Family, Model, ShortText
from clara_api.training_job import MemoryPlan

MANIFEST = "manifest.json"
ADAPTER_OBJECT = "adapter.json"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
FINGERPRINT = "fingerprint.json"
DATA_REPORT = "data_report.json"
HTML_REPORT = "report.html"
SCHEMA = "clara.vcc.dev/adapter-manifest/v1"


class FileEntry(Model):
    """One file of the artifact."""

    path: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]
    size: int = Field(ge=0, le=1 << 40)
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class DataDigest(Model):
    """A source of training rows, as it was read."""

    name: str
    sha256: str
    rows: int


class ConversionReport(Model):
    """How far the published LoRA is from what was trained."""

    from_method: ShortText
    rank: int
    weight_error: float = Field(description="Relative Frobenius error of the change of all weights.")
    logit_error: float = Field(
        description="Relative error of the change in log-probabilities on the fingerprint prompts."
    )


class StepsCut(Model):
    """From this step (1 is the first) on, steps were cut like this."""

    from_step: int
    memory: MemoryPlan


class Provenance(Model):
    """All that is needed to repeat the run."""

    training_job: dict[str, str] = Field(default_factory=dict)
    attempt: int = 1
    seed: int | None = None
    threads: int | None = None
    cpu_model: str | None = None
    device: str | None = None
    image: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    data: list[DataDigest] = Field(default_factory=list)
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    run: dict[str, Any] = Field(default_factory=dict, description="The TrainRun, to be repeated by `reproduce`.")
    memory: MemoryPlan | None = Field(default=None, description="How the last step was cut.")
    cuts: list[StepsCut] = Field(default_factory=list, description="How all steps were cut, where it changed.")
    machines: list[str] = Field(default_factory=list, description="What computed the steps, in their order.")
    flops: float | None = Field(default=None, description="Floating point operations of all steps, by the usual count.")
    licenses: dict[str, str] = Field(default_factory=dict, description="SPDX: of the adapter, where the job names it.")
    conversion: ConversionReport | None = None
    metrics: dict[str, float] = Field(default_factory=dict)


class Manifest(Model):
    """manifest.json."""

    schema_: str = Field(default=SCHEMA, alias="schema")
    family: Family
    base_model: BaseModelIdentity
    method: ShortText = "lora"
    rank: int = Field(ge=1, le=512)
    alpha: float
    target_modules: list[str]
    dtype: ShortText = "float32"
    weights_digest: Digest
    files: list[FileEntry] = Field(min_length=1, max_length=64)
    license: ShortText | None = None
    provenance: Provenance = Field(default_factory=Provenance)

    def to_bytes(self) -> bytes:
        """The bytes whose digest is the artifact's digest."""
        return canonical_json(self.wire()) + b"\n"

    def digest(self) -> str:
        """The artifact's digest."""
        return sha256_digest(self.to_bytes())

    def file(self, path: str) -> FileEntry | None:
        """The entry of that path."""
        return next((f for f in self.files if f.path == path), None)


def run_key(prefix: str, *, namespace: str, family: str, job_uid: str, run_digest: str, base_digest: str) -> str:
    """URI of what the attempts of one run on one base share: checkpoints. data.json lies above it, for all bases."""
    run, base = run_digest.removeprefix("sha256:")[:16], base_digest.removeprefix("sha256:")[:8]
    return f"{prefix.rstrip('/')}/runs/{namespace}/{family}/{job_uid}/{run}/{base}"


def adapters_key(prefix: str, namespace: str) -> str:
    """URI of the folder that holds every artifact of a namespace."""
    return f"{prefix.rstrip('/')}/adapters/{namespace}"


def artifact_key(prefix: str, *, namespace: str, family: str, job_uid: str, attempt: int) -> str:
    """URI of one attempt's artifact. The version is not part of it: versions are taken when the Adapter is created."""
    return f"{adapters_key(prefix, namespace)}/{family}/{job_uid}/{attempt}"


def report_path(golden_digest: str) -> str:
    """Path of an evaluation report below its artifact."""
    return f"evaluations/{golden_digest.removeprefix('sha256:')}/report.json"


def decision_path(approval_digest: str) -> str:
    """Path of a recorded decision below its artifact."""
    return f"decisions/{approval_digest.removeprefix('sha256:')[:16]}.json"
