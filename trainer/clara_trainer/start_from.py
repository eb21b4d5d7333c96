"""The adapter to continue: fetched, and proven byte by byte before anything of it is loaded. Called by train.py."""

from __future__ import annotations

from pathlib import Path

from clara_api.handoff.artifact import CONFIG, WEIGHTS
from clara_api.handoff.run import TrainRun

from clara_trainer import manifests
from clara_trainer.manifests import below
from clara_trainer.objects import Objects
from clara_trainer.outcome import Failure


def fetch_start(run: TrainRun, objects: Objects, folder: Path) -> Path | None:
    """The adapter of run.start_from in `folder`, None when there is none. ArtifactInvalid, BaseMismatch when it is another."""
    if run.start_from is None:
        return None
    start = run.start_from
    manifest = manifests.find_expected(objects, start.uri, start.digest)
    if manifest.base_model.digest != run.base_model.digest:
        message = (
            f"{start.name} was trained on base '{manifest.base_model.name}' ({manifest.base_model.digest[7:19]}), this run "
            f"uses '{run.base_model.name}' ({run.base_model.digest[7:19]}); an adapter fits no other base"
        )
        raise Failure("BaseMismatch", message)
    for path in (WEIGHTS, CONFIG):
        entry = manifest.file(path)
        if entry is None:
            raise Failure("ArtifactInvalid", f"{start.name} lists no {path}")
        copied = objects.download(below(start.uri, path), folder / path)
        if copied.sha256 != entry.sha256:
            raise Failure("ArtifactInvalid", f"{path} of {start.name} is not what its manifest lists: it was altered")
    return folder
