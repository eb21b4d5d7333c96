"""`python -m clara_agent fetch-base`: the init container that brings the base model and proves its digest.

Runs once per pod start, before vLLM. The failure goes to the termination log, where the operator and `kubectl describe` see it.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from clara_api.digests import is_base_model_file, listing_digest
from clara_api.handoff.outcome import EXIT_BASE_MODEL_UNAVAILABLE, EXIT_STORE_UNREACHABLE

from clara_agent.origin import CHUNK_BYTES, Origin, OriginUnreachable, open_origin
from clara_agent.settings import FetchBaseSettings

log = logging.getLogger(__name__)

Triple = tuple[str, int, str]
UNFINISHED = ".unfinished"


class BaseModelInvalid(Exception):
    """What lies at the URI is not the base model that was asked for."""


def fetch_base(settings: FetchBaseSettings) -> int:
    """Returns the exit code."""
    try:
        if settings.base_dir.is_dir() and _digest_of(settings.base_dir) == settings.base_digest:
            log.info("the base model is already in %s", settings.base_dir)
            return 0
        _download(open_origin(settings.base_uri, settings.volume_root), settings)
    except OriginUnreachable as error:
        return _fail(settings, EXIT_STORE_UNREACHABLE, f"the store did not give the base model: {error}")
    except (BaseModelInvalid, FileNotFoundError, ValueError) as error:
        return _fail(settings, EXIT_BASE_MODEL_UNAVAILABLE, str(error))
    log.info("the base model %s is in %s", settings.base_digest, settings.base_dir)
    return 0


def _download(origin: Origin, settings: FetchBaseSettings) -> None:
    """All files that count in the digest; nothing stays when the digest is another."""
    settings.base_dir.mkdir(parents=True, exist_ok=True)
    names = [name for name in origin.names() if is_base_model_file(name)]
    if not any(name.endswith(".safetensors") for name in names):
        raise BaseModelInvalid(f"{settings.base_uri} holds no .safetensors file; other weight formats are not read")
    for stale in settings.base_dir.iterdir():
        stale.unlink()
    actual = listing_digest([_copy(origin, name, settings.base_dir / name) for name in names])
    if actual != settings.base_digest:
        for name in names:
            (settings.base_dir / name).unlink()
        raise BaseModelInvalid(
            f"the files at {settings.base_uri} have the digest {actual}, asked for is {settings.base_digest}; "
            "correct spec.baseModel.digest, or restore the files"
        )


def _copy(origin: Origin, name: str, target: Path) -> Triple:
    digest, size = hashlib.sha256(), 0
    unfinished = target.with_name(target.name + UNFINISHED)
    with unfinished.open("wb") as out:
        for chunk in origin.read(name):
            digest.update(chunk)
            size += len(chunk)
            out.write(chunk)
    unfinished.rename(target)
    return name, size, digest.hexdigest()


def _digest_of(folder: Path) -> str:
    return listing_digest(_triple(file) for file in sorted(folder.iterdir()) if is_base_model_file(file.name))


def _triple(file: Path) -> Triple:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
    return file.name, file.stat().st_size, digest.hexdigest()


def _fail(settings: FetchBaseSettings, code: int, message: str) -> int:
    log.error(message)
    try:
        settings.termination_log.write_text(message)
    except OSError as error:
        log.warning("the termination log cannot be written: %s", error)
    return code
