"""Write `Engine.status`, only when it changed. Used by `loop`; runs as a task of its own, so that a slow API server delays nothing.

One write at a time: states that pass while it is under way are never written.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from clara_api.engine import EngineObjectStatus
from clara_api.meta import API_VERSION
from clara_watch.api import ApiClient, ApiError, ApiUnreachable

from clara_agent.metrics import Metrics

log = logging.getLogger(__name__)

FIELD_MANAGER = "clara-agent"
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0


def engine_path(namespace: str, name: str = "") -> str:
    """API path of the Engine objects of a namespace, or of one."""
    path = f"/apis/{API_VERSION}/namespaces/{namespace}/engines"
    return f"{path}/{name}" if name else path


class Publisher:
    """`show` what should be published for the object with that uid; `run` writes it."""

    def __init__(self, api: ApiClient, *, namespace: str, name: str, metrics: Metrics) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._metrics = metrics
        self._wanted: tuple[str, EngineObjectStatus] | None = None
        self._written: tuple[str, EngineObjectStatus] | None = None
        self._changed = asyncio.Event()
        self._done = asyncio.Event()

    def show(self, uid: str, status: EngineObjectStatus) -> None:
        """Publish this status soon. A re-created object (another uid) is written again."""
        self._wanted = (uid, status)
        if self._wanted != self._written:
            self._done.clear()
            self._changed.set()

    def forget(self) -> None:
        """What lies in the API server is not what was written: write again."""
        self._written = None

    async def settled(self) -> None:
        """Wait until everything shown is written."""
        await self._done.wait()

    async def run(self) -> None:
        """Endless."""
        pause = FIRST_PAUSE
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._write()
                pause = FIRST_PAUSE
            except (ApiError, ApiUnreachable) as error:
                log.warning("the status could not be written, trying again: %s", error)
                self._changed.set()
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)

    async def _write(self) -> None:
        wanted = self._wanted
        if wanted is None or wanted == self._written:
            self._done.set()
            return
        uid, status = wanted
        body = {
            "apiVersion": API_VERSION,
            "kind": "Engine",
            "metadata": {"name": self._name, "namespace": self._namespace, "uid": uid},
            "status": status.model_copy(update={"heartbeat": datetime.now(UTC)}).wire(),
        }
        await self._api.apply_status(engine_path(self._namespace, self._name), body, field_manager=FIELD_MANAGER)
        self._metrics.status_writes.inc()
        self._written = wanted
        if self._wanted == wanted:
            self._done.set()
