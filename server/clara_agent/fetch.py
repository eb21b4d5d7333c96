"""Bring one adapter's files beside vLLM: download, check, seal. Called by `work` in a thread; blocking.

    manifest.json → its digest is the wanted one → each needed file, hashed while it streams → checks → rename → read-only

The folder appears under its final name only complete and verified, so a crash leaves nothing that could be loaded.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clara_api.digests import sha256_digest
from clara_api.engine import EngineObjectSpec, WantedAdapter
from clara_api.fingerprint import Fingerprint
from clara_api.handoff.artifact import CONFIG, FINGERPRINT, MANIFEST, WEIGHTS, FileEntry
from pydantic import ValidationError

from clara_agent import checks
from clara_agent.errors import (
    ARTIFACT_INVALID,
    ARTIFACT_MISSING,
    DIGEST_MISMATCH,
    STORE_UNREACHABLE,
    Permanent,
    Temporary,
)
from clara_agent.origin import Origin, OriginUnreachable, open_origin

MAX_MANIFEST_BYTES = 1 << 20
UNFINISHED = ".fetching-"  # vLLM is never given a path that begins like this


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are in this pod, and how much one adapter may hold."""

    adapter_dir: Path
    base_dir: Path
    volume_root: Path
    max_adapter_bytes: int

    def folder(self, name: str) -> Path:
        """An adapter's sealed folder; the name ends in the digest's first digits."""
        return self.adapter_dir / name


def fetch(wanted: WantedAdapter, spec: EngineObjectSpec, place: Place) -> None:
    """Put the verified files into place.folder(engineName); Temporary or Permanent when that cannot be."""
    if "/" in wanted.engine_name or wanted.engine_name.startswith("."):
        raise Permanent(ARTIFACT_INVALID, f"'{wanted.engine_name}' is no folder name")
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=place.adapter_dir))
    try:
        _download(open_origin(wanted.uri, place.volume_root), wanted, spec, place, unfinished)
        _seal(unfinished)
        unfinished.rename(place.folder(wanted.engine_name))
    except OriginUnreachable as error:
        raise Temporary(STORE_UNREACHABLE, str(error)) from error
    except FileNotFoundError as error:
        raise Temporary(ARTIFACT_MISSING, str(error)) from error
    except ValueError as error:
        raise Permanent(ARTIFACT_INVALID, str(error)) from error
    except OSError as error:
        raise Temporary(STORE_UNREACHABLE, f"the adapter cannot be written beside the engine: {error}") from error
    finally:
        delete(unfinished)


def _download(origin: Origin, wanted: WantedAdapter, spec: EngineObjectSpec, place: Place, into: Path) -> None:
    content = _small(origin, MANIFEST, MAX_MANIFEST_BYTES)
    manifest = checks.check_manifest(
        content,
        engine_name=wanted.engine_name,
        digest=wanted.digest,
        base_digest=spec.base_model.digest,
        max_rank=spec.max_lora_rank,
        max_bytes=place.max_adapter_bytes,
    )
    (into / MANIFEST).write_bytes(content)
    for entry in manifest.files:
        if entry.path in (
            CONFIG,
            FINGERPRINT,
            WEIGHTS,
        ):  # small ones first would save nothing: all are checked together
            _stream(origin, entry, into / entry.path)
    config = checks.check_config((into / CONFIG).read_bytes(), max_rank=spec.max_lora_rank)
    checks.check_tensors(shapes_of(into / WEIGHTS), base_shapes(place.base_dir), config)
    read_fingerprint(into)


def _small(origin: Origin, name: str, limit: int) -> bytes:
    content = b""
    for chunk in origin.read(name):
        content += chunk
        if len(content) > limit:
            raise Permanent(ARTIFACT_INVALID, f"{name} is larger than {limit} bytes")
    return content


def _stream(origin: Origin, entry: FileEntry, target: Path) -> None:
    """Copy a file and compare size and digest; more bytes than announced are not written."""
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as out:
        for chunk in origin.read(entry.path):
            size += len(chunk)
            if size > entry.size:
                break
            digest.update(chunk)
            out.write(chunk)
    if size != entry.size or digest.hexdigest() != entry.sha256:
        raise Permanent(
            DIGEST_MISMATCH, f"{entry.path} differs from the manifest: {size} bytes, listed are {entry.size}"
        )


def shapes_of(file: Path) -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes of a safetensors file, from its header."""
    with file.open("rb") as source:
        start = source.read(8)
        length = int.from_bytes(start, "little")
        if length > checks.MAX_HEADER_BYTES:
            raise Permanent(ARTIFACT_INVALID, f"{file.name} has a header of {length} bytes")
        return checks.read_shapes(start + source.read(length))


def base_shapes(base_dir: Path) -> Mapping[str, tuple[int, ...]]:
    """Tensor shapes of the base model."""
    return {name: shape for file in sorted(base_dir.glob("*.safetensors")) for name, shape in shapes_of(file).items()}


def read_fingerprint(folder: Path) -> Fingerprint:
    """fingerprint.json of a folder; Permanent(ArtifactInvalid) when it cannot be used."""
    try:
        return Fingerprint.model_validate_json((folder / FINGERPRINT).read_bytes())
    except ValidationError as error:
        raise Permanent(ARTIFACT_INVALID, f"fingerprint.json cannot be read: {error.errors()[0]['msg']}") from error


def sealed(adapter_dir: Path) -> dict[str, str]:
    """{engine name: digest} of the sealed folders, after removing what an interrupted fetch left behind."""
    found = {}
    for folder in sorted(adapter_dir.iterdir()):
        if folder.name.startswith(UNFINISHED):
            delete(folder)
        elif (folder / MANIFEST).is_file():
            found[folder.name] = sha256_digest((folder / MANIFEST).read_bytes())
    return found


def _seal(folder: Path) -> None:
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)


def delete(folder: Path) -> None:
    """Remove a folder, sealed or not; a missing one is fine."""
    if folder.exists():
        os.chmod(folder, 0o755)  # noqa: S103 - the pod's own emptyDir
        shutil.rmtree(folder)
