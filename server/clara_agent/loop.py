"""The agent's heartbeat: look at vLLM and at the Engine object, plan, start, tell. Wired by `sidecar`.

    observe (health, /v1/models, /metrics, the watched spec) → plan (pure) → work (tasks) → publish (status)

A look is taken every poll period, and at once when a task ends or the spec changes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from clara_agent import plan
from clara_agent.errors import ENGINE_FULL
from clara_agent.held import Held, state_of
from clara_agent.metrics import Metrics
from clara_agent.process import Process
from clara_agent.publish import Publisher
from clara_agent.status import Desired, EngineFacts, all_have_verdicts, compose
from clara_agent.vllm import FAILURES, Models, Scrape, Vllm
from clara_agent.work import Worker

log = logging.getLogger(__name__)


class Loop:
    """`desired` gives the newest Engine spec, or None while there is none."""

    def __init__(
        self,
        *,
        vllm: Vllm,
        worker: Worker,
        publisher: Publisher,
        metrics: Metrics,
        desired: Callable[[], Desired | None],
        folder: str,
        poll_seconds: float,
        wake: asyncio.Event,
    ) -> None:
        self._vllm = vllm
        self._worker = worker
        self._publisher = publisher
        self._metrics = metrics
        self._desired = desired
        self._folder = folder
        self._poll_seconds = poll_seconds
        self._wake = wake
        self._version: str | None = None
        self._ready_epoch: int | None = None
        self._looking = asyncio.Lock()
        self.process = Process()
        self.scrape: Scrape | None = None
        self.draining = False
        self.looked_at = time.monotonic()

    @property
    def ready(self) -> bool:
        """Healthy, and every assigned adapter had its verdict once in this process."""
        return self.process.healthy and self._ready_epoch == self.process.epoch

    async def run(self) -> None:
        """Endless."""
        while True:
            self._wake.clear()
            await self.look()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._poll_seconds)

    async def look(self) -> None:
        """One pass; also called by `drain`, hence one at a time."""
        async with self._looking:
            begun = time.monotonic()
            models = await self._observe()
            desired = self._desired()
            if desired is not None:
                self._act(desired, models, begun)
                self._tell(desired)
            self.looked_at = time.monotonic()

    async def _observe(self) -> Models | None:
        health = await self._vllm.health()
        models, scrape = None, None
        if health == "healthy":
            try:
                models, scrape = await self._vllm.models(), await self._vllm.scrape()
                self._version = self._version or await self._vllm.version()
            except FAILURES as error:
                log.warning("vLLM is up, but does not answer: %s", error)
                health = "silent"
        self._follow(self.process.looked(health, scrape.process if scrape else None))
        self.scrape = scrape
        if models:
            self._worker.meet_base(models.base)
        return models if self.process.healthy else None

    def _follow(self, process: Process) -> None:
        if process.epoch != self.process.epoch:
            log.warning("the vLLM process is gone: every verdict is void")
            self._metrics.engine_restarts.inc()
            self._worker.new_process(process.epoch)
            self._version = None
        self.process = process
        self._metrics.engine_healthy.set(process.healthy)

    def _act(self, desired: Desired, models: Models | None, begun: float) -> None:
        spec, now = desired.spec, time.monotonic()
        wanted = {w.engine_name: w for w in spec.adapters}
        for w in spec.adapters:
            if w.state != "retire":
                self._worker.held.setdefault(w.engine_name, Held(w.digest))
        staying = plan.staying(tuple(spec.adapters), self._worker.held)
        for name, held in self._worker.held.items():
            active = self.scrape is None or name in self.scrape.active
            self._worker.held[name] = held.scraped(active=active, leaving=name not in staying, now=now)
        seen = plan.Seen(
            wanted=tuple(spec.adapters),
            held=self._worker.held,
            listed=models.adapters if models else None,
            folder=self._folder,
            now=now,
            begun=begun,
            max_cpu_loras=spec.max_cpu_loras,
            drain_seconds=spec.drain_seconds,
        )
        for action in plan.plan(seen):
            self._worker.start(action, wanted.get(action.name), spec)
        self._note_waiting(seen)

    def _note_waiting(self, seen: plan.Seen) -> None:
        for name, held in self._worker.held.items():
            full = plan.waits_for_room(name, held, seen)
            if full and held.reason is None:
                message = f"{seen.max_cpu_loras} adapters are registered; raise spec.engine.maxCpuLoras"
                self._worker.held[name] = held.noted(ENGINE_FULL, message)
            elif held.reason == ENGINE_FULL and not full:
                self._worker.held[name] = held.noted(None, None)

    def _tell(self, desired: Desired) -> None:
        held = self._worker.held
        if self.process.healthy and all_have_verdicts(tuple(desired.spec.adapters), held):
            self._ready_epoch = self.process.epoch
        facts = EngineFacts(self.process, self.draining, self._version, self._worker.noise)
        self._publisher.show(desired.uid, compose(desired, facts, held))
        self._metrics.count_adapters(state_of(h) for h in held.values())
