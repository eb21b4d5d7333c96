"""Keeps `Knowledge` up to date from the API server: ServingDeployments and Engines, per watched namespace.

While the API server is away the reflectors keep their objects, and the gateway serves on from them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from clara_api.kinds import ENGINE, SERVING_DEPLOYMENT, Kind
from clara_api.meta import API_VERSION
from clara_watch.api import ApiClient
from clara_watch.reflector import Reflector

from clara_gateway.knowledge import Knowledge


class Watches:
    """All reflectors of one gateway."""

    def __init__(self, client: ApiClient, namespaces: Sequence[str], knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self._deployments = self._reflectors(client, SERVING_DEPLOYMENT, namespaces)
        self._engines = self._reflectors(client, ENGINE, namespaces)
        self._due = False

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for reflector in (*self._deployments, *self._engines):
                tasks.create_task(reflector.run())

    def age(self) -> float:
        """Seconds since the quietest watch showed life."""
        return max(reflector.age() for reflector in (*self._deployments, *self._engines))

    def _reflectors(self, client: ApiClient, kind: Kind, namespaces: Sequence[str]) -> list[Reflector]:
        return [Reflector(client, path, on_change=self._changed) for path in paths(kind, namespaces)]

    def _changed(self) -> None:
        """Learn once for all the changes of one turn of the event loop."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._learn)

    def _learn(self) -> None:
        self._due = False
        if all(r.synced for r in (*self._deployments, *self._engines)):
            self._knowledge.learn(_objects(self._deployments), _objects(self._engines))


def paths(kind: Kind, namespaces: Sequence[str]) -> list[str]:
    """The collections to watch: one per namespace, or the whole cluster's without any."""
    if not namespaces:
        return [f"/apis/{API_VERSION}/{kind.plural}"]
    return [f"/apis/{API_VERSION}/namespaces/{namespace}/{kind.plural}" for namespace in namespaces]


def _objects(reflectors: Sequence[Reflector]) -> Iterator[dict[str, Any]]:
    for reflector in reflectors:
        yield from reflector.objects.values()
