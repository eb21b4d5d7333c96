"""SIGTERM while steps are taken: finish the pass at hand, save, end. Elsewhere it unwinds at once (outcome.py). For train.py."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether the pod was told to go."""

    def __init__(self) -> None:
        self.requested = False

    def request(self, signum: int, frame: FrameType | None) -> None:
        """Signal handler; a second signal changes nothing."""
        self.requested = True


@contextmanager
def on_request() -> Iterator[Stop]:
    """While inside, SIGTERM only asks. The handler of before comes back at the end."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # tests run in threads; signals belong to the main one
        return
    before = signal.signal(signal.SIGTERM, stop.request)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
