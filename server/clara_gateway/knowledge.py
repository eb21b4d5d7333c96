"""The newest snapshot, and who waits for the next one. Fed by `watches.py` and `prober.py`, read by `proxy.py` and `pages.py`.

An object that stops being readable keeps its last readable view: the gateway goes on with what it knew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from clara_gateway.routing.snapshot import Snapshot, deployment_view, engine_view, take_snapshot

log = logging.getLogger(__name__)

View = TypeVar("View")
Object = Mapping[str, Any]


class Views(Generic[View]):
    """Objects of one kind as views, each read once per resourceVersion."""

    def __init__(self, read: Callable[[Object], View]) -> None:
        self._read = read
        self._known: dict[tuple[str, str], tuple[tuple[str, str], View | None]] = {}

    def replace(self, objects: Iterable[Object]) -> bool:
        """Take these objects as all there are; whether anything changed."""
        known = {}
        for obj in objects:
            meta = obj["metadata"]
            key = (meta["namespace"], meta["name"])
            revision = (meta.get("uid", ""), meta.get("resourceVersion", ""))
            before = self._known.get(key)
            known[key] = before if before and before[0] == revision else (revision, self._view(obj, before))
        changed = self.values(known) != self.values(self._known)
        self._known = known
        return changed

    def values(self, known: Mapping[tuple[str, str], tuple[object, View | None]] | None = None) -> list[View]:
        """Every readable view."""
        return [view for _, view in (self._known if known is None else known).values() if view is not None]

    def _view(self, obj: Object, before: tuple[object, View | None] | None) -> View | None:
        try:
            return self._read(obj)
        except ValidationError as error:
            meta = obj["metadata"]
            log.error("%s/%s is not readable, its last known form stays: %s", meta["namespace"], meta["name"], error)
            return before[1] if before else None


class Knowledge:
    """What is known now. `synced` turns true once, when every kind has been listed."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self.synced = False
        self._deployments = Views(deployment_view)
        self._engines = Views(engine_view)
        self._next = asyncio.Event()

    def learn(self, deployments: Iterable[Object], engines: Iterable[Object]) -> None:
        """Replace all that is known by these objects; a new snapshot only when something differs."""
        changed = [self._deployments.replace(deployments), self._engines.replace(engines)]
        if any(changed) or not self.synced:
            self.snapshot = take_snapshot(self._deployments.values(), self._engines.values())
            self.synced = True
            self.wake()

    def next_change(self) -> asyncio.Event:
        """Set when anything changes after this call: take it first, then look, then wait."""
        return self._next

    def wake(self) -> None:
        """Let everyone who waits look again."""
        self._next.set()
        self._next = asyncio.Event()
