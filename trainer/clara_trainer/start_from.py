"""Fetch the adapter that a run continues, and prove what it is before anything of it is loaded. Called by train.py."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from clara_api.handoff.artifact import CONFIG, WEIGHTS
from clara_api.handoff.run import StartAdapter, TrainRun

from clara_trainer import manifests
from clara_trainer.objects import Objects
from clara_trainer.outcome import Failure
from clara_trainer.verify import check_content, check_file, check_names

LARGEST_RANK = 512  # the API's own; whether engines take it was asked when the job was admitted

log = logging.getLogger(__name__)


def fetch_start(run: TrainRun, objects: Objects, folder: Path) -> Path | None:
    """The folder with weights and config of the adapter to continue; None when the run begins a new one.

    Failure ArtifactInvalid or BaseMismatch when it is not what was named, or belongs to another base.
    """
    start = run.start_from
    if start is None:
        return None
    shutil.rmtree(folder, ignore_errors=True)  # an earlier container of this pod may have left a part
    try:
        _fetch(start, run, objects, folder)
    except Failure as error:
        if error.failure == "StoreUnreachable":
            raise
        failure = error.failure if error.failure == "BaseMismatch" else "ArtifactInvalid"
        raise Failure(failure, f"adapter '{start.name}' cannot be continued: {error.message}") from error
    log.info("continuing adapter %s (%s)", start.name, start.uri)
    return folder


def _fetch(start: StartAdapter, run: TrainRun, objects: Objects, folder: Path) -> None:
    manifest = manifests.find_expected(objects, start.uri, start.digest)
    check_names(manifest)
    if manifest.base_model.digest != run.base_model.digest:
        raise Failure(
            "BaseMismatch",
            f"it was trained on base '{manifest.base_model.name}' ({manifest.base_model.digest}), and this run trains on "
            f"'{run.base_model.name}' ({run.base_model.digest}); name that base, or leave out startFrom",
        )
    for entry in manifest.files:
        if entry.path in (WEIGHTS, CONFIG):
            check_file(entry, start.uri, objects, folder)
    check_content(folder, manifest, max_lora_rank=LARGEST_RANK)
