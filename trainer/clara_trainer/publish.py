"""Write the artifact: every file first, manifest.json last, so that a reader who sees a manifest sees it all.

Called by train.py. Nothing in the manifest depends on the time: the same run of the same inputs gives the same bytes. The
HTML report does (it shows how long things took), so it lies beside the artifact and is not sealed by the manifest.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clara_api.digests import canonical_json
from clara_api.handoff.artifact import (
    CONFIG,
    DATA_REPORT,
    FINGERPRINT,
    HTML_REPORT,
    MANIFEST,
    WEIGHTS,
    DataDigest,
    FileEntry,
    Manifest,
    Provenance,
)
from clara_api.handoff.run import TrainRun
from clara_api.meta import BaseModelIdentity

from clara_trainer import html_report, machine
from clara_trainer.course import Course
from clara_trainer.curate import Curated
from clara_trainer.finish import Finished
from clara_trainer.html_report import Point
from clara_trainer.manifests import below
from clara_trainer.objects import Objects
from clara_trainer.steps import Taken

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is known before the first step."""

    base: Path
    tokenizer: Any
    files: Sequence[DataDigest]
    curated: Curated
    threads: int


@dataclass(frozen=True, slots=True)
class Trained:
    """All that a finished run knows, before it is published."""

    folder: Path  # holds the adapter as engines load it
    finished: Finished
    prepared: Prepared
    course: Course
    taken: Taken

    def metrics(self) -> dict[str, float]:
        """Numbers of the manifest; ppl_dev is the perplexity of the held-out rows."""
        metrics = {"steps": float(self.taken.step), "loss": self.taken.loss, "tokens": float(self.taken.tokens)}
        if self.taken.validation_loss is not None:
            metrics |= {"validationLoss": self.taken.validation_loss, "pplDev": math.exp(self.taken.validation_loss)}
        return metrics


def publish(run: TrainRun, trained: Trained, objects: Objects) -> Manifest:
    """Upload the files, then the manifest. A SIGTERM before the manifest leaves nothing a reader believes."""
    _write_reports(run, trained)
    config = _normalised_config(trained.folder / CONFIG, base_name=run.base_model.name)
    files = [_entry(trained.folder / name) for name in (WEIGHTS, CONFIG, FINGERPRINT, DATA_REPORT)]
    manifest = _manifest(run, trained, config, files)
    for name in (*(file.path for file in files), HTML_REPORT):
        objects.upload(trained.folder / name, below(run.artifact_uri, name))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # from here on the run is complete: the outcome must say so
    objects.write(manifest.to_bytes(), below(run.artifact_uri, MANIFEST))
    log.info("published %s as %s", run.artifact_uri, manifest.digest())
    return manifest


def _write_reports(run: TrainRun, trained: Trained) -> None:
    files = [digest.wire() for digest in trained.prepared.files]
    report = {"summary": trained.prepared.curated.report.wire(), "files": files, **trained.prepared.curated.details}
    (trained.folder / DATA_REPORT).write_bytes(canonical_json(report) + b"\n")
    (trained.folder / FINGERPRINT).write_bytes(canonical_json(trained.finished.fingerprint.wire()) + b"\n")
    page = html_report.render(
        f"{run.family}: {run.name}",
        facts_of(run, trained),
        [_point(point) for point in trained.taken.points],
        trained.prepared.curated.report,
        trained.prepared.curated.details,
    )
    (trained.folder / HTML_REPORT).write_text(page, encoding="utf-8")


def _point(point: Sequence[float]) -> Point:
    step, loss, rate, tokens, seconds = point[:5]
    validation = point[5] if len(point) > 5 else None
    return Point(int(step), loss, rate, int(tokens), seconds, validation)


