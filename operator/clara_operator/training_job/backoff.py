"""How long a run waits between two attempts. Pure: the same for the same object and attempt, so that every look tells it alike."""

from __future__ import annotations

import hashlib
from datetime import timedelta

FIRST_DELAY = timedelta(seconds=10)
LONGEST_DELAY = timedelta(minutes=5)
JITTER = 0.25  # runs that failed together do not come back together


def delay(uid: str, tried: int) -> timedelta:
    """How long to wait after `tried` failed attempts: 10 s, 30 s, 90 s, then 5 min, each within a quarter."""
    digest = hashlib.sha256(f"{uid}/{tried}".encode()).digest()
    dice = int.from_bytes(digest[:8], "big") / 2**64
    whole = min(LONGEST_DELAY, FIRST_DELAY * 3 ** min(tried - 1, 8))
    return timedelta(seconds=round(whole.total_seconds() * (1 - JITTER + 2 * JITTER * dice)))
