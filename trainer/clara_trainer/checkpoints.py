"""The state of a run in the store: written while training goes on, complete or not believed, taken up by whoever comes next.

    RUN-URI/checkpoints/00000100/state.safetensors    adapter weights and the optimizer's two moments
    RUN-URI/checkpoints/00000100/checkpoint.json      last: step, digest, curve, memory plan

Data position, learning rate and randomness are functions of seed and step (order.py, steps.py), so the step number restores
them. No pickles: a checkpoint is only tensors and JSON. Called by train.py and steps.py.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from clara_api.digests import canonical_json
from clara_api.handoff.artifact import StepsCut
from clara_api.meta import Model
from clara_api.training_job import MemoryPlan
from pydantic import Field, ValidationError
from safetensors.torch import load_file, save_file

from clara_trainer.manifests import below
from clara_trainer.objects import Missing, Objects
from clara_trainer.outcome import Failure

FOLDER = "checkpoints"
STATE = "state.safetensors"
DESCRIPTION = "checkpoint.json"
DESCRIPTION_LIMIT = 64 << 20  # bytes: a million steps of curve
STEP = re.compile(r"^(\d{8,})/(.+)$")

log = logging.getLogger(__name__)


class CheckpointFile(Model):
    """checkpoint.json. A checkpoint exists when this does and the state has its digest."""

    schema_: str = Field(default="clara.vcc.dev/checkpoint/v1", alias="schema")
    step: int
    total_steps: int
    learns: str = Field(default="", description="Digest of the examples and of what the adapter began with.")
    sha256: str
    size: int
    interruptions: int = 0
    memory: MemoryPlan | None = None
    cuts: list[StepsCut] = Field(default_factory=list, description="How the steps until now were cut.")
    machines: list[str] = Field(default_factory=list, description="What computed them.")
    tokens: int = 0
    flops: float = 0
    seconds: float = 0
    points: list[list[float]] = Field(default_factory=list, description="The curve so far: see steps.Taken.points.")
    stretch: list[float] = Field(default_factory=list, description="Losses since the last point.")
    smoothed: float | None = None
    first: float | None = None
    validation_loss: float | None = None
    validated: int = Field(default=0, description="Step after which that was measured.")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one moment of the run is, in tensors that nobody changes any more."""

    description: CheckpointFile
    tensors: Mapping[str, torch.Tensor]


