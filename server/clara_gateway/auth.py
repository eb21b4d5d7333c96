"""Who calls: API keys from a mounted Secret, kept as sha256. Called by `proxy.py`, `pages.py` and `__main__.py`.

Each file of the directory is one key; the file's name is the key's id in logs. Its content is JSON

    {"sha256": "<hex of the key>", "namespace": "amt-a", "families": ["steuerrecht"]}

or the same in lines: the hash, then the namespace, then families separated by commas. Without a namespace a key sees every
namespace and its plain names live in the gateway's default one; without families it may use all, the base included.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from clara_gateway.refusals import RefusalError
from clara_gateway.routing.names import Caller
from clara_gateway.settings import Settings

_NOBODY = "0" * 64


class KeyFileError(Exception):
    """A key file or the directory of them cannot be used. The message names the file and the cure."""


class KeyFile(BaseModel):
    """Content of one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    namespace: str | None = None
    families: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys by their hash. `anonymous`: who a caller without a known key is; development only."""

    callers: dict[str, Caller]
    anonymous: Caller | None = None

    def caller(self, authorization: str) -> Caller:
        """Who sent this Authorization header. Raises RefusalError (401)."""
        scheme, _, key = authorization.partition(" ")
        presented = hashlib.sha256(key.strip().encode()).hexdigest()
        stored = presented if presented in self.callers else _NOBODY
        if scheme.lower() == "bearer" and hmac.compare_digest(stored, presented):
            return self.callers[stored]
        if self.anonymous:
            return self.anonymous
        if not authorization:
            raise RefusalError(401, "missing_api_key", "No API key. Send 'Authorization: Bearer KEY'.")
        raise RefusalError(401, "invalid_api_key", "The API key is not known here.")


def load_keys(settings: Settings) -> KeyRing:
    """Read every key. Raises KeyFileError when one is broken, or when production has none."""
    callers: dict[str, Caller] = {}
    for path in _key_files(settings.keys_dir):
        key = read_key_file(path.name, path.read_text(encoding="utf-8"))
        families = frozenset(key.families) if key.families else None
        callers[key.sha256] = Caller(path.name, key.namespace or None, settings.default_namespace, families)
    if settings.security_mode == "development":
        return KeyRing(callers, anonymous=Caller(home=settings.default_namespace))
    if not callers:
        raise KeyFileError(
            f"no API key in {settings.keys_dir or 'CLARA_GATEWAY_KEYS_DIR (unset)'}: put at least one into the Secret "
            "the chart mounts there, or set CLARA_SECURITY_MODE=development on a machine only you can reach"
        )
    return KeyRing(callers)


def read_key_file(name: str, content: str) -> KeyFile:
    """One key from its file's text. Raises KeyFileError."""
    try:
        return KeyFile.model_validate(json.loads(content) if content.lstrip().startswith("{") else _lines(content))
    except (ValidationError, ValueError) as error:
        # the error's text would print the input, which may be the key itself
        raise KeyFileError(
            f'key file \'{name}\' is not readable: write {{"sha256": "64 hex digits of the key\'s sha256", '
            '"namespace": "…"}, or the hash, the namespace and the families on a line each'
        ) from (None if isinstance(error, ValidationError) else error)


def _lines(content: str) -> dict[str, object]:
    digest, namespace, families = ([line.strip() for line in content.splitlines()] + ["", "", ""])[:3]
    names = tuple(part for part in re.split(r"[,\s]+", families) if part)
    return {"sha256": digest, "namespace": namespace or None, "families": names or None}


def _key_files(directory: Path | None) -> list[Path]:
    if directory is None or not directory.is_dir():
        return []
    return sorted(p for p in directory.iterdir() if not p.name.startswith(".") and p.is_file())


def revision(directory: Path) -> str:
    """Changes when the Secret does: kubelet swaps the `..data` link; a plain directory tells by its files."""
    link = directory / "..data"
    if link.is_symlink():
        return str(link.readlink())
    return repr([(p.name, p.stat().st_mtime_ns) for p in _key_files(directory)])
