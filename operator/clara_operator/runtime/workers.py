"""N workers drain the queue while this process leads: reconcile, act, come again.

A key is decided only on a cache that has seen our own last status write of it, so that nothing is decided on an echo that is
still on its way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from clara_operator.act import Actor
from clara_operator.cluster import Cluster
from clara_operator.errors import LeaseLost, Permanent, Temporary
from clara_operator.metrics import RECONCILE_SECONDS, RECONCILES
from clara_operator.plan import Event, Key, Plan
from clara_operator.recorder import Recorder
from clara_operator.runtime.queue import WorkQueue
from clara_operator.settings import Settings

log = logging.getLogger("clara.reconcile")
Reconcile = Callable[[Key, Cluster, Settings, datetime], Plan | None]
ECHO_SECONDS = 2.0  # how long our own write may take to come back
ECHO_PAUSE = 0.02
PERMANENT_DELAY = 60.0
STUCK_SECONDS = 120.0


@dataclass(slots=True)
class Workers:
    """Everything a worker needs."""

    queue: WorkQueue
    cluster: Cluster
    actor: Actor
    recorder: Recorder
    settings: Settings
    reconcilers: Mapping[str, Reconcile]
    busy: dict[Key, float] = field(default_factory=dict)  # key → since when
    _written: dict[Key, tuple[str, float]] = field(default_factory=dict)

    async def run(self) -> None:
        """Until the queue is closed."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.settings.workers):
                group.create_task(self._work())

    def stuck(self) -> list[str]:
        """Sentences about reconciles that do not end."""
        now = time.monotonic()
        return [f"{key} is worked on for {now - t:.0f} s" for key, t in self.busy.items() if now - t > STUCK_SECONDS]

    async def _work(self) -> None:
        while (key := await self.queue.get()) is not None:
            self.busy[key] = time.monotonic()
            try:
                await self._one(key)
            finally:
                RECONCILE_SECONDS.labels(key.kind).observe(time.monotonic() - self.busy.pop(key))
                self.queue.done(key)

    async def _one(self, key: Key) -> None:
        if self._waits_for_echo(key):
            self.queue.add_after(key, ECHO_PAUSE)
            return
        try:
            plan = self.reconcilers[key.kind](key, self.cluster, self.settings, datetime.now(UTC))
            if plan is None:
                self._written.pop(key, None)
                return
            written = await self.actor.act(key, plan)
        except Temporary as error:
            delay = self.queue.retry(key, error.delay)
            RECONCILES.labels(key.kind, "temporary").inc()
            log.info("tried again later", extra={"key": str(key), "error": str(error), "delay": round(delay, 2)})
            return
        except LeaseLost:
            self.queue.close()  # this process ends; whoever leads now looks at every key
            return
        except Permanent as error:
            self._refused(key, str(error))
            return
        except Exception:  # a bug in one key must not stop the others
            self.queue.retry(key)
            RECONCILES.labels(key.kind, "bug").inc()
            log.exception("reconcile failed", extra={"key": str(key)})
            return
        RECONCILES.labels(key.kind, "written" if not plan.is_empty else "unchanged").inc()
        self.queue.succeeded(key)
        if written is not None:
            self._written[key] = (written, time.monotonic())
        if plan.again_after is not None:
            self.queue.add_after(key, plan.again_after.total_seconds())

    def _refused(self, key: Key, message: str) -> None:
        RECONCILES.labels(key.kind, "permanent").inc()
        log.error("refused by the API server", extra={"key": str(key), "error": message})
        obj = self.cluster.get(key.kind, key.namespace, key.name)
        if obj is not None:
            self.recorder.record(key, obj["metadata"]["uid"], Event("Warning", "Refused", message))
        self.queue.retry(key, PERMANENT_DELAY)

    def _waits_for_echo(self, key: Key) -> bool:
        written = self._written.get(key)
        obj = self.cluster.get(key.kind, key.namespace, key.name)
        if written is None or obj is None:
            return False
        version, since = written
        try:
            echoed = int(obj["metadata"]["resourceVersion"]) >= int(version)
        except ValueError:
            echoed = True
        if echoed or time.monotonic() - since > ECHO_SECONDS:
            del self._written[key]
            return False
        return True