def tensors_of(model: Any, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Copies of all that training changes, on the CPU."""
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in trainable(model):
        tensors[f"weight/{name}"] = parameter
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}/{name}"] = value
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}


def trainable(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    """The adapter's parameters, in the model's order."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def restore(model: Any, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put a checkpoint's tensors back; Failure Bug when they are of another adapter."""
    weights = {name.removeprefix("weight/"): value for name, value in tensors.items() if name.startswith("weight/")}
    parameters = dict(trainable(model))
    if weights.keys() != parameters.keys():
        raise Failure("Bug", "the checkpoint holds other weights than this run trains")
    for name, parameter in parameters.items():
        parameter.data.copy_(weights[name])
        if f"step/{name}" not in tensors:
            continue  # a layer that no text reaches has no gradient, so the optimizer knows nothing of it
        state = optimizer.state[parameter]
        for moment in ("exp_avg", "exp_avg_sq"):
            state[moment] = tensors[f"{moment}/{name}"].to(parameter.device, copy=True)
        step = tensors[f"step/{name}"]  # stays on the CPU unless the optimizer's kernel is one for all (fused)
        state["step"] = step.to(parameter.device) if optimizer.defaults.get("fused") else step.clone()


class Checkpoints:
    """One run's checkpoints. `save` returns at once and writes beside the training; one write at a time, newest wins."""

    def __init__(self, objects: Objects, run_uri: str, scratch: Path, *, keep: int) -> None:
        self._objects = objects
        self._uri = below(run_uri, FOLDER) if run_uri else ""
        self._scratch = scratch
        self._keep = keep
        self._writer: threading.Thread | None = None
        self._error: BaseException | None = None
        self.newest: int | None = None  # step of the newest complete one

    def find(self, *, learns: str, total_steps: int) -> Snapshot | None:
        """The newest complete checkpoint of a run that learns exactly this.

        What is torn, altered or half written is passed over; what belongs to other examples is removed (a GoldenDataset was
        changed, so other rows are left out).
        """
        for step in reversed(self._steps()):
            snapshot = self._read(step)
            if snapshot is None:
                log.warning("the checkpoint of step %d is not complete; looking for an older one", step)
            elif (snapshot.description.learns, snapshot.description.total_steps) != (learns, total_steps):
                log.warning("the checkpoint of step %d learned from other examples; it is removed", step)
                self._remove(step)
            else:
                self.newest = step
                return snapshot
        return None

    @property
    def busy(self) -> bool:
        """Whether the last one is still being written."""
        return self._writer is not None and self._writer.is_alive()

    def save(self, snapshot: Snapshot) -> None:
        """Write it beside the training; waits for the one before. Nothing is said of a failure until `wait`."""
        if not self._uri:
            return
        self.wait()
        self._writer = threading.Thread(target=self._write_quietly, args=(snapshot,), name="checkpoint", daemon=True)
        self._writer.start()

    def wait(self) -> None:
        """Until the last one is written. A checkpoint that failed is logged: training goes on without it."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        if self._error is not None:
            log.warning("a checkpoint could not be written: %s", self._error)
            self._error = None

    def forget(self, job_uri: str = "") -> None:
        """The run is published: its checkpoints have served, and so have those of all that its job tried before (`job_uri`)."""
        if not self._uri:
            return
        self.wait()
        folder = job_uri or self._uri
        try:
            for entry in self._objects.list(folder):
                if folder == self._uri or f"/{FOLDER}/" in f"/{entry.path}":
                    self._objects.delete(below(folder, entry.path))
        except Failure as failure:  # the artifact is sealed: nothing that is left over makes it less so
            log.warning("the checkpoints below %s could not be removed: %s", folder, failure.message)

    def _remove(self, step: int) -> None:
        """The description first: what is left of it is not complete."""
        for name in (DESCRIPTION, STATE):
            self._objects.delete(below(self._uri, f"{step:08d}/{name}"))

    def _steps(self) -> list[int]:
        if not self._uri:
            return []
        paths = [STEP.match(entry.path) for entry in self._objects.list(self._uri)]
        return sorted({int(match[1]) for match in paths if match is not None and match[2] == DESCRIPTION})

    def _read(self, step: int) -> Snapshot | None:
        folder = below(self._uri, f"{step:08d}")
        path = self._scratch / f"resume-{step}.safetensors"
        try:
            data = self._objects.read(below(folder, DESCRIPTION), limit=DESCRIPTION_LIMIT)
            description = CheckpointFile.model_validate_json(data or b"")
            copied = self._objects.download(below(folder, STATE), path)
            if copied.sha256 != description.sha256:
                return None
            return Snapshot(description, load_file(path))
        except (ValidationError, ValueError, Missing) as error:
            log.warning("the checkpoint of step %d cannot be read: %s", step, error)
            return None
        finally:
            path.unlink(missing_ok=True)

    def _write_quietly(self, snapshot: Snapshot) -> None:
        try:
            self._write(snapshot)
        except BaseException as error:  # a thread must not die in silence, nor end the run
            self._error = error

    def _write(self, snapshot: Snapshot) -> None:
        step = snapshot.description.step
        folder = below(self._uri, f"{step:08d}")
        path = self._scratch / f"checkpoint-{step}.safetensors"
        self._scratch.mkdir(parents=True, exist_ok=True)
        try:
            save_file(dict(snapshot.tensors), path)
            with path.open("rb") as file:
                sha = hashlib.file_digest(file, "sha256").hexdigest()
            self._objects.upload(path, below(folder, STATE))
            description = snapshot.description.model_copy(update={"sha256": sha, "size": path.stat().st_size})
        finally:
            path.unlink(missing_ok=True)
        self._objects.write(canonical_json(description.wire()) + b"\n", below(folder, DESCRIPTION))
        self.newest = step
        log.info("the checkpoint of step %d is in the store", step, extra={"fields": {"checkpointStep": step}})
        self._remove_old(step)

    def _remove_old(self, newest: int) -> None:
        """All but the newest `keep` complete ones, and what was left half written before them."""
        kept = set(self._steps()[-self._keep :]) | {newest}
        for entry in self._objects.list(self._uri):
            match = STEP.match(entry.path)
            if match is not None and int(match[1]) not in kept and int(match[1]) < newest:
                self._objects.delete(below(self._uri, entry.path))
