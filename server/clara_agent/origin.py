"""Read-only access to where artifacts and base models come from: s3://BUCKET/KEY or volume://CLAIM/PATH.

Used by `fetch` (adapters) and `base` (the base model), in a thread: boto3 and files block. Missing things raise FileNotFoundError,
everything that may pass raises OriginUnreachable.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from clara_api import uris
from clara_api.uris import Place

CHUNK_BYTES = 1 << 20
MISSING = ("404", "NoSuchKey", "NoSuchBucket", "NotFound")


class OriginUnreachable(Exception):
    """The store did not answer, or refused the key."""


class Origin(Protocol):
    """A folder."""

    def read(self, name: str) -> Iterator[bytes]:
        """The bytes of a file directly in the folder, in chunks."""
        ...

    def names(self) -> list[str]:
        """The files directly in the folder."""
        ...


def open_origin(uri: str, volume_root: Path) -> Origin:
    """The folder at `uri`; ValueError when it is no store URI. S3's keys and endpoint come from AWS_* variables."""
    place = uris.parse(uri)
    return Bucket(place) if place.scheme == "s3" else Volume(place, volume_root)


class Bucket:
    """A key prefix of an S3 bucket."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._client: Any = boto3.client(
            "s3",
            region_name=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=5,
                read_timeout=30,
                retries={"max_attempts": 2, "mode": "standard"},
                # Trailing checksums are an AWS extension that other stores refuse; digests are checked by the manifest.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def read(self, name: str) -> Iterator[bytes]:
        """GetObject, streamed."""
        place = self._place.child(name)
        try:
            body = self._client.get_object(Bucket=place.root, Key=place.key)["Body"]
            yield from body.iter_chunks(CHUNK_BYTES)
        except (ClientError, BotoCoreError, OSError) as error:
            raise _translated(error, str(place)) from error

    def names(self) -> list[str]:
        """ListObjectsV2 with a delimiter."""
        prefix = f"{self._place.key}/" if self._place.key else ""
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._place.root, Prefix=prefix, Delimiter="/"
            )
            return [entry["Key"].removeprefix(prefix) for page in pages for entry in page.get("Contents", [])]
        except (ClientError, BotoCoreError, OSError) as error:
            raise _translated(error, str(self._place)) from error


class Volume:
    """A folder of a mounted claim."""

    def __init__(self, place: Place, volume_root: Path) -> None:
        self._place = place
        self._claim = (volume_root / place.root).resolve()
        self._folder = self._claim / place.key

    def read(self, name: str) -> Iterator[bytes]:
        """A file; links that lead out of the claim are treated as missing."""
        file = (self._folder / name).resolve()
        if not file.is_relative_to(self._claim):
            raise FileNotFoundError(f"{self._place.child(name)} leads out of its claim")
        try:
            with file.open("rb") as source:
                while chunk := source.read(CHUNK_BYTES):
                    yield chunk
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self._place.child(name)} does not exist") from error
        except OSError as error:
            raise OriginUnreachable(f"{self._place.child(name)}: {error}") from error

    def names(self) -> list[str]:
        """The regular files."""
        try:
            return sorted(entry.name for entry in self._folder.iterdir() if entry.is_file())
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self._place} does not exist; is the claim mounted?") from error
        except OSError as error:
            raise OriginUnreachable(f"{self._place}: {error}") from error


def _translated(error: Exception, where: str) -> Exception:
    code = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None
    if code in MISSING:
        return FileNotFoundError(f"{where} does not exist")
    return OriginUnreachable(f"{where}: {error}")
