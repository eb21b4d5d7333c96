"""Is this artifact what was named, harmless to open, and something engines take? Asked before anything of it is loaded.

Called by evaluate.py; the agent beside each engine asks again. One bad adapter must harm nobody else, so everything here is
decided from bytes, sizes and JSON: nothing is unpickled, nothing is executed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from clara_api.handoff.artifact import CONFIG, WEIGHTS, FileEntry, Manifest
from clara_api.handoff.run import EvaluationRun

from clara_trainer import manifests, servable
from clara_trainer.objects import Missing, Objects
from clara_trainer.outcome import Failure
from clara_trainer.safetensors_header import read_shapes

HARMLESS_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".md")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verified:
    """An artifact that passed, with its files on local disk."""

    manifest: Manifest
    folder: Path
    config: Mapping[str, Any]


def verify(run: EvaluationRun, objects: Objects, folder: Path) -> Verified:
    """Fetch and check everything; Failure ArtifactInvalid, BaseMismatch or NotServable with the reason."""
    manifest = manifests.find_expected(objects, run.artifact_uri, run.artifact_digest)
    check_names(manifest)
    if manifest.base_model.digest != run.base_model.digest:
        raise Failure(
            "BaseMismatch",
            f"the artifact was trained on base '{manifest.base_model.name}' ({manifest.base_model.digest}), "
            f"not on '{run.base_model.name}' ({run.base_model.digest})",
        )
    for entry in manifest.files:
        check_file(entry, run.artifact_uri, objects, folder)
    config = check_content(folder, manifest, max_lora_rank=run.limits.max_lora_rank)
    log.info("%s is what its manifest says, and engines take it", run.artifact_uri)
    return Verified(manifest, folder, config)


def check_names(manifest: Manifest) -> None:
    """Weights as safetensors, nothing else that a loader could execute; refused by name, before a byte is fetched."""
    for entry in manifest.files:
        suffix = PurePosixPath(entry.path).suffix
        if suffix not in HARMLESS_SUFFIXES:
            what = f"'{entry.path}' is refused: files ending in '{suffix}' may hold code"
            raise Failure("ArtifactInvalid", f"{what}; weights must be {WEIGHTS}")
    for needed in (WEIGHTS, CONFIG):
        if manifest.file(needed) is None:
            raise Failure("ArtifactInvalid", f"the manifest does not list {needed}")
    if manifest.weights_digest != f"sha256:{_entry(manifest, WEIGHTS).sha256}":
        raise Failure("ArtifactInvalid", f"the manifest's weightsDigest is not the sha256 of {WEIGHTS}")


def check_file(entry: FileEntry, artifact_uri: str, objects: Objects, folder: Path) -> None:
    """Fetch one file; its size and sha256 must be those of the manifest."""
    uri = manifests.below(artifact_uri, entry.path)
    try:
        copied = objects.download(uri, folder / entry.path)
    except Missing as error:
        raise Failure("ArtifactInvalid", f"{entry.path} is listed in the manifest, but missing at {uri}") from error
    if copied.size != entry.size:
        raise Failure("ArtifactInvalid", f"{entry.path} has {copied.size} bytes; the manifest lists {entry.size}")
    if copied.sha256 != entry.sha256:
        message = f"{entry.path} was altered: its sha256 is {copied.sha256}, the manifest lists {entry.sha256}"
        raise Failure("ArtifactInvalid", message)


def check_content(folder: Path, manifest: Manifest, *, max_lora_rank: int) -> Mapping[str, Any]:
    """The config engines read, and tensors that agree with it; returns the config."""
    config = _config(folder / CONFIG)
    if problem := servable.config_problem(config, max_lora_rank=max_lora_rank):
        raise Failure("NotServable", f"engines would refuse the adapter: {problem}")
    if config["r"] != manifest.rank:
        raise Failure("ArtifactInvalid", f"{CONFIG} has the rank {config['r']}, the manifest {manifest.rank}")
    try:
        shapes = read_shapes(folder / WEIGHTS)
    except ValueError as error:
        raise Failure("ArtifactInvalid", str(error)) from error
    if problem := servable.tensor_problem(shapes, config):
        raise Failure("ArtifactInvalid", f"{WEIGHTS} {problem}")
    return config


def check_fits(adapter: Path, base: Path) -> None:
    """Every module the adapter changes exists in the base, in that size; Failure ArtifactInvalid names the first that does not."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(base.glob("*.safetensors")):
        shapes |= read_shapes(path)
    if problem := servable.fit_problem(read_shapes(adapter / WEIGHTS), shapes):
        raise Failure("ArtifactInvalid", f"{WEIGHTS} {problem}")


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise Failure("ArtifactInvalid", f"{CONFIG} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise Failure("ArtifactInvalid", f"{CONFIG} is no JSON object")
    return config


def _entry(manifest: Manifest, path: str) -> FileEntry:
    return next(entry for entry in manifest.files if entry.path == path)
