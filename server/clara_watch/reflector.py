"""Keep a local copy of some custom resources, by list and watch. Used by the agent (its Engine) and the gateway.

    list → watch ── server's time-out ──→ watch again from the last version
      ↑        └─ 410, error, silence ──→ back off, list again
      └──────────────────────────────────┘

While the API server is away the last known objects stay: serving does not depend on it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from clara_watch.api import ApiClient, ApiError, ApiUnreachable
from clara_watch.store import Expired, Key, Object, Store, WatchFailed

log = logging.getLogger(__name__)

PAGE = "500"


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds. The server ends each watch after `watch`, so even an idle watch shows life that often."""

    watch: float = 60.0
    grace: float = 15.0  # silence beyond `watch` that counts as a stall
    shortest: float = 1.0  # a watch that ends sooner is followed by a pause
    first_pause: float = 0.2
    longest_pause: float = 20.0


class Reflector:
    """`objects` and `synced` may be read at any time; `run` is awaited once and cancelled to stop."""

    def __init__(
        self,
        client: ApiClient,
        path: str,
        *,
        on_change: Callable[[], None] | None = None,
        field_selector: str | None = None,
        timings: Timings | None = None,
    ) -> None:
        self._client = client
        self._path = path
        self._on_change = on_change or (lambda: None)
        self._selector = {"fieldSelector": field_selector} if field_selector else {}
        self._timings = timings or Timings()
        self._store = Store()
        self._born = time.monotonic()
        self._last_sign: float | None = None
        self._failures = 0

    @property
    def objects(self) -> dict[Key, Object]:
        """The newest known objects by (namespace, name)."""
        return self._store.objects

    @property
    def synced(self) -> bool:
        """Whether a list has ever succeeded."""
        return self._last_sign is not None

    def age(self) -> float:
        """Seconds since the API server last showed life: a list, an event, a bookmark, a watch begun or ended in order."""
        return time.monotonic() - (self._born if self._last_sign is None else self._last_sign)

    async def run(self) -> None:
        """List and watch for ever."""
        while True:
            try:
                if self._store.version is None:
                    await self._list()
                await self._watch()
                self._failures = 0
            except (Expired, WatchFailed, ApiError, ApiUnreachable, ValueError, KeyError) as error:
                self._store.version = None  # after any break a list finds what vanished meanwhile
                self._failures += 1
                log.warning("relisting %s: %s", self._path, error)
                await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        """Exponential with full jitter, so that many watchers do not return at the same moment."""
        longest = min(self._timings.longest_pause, self._timings.first_pause * 2.0 ** min(self._failures, 16))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311

    def _alive(self) -> None:
        self._last_sign = time.monotonic()

    async def _list(self) -> None:
        items: list[Object] = []
        params = {"limit": PAGE, **self._selector}
        while True:
            page = await self._client.get(self._path, params)
            items.extend(_typed(item, page) for item in page.get("items") or [])
            metadata = page["metadata"]
            if not metadata.get("continue"):
                break
            params["continue"] = metadata["continue"]
        self._store.replace(items, metadata["resourceVersion"])
        self._alive()
        self._on_change()

    async def _watch(self) -> None:
        """One watch, until the server ends it."""
        begun = time.monotonic()
        seconds = self._timings.watch * random.uniform(0.8, 1.0)  # noqa: S311
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._store.version or "",
            "timeoutSeconds": str(max(1, round(seconds))),
            **self._selector,
        }
        silence = seconds + self._timings.grace
        try:
            async with aclosing(self._client.lines(self._path, params, silence_seconds=silence)) as lines:
                async for line in lines:
                    self._alive()
                    if line and self._store.apply(json.loads(line)):
                        self._on_change()
        except ApiError as error:
            if error.status == 410:
                raise Expired(str(error)) from error
            raise
        self._alive()
        if time.monotonic() - begun < self._timings.shortest:
            await asyncio.sleep(self._timings.shortest)


def _typed(item: Object, page: Object) -> Object:
    """Items of a list carry no kind; give them the one of the list, so that listed and watched objects look alike."""
    kind = str(page.get("kind", "")).removesuffix("List")
    return {"apiVersion": page.get("apiVersion"), "kind": kind, **item}
