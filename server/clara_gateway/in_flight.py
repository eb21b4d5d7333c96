"""Requests that engines are answering now. `upstream.py` holds them, `routing/` counts them, `prober.py` gives up on those
of a silent engine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from clara_gateway.routing.filters import EngineKey, EngineView, Placement

_Counted = TypeVar("_Counted", EngineKey, tuple[EngineKey, str])


@dataclass(eq=False, slots=True)
class Attempt:
    """One request at one engine. `heard_at`: loop time of the last byte from it."""

    placement: Placement
    heard_at: float
    guard: asyncio.Timeout | None = None
    abandoned: bool = False

    def heard(self) -> None:
        self.heard_at = asyncio.get_running_loop().time()

    def abandon(self) -> None:
        """End it from outside: the task that awaits the engine gets a TimeoutError."""
        if self.guard and not self.abandoned and not self.guard.expired():
            self.abandoned = True
            self.guard.reschedule(asyncio.get_running_loop().time())


class InFlight:
    """Every attempt, by engine."""

    def __init__(self) -> None:
        self.counts: Counter[EngineKey] = Counter()
        self.running: Counter[tuple[EngineKey, str]] = Counter()
        self._attempts: dict[EngineKey, set[Attempt]] = {}

    @contextmanager
    def hold(self, placement: Placement) -> Iterator[Attempt]:
        """Count a request at its engine until the block ends."""
        key, name = placement.engine.key, (placement.engine.key, placement.served_name)
        attempt = Attempt(placement, asyncio.get_running_loop().time())
        self._attempts.setdefault(key, set()).add(attempt)
        self.counts[key] += 1
        self.running[name] += 1
        try:
            yield attempt
        finally:
            self._drop(key, name, attempt)

    def engines(self) -> list[EngineView]:
        """Engines that answer something now, also those the cluster already forgot."""
        return [next(iter(attempts)).placement.engine for attempts in self._attempts.values()]

    def abandon(self, key: EngineKey, *, silent_since: float) -> int:
        """Give up the attempts of an engine that sent nothing since then; how many."""
        silent: Set[Attempt] = {a for a in self._attempts.get(key, ()) if a.heard_at < silent_since}
        for attempt in silent:
            attempt.abandon()
        return len(silent)

    def _drop(self, key: EngineKey, name: tuple[EngineKey, str], attempt: Attempt) -> None:
        self._attempts[key].discard(attempt)
        _decrease(self.counts, key)
        _decrease(self.running, name)
        if not self._attempts[key]:
            del self._attempts[key]


def _decrease(counter: Counter[_Counted], entry: _Counted) -> None:
    counter[entry] -= 1
    if not counter[entry]:
        del counter[entry]
