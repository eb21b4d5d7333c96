"""The work queue: each key at most once in line, never in two hands, later when asked, later still after failures.

    add ──► ready ──get──► in hand ──done──► gone, or ready again when it was added meanwhile
      add_after/retry ──► waiting (a heap by due time) ──► ready

Fed by the intake, the resync and the progress endpoint; drained by the workers of the leader. Clock and dice are handed in.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import OrderedDict
from collections.abc import Callable

from clara_operator.plan import Key

FIRST_DELAY = 0.5  # seconds after the first failure; doubled by each further one
LONGEST_DELAY = 60.0


class WorkQueue:
    """De-duplicating, delaying, backing off. Only the event loop touches it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, dice: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._dice = dice
        self._ready: OrderedDict[Key, float] = OrderedDict()  # key → since when
        self._in_hand: dict[Key, bool] = {}  # key → added again meanwhile
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def add(self, key: Key) -> None:
        """Look at it as soon as a worker is free."""
        if key in self._in_hand:
            self._in_hand[key] = True
        elif key not in self._ready:
            self._ready[key] = self._clock()
            self._changed.set()

    def add_after(self, key: Key, delay: float) -> None:
        """Look at it then, or sooner if anything else asks for it; of several times the earliest counts."""
        if delay <= 0:
            self.add(key)
            return
        due = self._clock() + delay
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._changed.set()

    def retry(self, key: Key, at_least: float | None = None) -> float:
        """After a failure: wait, longer each time. `at_least` replaces the first delay and bounds the later ones."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        backed_off = min(LONGEST_DELAY, FIRST_DELAY * 2.0**failures) * (0.5 + self._dice() / 2)
        delay = backed_off if at_least is None else at_least if failures == 0 else max(at_least, backed_off)
        self.add_after(key, delay)
        return delay

    def succeeded(self, key: Key) -> None:
        """Forget its failures."""
        self._failures.pop(key, None)

    async def get(self) -> Key | None:
        """The next key, which is now in the caller's hands until `done`; None when the queue was closed."""
        while not self._closed:
            self._move_due()
            if self._ready:
                key, _ = self._ready.popitem(last=False)
                self._in_hand[key] = False
                return key
            await self._wait()
        return None

    def done(self, key: Key) -> None:
        """Out of the caller's hands."""
        if self._in_hand.pop(key):
            self.add(key)

    def close(self) -> None:
        """Hand nothing out any more; whoever waits in `get` is told."""
        self._closed = True
        self._changed.set()

    @property
    def depth(self) -> int:
        """Keys that could be worked on now."""
        self._move_due()
        return len(self._ready)

    @property
    def age(self) -> float:
        """Seconds the oldest ready key has waited."""
        self._move_due()
        return self._clock() - next(iter(self._ready.values())) if self._ready else 0.0

    def _move_due(self) -> None:
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            due, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:  # else: superseded by an earlier time
                del self._due[key]
                self.add(key)

    async def _wait(self) -> None:
        self._changed.clear()
        pause = max(0.0, self._heap[0][0] - self._clock()) if self._heap else None
        try:
            await asyncio.wait_for(self._changed.wait(), pause)
        except TimeoutError:
            return
