"""What is read from mounted files again and again: the API keys and the token this gateway shows to engines."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from clara_gateway.auth import KeyFileError, KeyRing, load_keys, revision
from clara_gateway.settings import Settings

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 5.0  # kubelet renews mounted Secrets about once a minute
TOKEN_EVERY_SECONDS = 60.0  # a projected token is renewed at 80 % of its life, an hour at least


class Credentials:
    """The newest readable state of both. Raises KeyFileError when made without the keys production needs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._revision = _revision(settings.keys_dir)
        self.keys: KeyRing = load_keys(settings)
        self._engine_headers: dict[str, str] = {}
        self.read_engine_token()

    def engine_headers(self) -> dict[str, str]:
        """Authorization for engines; empty without a token file."""
        return self._engine_headers

    def read_engine_token(self) -> None:
        """Take the token file's content; an unreadable file leaves the last one in use."""
        if path := self._settings.engine_token_file:
            try:
                self._engine_headers = {"Authorization": f"Bearer {path.read_text(encoding='utf-8').strip()}"}
            except OSError as error:
                log.error("engine token %s cannot be read, engines will refuse this gateway: %s", path, error)

    def read_keys_if_changed(self) -> None:
        """Take the keys again when their Secret changed; a broken file leaves the last good keys in use."""
        seen = _revision(self._settings.keys_dir)
        if seen == self._revision:
            return
        self._revision = seen
        try:
            self.keys = load_keys(self._settings)
            log.info("API keys read again: %d", len(self.keys.callers))
        except (KeyFileError, OSError) as error:
            log.error("the API keys stay as they were: %s", error)

    async def run(self) -> None:
        """Look for ever."""
        rounds = round(TOKEN_EVERY_SECONDS / LOOK_EVERY_SECONDS)
        while True:
            for _ in range(rounds):
                await asyncio.sleep(LOOK_EVERY_SECONDS)
                self.read_keys_if_changed()
            self.read_engine_token()


def _revision(keys_dir: Path | None) -> str:
    try:
        return revision(keys_dir) if keys_dir else ""
    except OSError as error:  # the link is swapped while we look: the next look sees the new one
        return str(error)
