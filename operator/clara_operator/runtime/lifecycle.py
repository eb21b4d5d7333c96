"""The life of one replica: fill the caches, wait for the Lease, work, and leave so that the next one takes over at once.

    start ─► caches filled (ready) ─► standby ─► Lease held ─► endpoint published ─► working
    SIGTERM: hand nothing out any more ─► reconciles in hand end (≤ 10 s) ─► Lease released ─► watches closed ─► exit 0
    Lease lost: nothing is written any more ─► exit 1; the kubelet starts a fresh standby

Called by `main` with the parts it wired.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from clara_operator.errors import ApiError
from clara_operator.health import Health
from clara_operator.lease import Leader
from clara_operator.progress import ProgressEndpoint
from clara_operator.recorder import Recorder
from clara_operator.runtime.intake import Intake
from clara_operator.runtime.queue import WorkQueue
from clara_operator.runtime.workers import Workers
from clara_operator.sweep import Sweep

log = logging.getLogger("clara")
GRACE_SECONDS = 10.0  # for reconciles in hand; the pod's terminationGracePeriodSeconds is longer
FILL_PAUSE = 0.3
EVENTS_SECONDS = 1.0  # for events still queued


@dataclass(slots=True)
class Parts:
    """What `main` wired. `watch` runs the watches until its event is set."""

    queue: WorkQueue
    intake: Intake
    sweep: Sweep
    recorder: Recorder
    leader: Leader
    workers: Workers
    progress: ProgressEndpoint
    health: Health
    watch: Callable[[asyncio.Event], Awaitable[None]]
    resync_seconds: float
    synced: asyncio.Event
    stop: asyncio.Event = field(default_factory=asyncio.Event)


async def live(parts: Parts) -> int:
    """Until `stop` (0) or the loss of the Lease (1)."""
    finished = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_watch(parts, finished))
        background = [group.create_task(c) for c in (parts.health.run(), parts.recorder.run(), parts.sweep.run())]
        background += [group.create_task(c) for c in (_publish(parts), parts.progress.serve(), _resync(parts))]
        leading = group.create_task(_lead(parts))
        working = group.create_task(_work(parts))
        ended = group.create_task(parts.stop.wait())
        await asyncio.wait({leading, ended}, return_when=asyncio.FIRST_COMPLETED)
        lost = not parts.stop.is_set()
        parts.queue.close()
        if parts.leader.leading.is_set():
            await asyncio.wait({working}, timeout=GRACE_SECONDS)
        await parts.recorder.drain(EVENTS_SECONDS)
        for task in (leading, working, ended, *background):
            task.cancel()
        if not lost:
            await parts.leader.release()
        finished.set()
        await asyncio.wait({watching}, timeout=GRACE_SECONDS)
        watching.cancel()
    log.info("stopped", extra={"lease_lost": lost})
    return 1 if lost else 0


async def _watch(parts: Parts, finished: asyncio.Event) -> None:
    await parts.watch(finished)
    if not finished.is_set():
        raise RuntimeError("the watches ended by themselves; this process starts anew")


async def _lead(parts: Parts) -> None:
    """Returns when the Lease is lost. A replica that knows nothing yet does not ask for it."""
    await _fill(parts)
    await parts.leader.run()


async def _fill(parts: Parts) -> None:
    """Until the cache holds all that a fresh list names: deciding earlier would take a late list for deletions."""
    while True:
        try:
            if not await parts.sweep.missing(parts.intake.cluster):
                parts.synced.set()
                return
        except ApiError as error:
            log.warning("the caches are not filled yet", extra={"error": str(error)})
        await asyncio.sleep(FILL_PAUSE)


async def _publish(parts: Parts) -> None:
    await parts.leader.leading.wait()
    await parts.progress.address.lead()


async def _work(parts: Parts) -> None:
    """The endpoint comes first, because a run made without its CA could never report."""
    await parts.leader.leading.wait()
    log.info("leading", extra={"identity": parts.leader.identity})
    await parts.progress.address.ready.wait()
    parts.intake.resync()
    await parts.workers.run()


async def _resync(parts: Parts) -> None:
    while True:
        await asyncio.sleep(parts.resync_seconds)
        parts.intake.resync()
