"""Find what vanished while a watch was down: a list must replace the cache, and kopf sends no DELETED for what it missed.

After a relist, after an outage, and every few minutes: an own list of metadata per kind and namespace; what the cache holds
and the list does not is forgotten, and whoever depended on it is looked at. Decision record 0002.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from clara_operator.cluster import Cluster
from clara_operator.errors import ApiError
from clara_operator.plan import Manifest
from clara_operator.runtime.api import METADATA_ONLY, Api
from clara_operator.runtime.resources import WATCHED, Resource

log = logging.getLogger("clara.sweep")
SETTLE = 1.0  # seconds after a relist: its events come one by one


@dataclass(slots=True)
class Sweep:
    """`vanish(kind, namespace, uids that are there, resourceVersion of the list)` is the intake's."""

    api: Api
    namespaces: Sequence[str]
    every: float
    vanish: Callable[[str, str, set[str], str], None]
    clock: Callable[[], float] = time.monotonic
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    last: dict[str, float] = field(default_factory=dict)  # kind → when it was listed last

    def soon(self) -> None:
        """A relist or an outage was seen."""
        self._wanted.set()

    async def run(self) -> None:
        """Sweep when asked and periodically, until cancelled."""
        while True:
            try:
                await asyncio.wait_for(self._wanted.wait(), self.every)
                await asyncio.sleep(SETTLE)
            except TimeoutError:
                pass
            self._wanted.clear()
            try:
                await self.sweep()
            except ApiError as error:
                log.warning("the sweep failed; it is tried again", extra={"error": str(error)})
                await asyncio.sleep(SETTLE)
                self._wanted.set()

    async def missing(self, cluster: Cluster) -> int:
        """How many objects a fresh list names and the cache does not hold (yet)."""
        count = 0
        for resource in WATCHED:
            for namespace in self.namespaces:
                items, _ = await self._items(resource, namespace)
                count += sum(cluster.get(resource.kind, namespace, i["metadata"]["name"]) is None for i in items)
            self.last[resource.kind] = self.clock()
        return count

    def ages(self) -> dict[str, float]:
        """Seconds since each kind was listed."""
        return {kind: self.clock() - since for kind, since in self.last.items()}

    async def sweep(self) -> None:
        """One pass over all kinds."""
        for resource in WATCHED:
            for namespace in self.namespaces:
                await self._list(resource, namespace)
            self.last[resource.kind] = self.clock()

    async def _list(self, resource: Resource, namespace: str) -> None:
        items, as_of = await self._items(resource, namespace)
        self.vanish(resource.kind, namespace, {item["metadata"]["uid"] for item in items}, as_of)

    async def _items(self, resource: Resource, namespace: str) -> tuple[list[Manifest], str]:
        return await self.api.items(resource, namespace, selector=resource.selector, accept=METADATA_ONLY)