def facts_of(run: TrainRun, trained: Trained) -> dict[str, str]:
    """What a person wants to know first, in their words."""
    taken, plan, h = trained.taken, trained.course.plan, run.hyperparameters
    facts = {
        "Family": run.family,
        "Base": f"{run.base_model.name} ({run.base_model.digest[7:19]})",
        "Method": f"{run.method}, rank {h.rank}, alpha {h.alpha:g}"
        + (", rank-stabilized" if h.rank_stabilized else ""),
        "Steps": f"{taken.step} of {h.global_batch_size} examples, {h.epochs:g} epoch(s)",
        "Tokens": f"{taken.tokens:,} ({taken.tokens / max(taken.seconds, 1e-9):,.0f} per second)",
        "Duration": f"{taken.seconds:.0f} s of steps",
        "Loss": f"{taken.loss:.4f}",
        "Passes per step": f"{plan.accumulation} of {plan.micro_batch_size} example(s)"
        + (f" in each of {plan.processes} processes" if plan.processes > 1 else "")
        + (", packed" if trained.course.layout.packed else ", padded")
        + (", gradient checkpointing" if plan.gradient_checkpointing else ""),
        "Interruptions": str(taken.interruptions),
        "Attempt": str(run.attempt),
        "Machine": machine.cpu_model() if trained.course.device.type == "cpu" else machine.device_name(),
    }
    if taken.validation_loss is not None:
        facts["Held-out loss"] = f"{taken.validation_loss:.4f} (perplexity {math.exp(taken.validation_loss):.2f})"
    if changes := [cut for cut in taken.cuts if cut.memory.reason]:
        facts["Memory"] = "; ".join(
            f"from step {cut.from_step} on {cut.memory.micro_batch_size} per pass: {cut.memory.reason}"
            for cut in changes
        )
    if len(taken.machines) > 1:
        facts["Machines"] = "; ".join(taken.machines)
    return facts


def _normalised_config(path: Path, *, base_name: str) -> dict[str, Any]:
    """adapter_config.json without this pod's accidents: peft writes the scratch path, and sets in hash order."""
    config: dict[str, Any] = json.loads(path.read_bytes())
    config["base_model_name_or_path"] = base_name
    config["target_modules"] = sorted(config["target_modules"])
    path.write_bytes(canonical_json(config) + b"\n")
    return config


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(path=path.name, size=path.stat().st_size, sha256=sha)


def _manifest(run: TrainRun, trained: Trained, config: Mapping[str, Any], files: Sequence[FileEntry]) -> Manifest:
    return Manifest(
        family=run.family,
        base_model=BaseModelIdentity(name=run.base_model.name, digest=run.base_model.digest),
        method=run.method,
        rank=config["r"],
        alpha=config["lora_alpha"],
        target_modules=config["target_modules"],
        dtype=trained.finished.dtype,
        weights_digest=f"sha256:{files[0].sha256}",
        files=list(files),
        license=run.license,
        provenance=Provenance(
            training_job={"namespace": run.namespace, "name": run.name, "uid": run.uid},
            attempt=run.attempt,
            seed=run.hyperparameters.seed,
            threads=trained.prepared.threads,
            cpu_model=machine.cpu_model(),
            device=machine.device_name() if trained.course.device.type == "cuda" else None,
            image=run.image,
            packages=machine.packages(),
            data=list(trained.prepared.files),
            hyperparameters=run.hyperparameters.wire(),
            run=_to_repeat(run, trained),
            memory=trained.course.plan,
            cuts=trained.taken.cuts,
            machines=trained.taken.machines,
            flops=trained.taken.flops,
            licenses={"adapter": run.license} if run.license else {},
            conversion=trained.finished.conversion,
            metrics=trained.metrics(),
        ),
    )


def _to_repeat(run: TrainRun, trained: Trained) -> dict[str, Any]:
    """The run as `reproduce` needs it: golden samples only where they decided which rows were learned."""
    decided = trained.prepared.curated.report.dropped_leaks > 0
    return run.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=set() if decided else {"golden"})
