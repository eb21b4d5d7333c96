"""Read an artifact's manifest: the one file that says what the artifact is. Called by verify, recover, record and train."""

from __future__ import annotations

from dataclasses import dataclass

from clara_api.digests import sha256_digest
from clara_api.handoff.artifact import MANIFEST, Manifest
from pydantic import ValidationError

from clara_trainer.objects import Objects
from clara_trainer.outcome import Failure

MANIFEST_LIMIT = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest and the digest of the bytes it was read from: that digest is the artifact's."""

    manifest: Manifest
    digest: str


def below(folder: str, path: str) -> str:
    """URI of a path below a folder's URI."""
    return f"{folder.rstrip('/')}/{path}"


def find(objects: Objects, artifact_uri: str) -> Found | None:
    """The manifest below `artifact_uri`; None when there is none; Failure ArtifactInvalid when it cannot be read."""
    uri = below(artifact_uri, MANIFEST)
    try:
        data = objects.read(uri, limit=MANIFEST_LIMIT)
        if data is None:
            return None
        return Found(Manifest.model_validate_json(data), sha256_digest(data))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Failure("ArtifactInvalid", f"{uri} is no manifest: {where}: {first['msg']}") from error
    except ValueError as error:
        raise Failure("ArtifactInvalid", str(error)) from error


def find_expected(objects: Objects, artifact_uri: str, digest: str) -> Manifest:
    """The manifest with exactly that digest; Failure ArtifactInvalid for none or another."""
    found = find(objects, artifact_uri)
    if found is None:
        raise Failure("ArtifactInvalid", f"there is no {MANIFEST} below {artifact_uri}")
    if found.digest != digest:
        raise Failure(
            "ArtifactInvalid",
            f"{below(artifact_uri, MANIFEST)} has the digest {found.digest}, not {digest}: it was altered after it was named",
        )
    return found.manifest
