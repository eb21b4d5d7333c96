"""Write what the guard reads: the pod-local token and the API server's signing keys. Used by `sidecar`.

Both are replaced by rename, so the guard never sees half a file.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

from clara_watch.api import ApiClient, ApiError, ApiUnreachable

from clara_agent.credentials import KEYS, LOCAL_TOKEN

log = logging.getLogger(__name__)

JWKS_PATH = "/openid/v1/jwks"
FIRST_RETRY_SECONDS = 1.0


def local_token(folder: Path) -> str:
    """The pod's token: the one a former agent process wrote, or a new one."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / LOCAL_TOKEN
    if not (file.exists() and file.read_text().strip()):
        _replace(file, secrets.token_urlsafe(32), mode=0o440)
    return file.read_text().strip()


async def keep_keys_fresh(api: ApiClient, folder: Path, every_seconds: float, asked: asyncio.Event) -> None:
    """Endless: read the signing keys now, every `every_seconds`, and when `asked`; sooner while the API server is away."""
    pause = FIRST_RETRY_SECONDS
    while True:
        try:
            keys = await api.get(JWKS_PATH)
            _replace(folder / KEYS, json.dumps(keys), mode=0o444)
            pause = every_seconds
        except (ApiError, ApiUnreachable, OSError, ValueError) as error:
            pause = min(every_seconds, max(FIRST_RETRY_SECONDS, pause if pause < every_seconds else 0) * 2)
            log.warning("the signing keys could not be read, the old ones stay: %s", error)
        with suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), pause)
        asked.clear()


def _replace(file: Path, content: str, *, mode: int) -> None:
    fresh = file.with_name(f".{file.name}")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as out:
        out.write(content)
    fresh.rename(file)
