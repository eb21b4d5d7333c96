"""Carry out what `plan` asks for, one task per adapter, and remember how it went.

Fetching, checking and deleting run in threads, the calls to vLLM in the event loop. A result of a vLLM process that is gone
meanwhile is thrown away.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from clara_api.engine import EngineObjectSpec, WantedAdapter

from clara_agent import fetch, plan
from clara_agent.errors import PROBE_FAILED, AdapterError, Temporary
from clara_agent.held import Doing, Held
from clara_agent.metrics import Metrics
from clara_agent.probe import Probe
from clara_agent.vllm import FAILURES, Vllm

log = logging.getLogger(__name__)

Change = Callable[[Held], Held]


class Worker:
    """`held` is what the agent knows; `on_done` is called after each finished step."""

    def __init__(self, *, vllm: Vllm, place: fetch.Place, metrics: Metrics, on_done: Callable[[], None]) -> None:
        self._vllm = vllm
        self._place = place
        self._metrics = metrics
        self._on_done = on_done
        self._tasks: set[asyncio.Task[None]] = set()
        self._probe: Probe | None = None
        self._epoch = 0
        self.held = {name: Held(digest, has_files=True) for name, digest in fetch.sealed(place.adapter_dir).items()}

    @property
    def noise(self) -> float | None:
        """The engine's repeat noise, once measured."""
        return self._probe.noise if self._probe else None

    def new_process(self, epoch: int) -> None:
        """The vLLM process changed: forget every verdict and measurement."""
        self._epoch = epoch
        self._probe = None
        self.held = {name: held.forgotten_by_engine() for name, held in self.held.items()}

    def meet_base(self, name: str) -> None:
        """The name under which this process serves its base."""
        self._probe = self._probe or Probe(self._vllm, name)

    def start(self, action: plan.Action, wanted: WantedAdapter | None, spec: EngineObjectSpec) -> None:
        """Begin one action; its adapter is busy until it ends."""
        name = action.name
        match action:
            case plan.Forget():
                del self.held[name]
            case plan.Fetch() if wanted:
                self._begin(name, "Fetching", self._fetch(wanted, spec))
            case plan.Load():
                self._begin(name, "Loading", self._load(name))
            case plan.Verify():
                self._begin(name, "Verifying", self._verify(name))
            case plan.Unload():
                self._begin(name, "Unloading", self._unload(name))
            case plan.DeleteFiles():
                self._begin(name, "Deleting", self._delete(name))

    async def close(self) -> None:
        """Stop what runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, name: str, doing: Doing, step: Coroutine[Any, Any, Change]) -> None:
        self.held[name] = replace(self.held[name], doing=doing)
        task = asyncio.create_task(self._carry_out(name, doing, step, self._epoch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, name: str, doing: Doing, step: Coroutine[Any, Any, Change], epoch: int) -> None:
        begun = time.monotonic()
        try:
            change = await step
        except AdapterError as error:
            change = self._failure(name, error)
        except FAILURES as error:
            change = self._failure(name, Temporary(PROBE_FAILED, f"{doing}: {error or type(error).__name__}"))
        except Exception as error:  # one adapter's surprise must not stop the others
            log.exception("%s of %s broke", doing, name)
            change = self._failure(name, Temporary(PROBE_FAILED, f"{doing}: {error!r}"))
        self._metrics.steps.labels(step=doing).observe(time.monotonic() - begun)
        of_the_engine = doing in ("Loading", "Verifying", "Unloading")
        if epoch != self._epoch and of_the_engine:
            self.held[name] = replace(self.held[name], doing=None)
        else:
            self.held[name] = change(self.held[name])
        self.held[name] = replace(self.held[name], done_at=time.monotonic())
        self._on_done()

    def _failure(self, name: str, error: AdapterError) -> Change:
        log.warning("adapter %s: %s: %s", name, error.reason, error)
        self._metrics.failures.labels(reason=error.reason).inc()
        return lambda held: held.failed(error, time.monotonic())

    async def _fetch(self, wanted: WantedAdapter, spec: EngineObjectSpec) -> Change:
        begun = time.monotonic()
        await asyncio.to_thread(fetch.fetch, wanted, spec, self._place)
        seconds = round(time.monotonic() - begun, 3)
        return lambda held: replace(held.succeeded(), has_files=True, fetch_seconds=seconds)

    async def _load(self, name: str) -> Change:
        begun = time.monotonic()
        await self._vllm.load(name, str(self._place.folder(name)))
        seconds = round(time.monotonic() - begun, 3)
        return lambda held: replace(held, doing=None, load_seconds=seconds)

    async def _verify(self, name: str) -> Change:
        if self._probe is None:
            raise Temporary(PROBE_FAILED, "the engine's model list was not read yet")
        result = await self._probe.verify(name, fetch.read_fingerprint(self._place.folder(name)))
        log.info("adapter %s is verified: %s", name, result.explain())
        return lambda held: replace(
            held.succeeded(),
            verified_at=datetime.now(UTC),
            cosine=round(result.cosine, 6),
            norm_ratio=round(result.norm / result.threshold, 3),
        )

    async def _unload(self, name: str) -> Change:
        await self._vllm.unload(name)
        return lambda held: replace(held, doing=None, verified_at=None)

    async def _delete(self, name: str) -> Change:
        await asyncio.to_thread(fetch.delete, self._place.folder(name))
        return lambda held: replace(held, doing=None, has_files=False)
