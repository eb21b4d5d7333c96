"""Any S3-compatible store, by boto3. Keys come from the environment (the namespace's Secret `clara-store`)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from clara_api.uris import Place

from clara_trainer.objects import Copied, Entry, Missing, Temporary
from clara_trainer.outcome import Failure

CHUNK = 1 << 20
TEMPORARY_CODES = {
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "ServiceUnavailable",
    "Throttling",
    "RequestTimeTooSkewed",
}
KEY_CURE = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the Secret clara-store and the bucket's policy"


class S3Store:
    """One client; path addressing, because in-cluster stores have no wildcard DNS."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @classmethod
    def from_env(cls) -> S3Store:
        """Client for AWS_ENDPOINT_URL. Its own retries are off: `Objects` is the one place that retries."""
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=60,
            # Trailing checksums are an AWS extension that other stores refuse; digests are checked by the manifest.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        return cls(boto3.client("s3", config=config, region_name=region))

    def list(self, folder: Place) -> list[Entry]:
        """Everything below the prefix; a folder is a whole path segment."""
        prefix = f"{folder.key}/" if folder.key else ""
        entries = []
        with translated(folder):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=folder.root, Prefix=prefix):
                entries += [
                    Entry(o["Key"].removeprefix(prefix), o["Size"], o["LastModified"].timestamp())
                    for o in page.get("Contents", [])
                ]
        return sorted(e for e in entries if e.path and not e.path.endswith("/"))

    def size(self, place: Place) -> int:
        """HEAD."""
        with translated(place):
            return int(self._client.head_object(Bucket=place.root, Key=place.key)["ContentLength"])

    def download(self, place: Place, target: Path) -> Copied:
        """GET, hashed while it streams."""
        sha, size = hashlib.sha256(), 0
        with translated(place):
            answer = self._client.get_object(Bucket=place.root, Key=place.key)
            with target.open("wb") as file:
                for chunk in answer["Body"].iter_chunks(CHUNK):
                    file.write(chunk)
                    sha.update(chunk)
                    size += len(chunk)
        if size != answer["ContentLength"]:
            raise Temporary(f"{place}: {size} of {answer['ContentLength']} bytes arrived")
        return Copied(size, sha.hexdigest())

    def upload(self, source: Path, place: Place) -> None:
        """PUT; S3 shows an object only when it is whole."""
        with translated(place), source.open("rb") as file:
            self._client.put_object(Bucket=place.root, Key=place.key, Body=file)

    def delete(self, place: Place) -> None:
        """DELETE; S3 answers the same whether it was there or not."""
        with translated(place):
            self._client.delete_object(Bucket=place.root, Key=place.key)


@contextmanager
def translated(place: Place) -> Iterator[None]:
    """Turn boto's errors into ours: refused, missing and temporary are three different things to do."""
    try:
        yield
    except ClientError as error:
        raise _of_answer(error, place) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise Failure("StoreUnreachable", f"no key for {place}; {KEY_CURE}") from error
    except (BotoCoreError, Boto3Error) as error:  # no connection, timeout, torn stream
        raise Temporary(str(error)) from error


def _of_answer(error: ClientError, place: Place) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "NoSuchBucket":
        return Failure("StoreUnreachable", f"the bucket '{place.root}' of {place} does not exist (404)")
    if status == 404:
        return Missing(f"{place} does not exist (404)")
    if status >= 500 or status == 429 or code in TEMPORARY_CODES:
        return Temporary(f"{code or status}: {error.response.get('Error', {}).get('Message', '')}")
    if status in (401, 403):
        return Failure("StoreUnreachable", f"the store refused the key for {place} ({status} {code}); {KEY_CURE}")
    return Failure("StoreUnreachable", f"the store refused {place} ({status} {code})")
