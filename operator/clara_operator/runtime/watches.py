"""When each watch was last heard of, seen on the wire: kopf keeps bookmarks and reopened streams to itself.

kopf's session is traced: an answered watch request proves that the stream of that kind and namespace lives. Streams are
short (STREAM_SECONDS), so a quiet kind is heard of as often as a busy one. A list request after the first one means that a
watch had a gap: whatever was deleted in it must be swept out of the cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import aiohttp

from clara_operator.runtime.resources import WATCHED

STREAM_SECONDS = 100  # the server ends a watch after so long; kopf opens the next one 0.1 s later
SILENT_SECONDS = 150.0  # a stream that was not opened for so long, and said nothing, is dead

Place = tuple[str, str]  # kind, namespace


@dataclass(slots=True)
class Watches:
    """`after_gap` is called when a kind is listed anew."""

    namespaces: Sequence[str]
    after_gap: Callable[[], None]
    clock: Callable[[], float] = time.monotonic
    _places: dict[str, Place] = field(init=False)
    _heard: dict[Place, float] = field(init=False)
    _listed: set[Place] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._places = {r.path(ns): (r.kind, ns) for r in WATCHED for ns in self.namespaces}
        self._heard = dict.fromkeys(self._places.values(), self.clock())

    def event(self, kind: str, namespace: str) -> None:
        """An event came."""
        self._heard[kind, namespace] = self.clock()

    def answered(self, path: str, *, watch: bool, page: bool) -> None:
        """A request to a collection was answered with success; `page` is a further page of a list."""
        place = self._places.get(path)
        if place is None:
            return
        self._heard[place] = self.clock()
        if watch or page:
            return
        if place in self._listed:
            self.after_gap()
        self._listed.add(place)

    def ages(self) -> dict[str, float]:
        """Seconds since the quietest watch of each kind was heard of."""
        now = self.clock()
        oldest: dict[str, float] = {}
        for (kind, _), since in self._heard.items():
            oldest[kind] = max(oldest.get(kind, 0.0), now - since)
        return oldest

    def silent(self) -> list[str]:
        """Sentences about watches that are dead."""
        return [
            f"the watch of {kind} has been silent for {age:.0f} s"
            for kind, age in self.ages().items()
            if age > SILENT_SECONDS
        ]

    def trace(self) -> aiohttp.TraceConfig:
        """For the session kopf watches with."""

        async def ended(_: aiohttp.ClientSession, __: SimpleNamespace, seen: aiohttp.TraceRequestEndParams) -> None:
            if seen.method == "GET" and seen.response.status == 200:
                query = seen.url.query
                self.answered(seen.url.path, watch=query.get("watch") == "true", page="continue" in query)

        config = aiohttp.TraceConfig()
        config.on_request_end.append(ended)
        return config
