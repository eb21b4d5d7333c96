"""Ending in order: nothing new is sent, what runs may finish.

`hook` in the vLLM container ──unix socket──→ `web` ──→ Drain
    status.draining=true is written → the gateway sees it → vLLM runs nothing, or the time is over → exit 0
"""

from __future__ import annotations

import asyncio
import logging

from clara_agent.loop import Loop
from clara_agent.publish import Publisher

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 5.0  # an API server that is away must not hold the pod
SETTLE_SECONDS = 1.0  # the gateways' watches
LOOK_SECONDS = 0.5
QUIET_LOOKS = 2


class Drain:
    """Called by `web` for the preStop hook, and by `sidecar` on SIGTERM."""

    def __init__(self, loop: Loop, publisher: Publisher, wake: asyncio.Event) -> None:
        self._loop = loop
        self._publisher = publisher
        self._wake = wake

    async def announce(self) -> None:
        """Publish draining; returns when it is written, or after a bounded time."""
        self._loop.draining = True
        await self._loop.look()
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._publisher.settled()
        except TimeoutError:
            log.warning("draining could not be published within %s s; going on", PUBLISH_SECONDS)

    async def finish(self, seconds: float) -> bool:
        """Announce, then wait until vLLM runs nothing in two looks; False when the time was over first."""
        try:
            async with asyncio.timeout(seconds):
                await self.announce()
                await asyncio.sleep(SETTLE_SECONDS)
                quiet = 0
                while quiet < QUIET_LOOKS and self._loop.process.identity is not None:
                    scrape = self._loop.scrape
                    quiet = quiet + 1 if scrape is not None and scrape.unfinished == 0 else 0
                    self._wake.set()
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            return False
        return True
