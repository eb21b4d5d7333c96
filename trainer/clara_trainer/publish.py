"""Write the artifact: every file first, manifest.json last, so that a reader who sees a manifest sees it all.

Called by train.py. Nothing in the manifest depends on the time: the same run of the same inputs gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clara_api.digests import canonical_json
from clara_api.fingerprint import Fingerprint
from clara_api.handoff.artifact import (
    CONFIG,
    DATA_REPORT,
    FINGERPRINT,
    MANIFEST,
    WEIGHTS,
    DataDigest,
    FileEntry,
    Manifest,
    Provenance,
)
from clara_api.handoff.run import TrainRun
from clara_api.meta import BaseModelIdentity
from clara_api.training_job import DataReport

from clara_trainer import machine
from clara_trainer.manifests import below
from clara_trainer.objects import Objects

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trained:
    """All that a finished run knows, before it is published."""

    folder: Path  # holds what peft saved
    fingerprint: Fingerprint
    data: Sequence[DataDigest]
    summary: DataReport
    metrics: Mapping[str, float]
    threads: int
    dtype: str


def publish(run: TrainRun, trained: Trained, objects: Objects) -> Manifest:
    """Upload the files, then the manifest. A SIGTERM before the manifest leaves nothing a reader believes."""
    _write_reports(trained)
    config = _normalised_config(trained.folder / CONFIG, base_name=run.base_model.name)
    files = [_entry(trained.folder / name) for name in (WEIGHTS, CONFIG, FINGERPRINT, DATA_REPORT)]
    manifest = _manifest(run, trained, config, files)
    for file in files:
        objects.upload(trained.folder / file.path, below(run.artifact_uri, file.path))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # from here on the run is complete: the outcome must say so
    objects.write(manifest.to_bytes(), below(run.artifact_uri, MANIFEST))
    log.info("published %s as %s", run.artifact_uri, manifest.digest())
    return manifest


def _write_reports(trained: Trained) -> None:
    report = {"summary": trained.summary.wire(), "files": [digest.wire() for digest in trained.data]}
    (trained.folder / DATA_REPORT).write_bytes(canonical_json(report) + b"\n")
    (trained.folder / FINGERPRINT).write_bytes(canonical_json(trained.fingerprint.wire()) + b"\n")


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
        dtype=trained.dtype,
        weights_digest=f"sha256:{files[0].sha256}",
        files=list(files),
        license=run.license,
        provenance=Provenance(
            training_job={"namespace": run.namespace, "name": run.name, "uid": run.uid},
            attempt=run.attempt,
            seed=run.hyperparameters.seed,
            threads=trained.threads,
            cpu_model=machine.cpu_model(),
            image=run.image,
            packages=machine.packages(),
            data=list(trained.data),
            hyperparameters=run.hyperparameters.wire(),
            metrics=dict(trained.metrics),
        ),
    )
