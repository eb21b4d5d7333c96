"""Asks every engine for its health and acts on silence: a frozen engine accepts connections and never answers.

Long generations are legitimate, so no request has a time limit of its own; this probe decides instead. Two unanswered
probes in a row put an engine out, and a request whose last sign of life is older than the last two unanswered probes
is given up: before the first byte it goes to another engine, after it the stream ends with an error event. A refused
connection or an unhealthy answer puts the engine out at once but gives up nothing: a draining engine closes its door
and finishes what runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Literal

import aiohttp

from clara_gateway.ejection import Ejections
from clara_gateway.in_flight import InFlight
from clara_gateway.knowledge import Knowledge
from clara_gateway.routing.filters import EngineKey, EngineView, why_no_requests
from clara_gateway.settings import Settings

log = logging.getLogger(__name__)
TICK_SECONDS = 0.25

Health = Literal["answers", "silent", "refuses"]


class Prober:
    """One task per gateway."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        knowledge: Knowledge,
        ejections: Ejections,
        in_flight: InFlight,
        *,
        settings: Settings,
        engine_headers: Callable[[], dict[str, str]],
    ) -> None:
        self._session = session
        self._knowledge = knowledge
        self._ejections = ejections
        self._in_flight = in_flight
        self._every = settings.probe_every_seconds
        self._timeout = aiohttp.ClientTimeout(total=settings.probe_timeout_seconds)
        self._engine_headers = engine_headers
        self._next: dict[EngineKey, float] = {}
        self._silent_since: dict[EngineKey, float] = {}

    async def run(self) -> None:
        """Probe for ever."""
        loop = asyncio.get_running_loop()
        while True:
            engines = self._engines()
            due = [engine for engine in engines.values() if self._is_due(engine, loop.time())]
            await asyncio.gather(*(self._probe(engine) for engine in due))
            self._forget_all_but(engines)
            await asyncio.sleep(TICK_SECONDS)

    def _engines(self) -> dict[EngineKey, EngineView]:
        reachable = [e for e in self._knowledge.snapshot.engines if why_no_requests(e) is None]
        return {e.key: e for e in (*self._in_flight.engines(), *reachable)}

    def _is_due(self, engine: EngineView, now: float) -> bool:
        if engine.key in self._ejections:
            return self._ejections.is_due(engine, now=now)
        return now >= self._next.get(engine.key, 0)

    async def _probe(self, engine: EngineView) -> None:
        started = asyncio.get_running_loop().time()
        health = await self._ask(engine)
        self._next[engine.key] = started + self._every
        if health == "answers":
            self._silent_since.pop(engine.key, None)
            if self._ejections.readmit(engine.key):
                log.info("engine %s/%s answers again", engine.namespace, engine.name)
                self._knowledge.wake()
        elif health == "silent" and engine.key not in self._silent_since:
            self._silent_since[engine.key] = started
            self._next[engine.key] = started  # one silence may be a hiccup: ask again at once
        else:
            self._put_out(engine, health, started)

    def _put_out(self, engine: EngineView, health: Health, started: float) -> None:
        now = asyncio.get_running_loop().time()
        if self._ejections.eject(engine, f"probe: {health}", now=now):
            log.warning("engine %s/%s is put out: /health %s", engine.namespace, engine.name, health)
        else:
            self._ejections.failed_again(engine, f"probe: {health}", now=now)
        if health == "silent":
            # two probes began after their last byte, and both went unanswered
            given_up = self._in_flight.abandon(engine.key, silent_since=self._silent_since[engine.key])
            self._silent_since[engine.key] = started
            if given_up:
                log.warning("engine %s/%s: %d requests given up", engine.namespace, engine.name, given_up)

    async def _ask(self, engine: EngineView) -> Health:
        url = f"http://{engine.address}/health"
        try:
            async with self._session.get(url, timeout=self._timeout, headers=self._engine_headers()) as answer:
                return "answers" if answer.status == 200 else "refuses"
        except TimeoutError:
            return "silent"
        except (aiohttp.ClientError, OSError):
            return "refuses"

    def _forget_all_but(self, engines: dict[EngineKey, EngineView]) -> None:
        self._ejections.keep_only(engines)
        self._next = {key: at for key, at in self._next.items() if key in engines}
        self._silent_since = {key: at for key, at in self._silent_since.items() if key in engines}
