"""Events on custom resources (events.k8s.io/v1), counted instead of repeated. Failures to record never matter.

An equal event (object, reason, message) within the window raises the count of the first one. Called by `act` after the status
write of the same plan succeeded, and by the workers when the API server refuses a plan.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from clara_api.meta import API_VERSION

from clara_operator.errors import ApiError
from clara_operator.plan import Event, Key, Manifest
from clara_operator.runtime.api import MERGE, Api
from clara_operator.runtime.resources import EVENT

log = logging.getLogger("clara.events")
WINDOW = 600.0  # seconds in which an equal event is counted
LIMIT = 20  # events per object in a window; a loop must not fill etcd
NOTE_LIMIT = 1000  # characters; the API allows 1024 bytes


@dataclass(slots=True)
class Recorder:
    """Queues events and writes them in the background, in order."""

    api: Api
    instance: str
    clock: Callable[[], float] = time.monotonic
    _queue: asyncio.Queue[tuple[Key, str, Event]] = field(default_factory=lambda: asyncio.Queue(maxsize=1000))
    _seen: dict[tuple[str, str, str], tuple[float, str, int]] = field(default_factory=dict)
    _counts: dict[str, tuple[float, int]] = field(default_factory=dict)

    def record(self, key: Key, uid: str, event: Event) -> None:
        """Queue it; a full queue drops it."""
        try:
            self._queue.put_nowait((key, uid, event))
        except asyncio.QueueFull:
            log.warning("event dropped", extra={"key": str(key), "reason": event.reason})

    async def run(self) -> None:
        """Write queued events until cancelled."""
        while True:
            key, uid, event = await self._queue.get()
            try:
                await self._write(key, uid, event)
            except ApiError as error:
                log.warning("event not written", extra={"key": str(key), "reason": event.reason, "error": str(error)})
            finally:
                self._queue.task_done()

    async def drain(self, seconds: float) -> None:
        """Wait until all is written, but not longer."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._queue.join(), seconds)

    async def _write(self, key: Key, uid: str, event: Event) -> None:
        now = self.clock()
        self._forget(now)
        slot = (uid, event.reason, event.message)
        earlier = self._seen.get(slot)
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if earlier is not None:
            started, name, count = earlier
            self._seen[slot] = (started, name, count + 1)
            series = {"series": {"count": count + 1, "lastObservedTime": stamp}}
            await self.api.request("PATCH", EVENT.path(key.namespace, name), body=series, content_type=MERGE)
            return
        started, count = self._counts.get(uid, (now, 0))
        if count >= LIMIT:
            return
        self._counts[uid] = (started, count + 1)
        name = f"{key.name[:200]}.{secrets.token_hex(6)}"
        self._seen[slot] = (now, name, 1)
        await self.api.request("POST", EVENT.path(key.namespace), body=self._manifest(key, uid, event, name, stamp))

    def _manifest(self, key: Key, uid: str, event: Event, name: str, stamp: str) -> Manifest:
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": key.namespace},
            "eventTime": stamp,
            "type": event.type,
            "reason": event.reason,
            "action": "Reconcile",
            "note": event.message[:NOTE_LIMIT],
            "reportingController": "clara.vcc.dev/operator",
            "reportingInstance": self.instance,
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": key.kind,
                "namespace": key.namespace,
                "name": key.name,
                "uid": uid,
            },
        }

    def _forget(self, now: float) -> None:
        self._seen = {k: v for k, v in self._seen.items() if now - v[0] < WINDOW}
        self._counts = {k: v for k, v in self._counts.items() if now - v[0] < WINDOW}
