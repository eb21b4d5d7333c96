"""Engines this gateway stopped trusting by itself, before the cluster noticed. Pure; the clock is handed in.

    in use ──connect error, reset, failed probes──▶ out ──back-off 1 s … 30 s, then GET /health answers──▶ in use

`proxy.py` puts engines out, `prober.py` puts them out and takes them back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from clara_gateway.routing.filters import EngineKey, EngineView

FIRST_BACK_OFF = 1.0
LONGEST_BACK_OFF = 30.0


@dataclass(frozen=True, slots=True)
class Ejection:
    """One engine that is out. `engine` is what it reported about itself when it was last tried."""

    engine: EngineView
    reason: str
    back_off: float
    retry_at: float


class Ejections(Collection[EngineKey]):
    """All engines that are out, by key: a restarted process is a new engine and starts trusted."""

    def __init__(self) -> None:
        self._out: dict[EngineKey, Ejection] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._out

    def __iter__(self) -> Iterator[EngineKey]:
        return iter(self._out)

    def __len__(self) -> int:
        return len(self._out)

    def get(self, key: EngineKey) -> Ejection | None:
        return self._out.get(key)

    def eject(self, engine: EngineView, reason: str, *, now: float) -> bool:
        """Put an engine out; whether it was in use until now."""
        if engine.key in self._out:
            return False
        self._out[engine.key] = Ejection(engine, reason, FIRST_BACK_OFF, now + FIRST_BACK_OFF)
        return True

    def failed_again(self, engine: EngineView, reason: str, *, now: float) -> None:
        """It was probed while out and did not answer: wait twice as long."""
        back_off = min(self._out[engine.key].back_off * 2, LONGEST_BACK_OFF)
        self._out[engine.key] = Ejection(engine, reason, back_off, now + back_off)

    def is_due(self, engine: EngineView, *, now: float) -> bool:
        """Whether to probe an engine that is out: its back-off ended, or it reported something new about itself."""
        ejection = self._out[engine.key]
        return now >= ejection.retry_at or engine != ejection.engine

    def readmit(self, key: EngineKey) -> bool:
        """Take an engine back; whether it had been out."""
        return self._out.pop(key, None) is not None

    def keep_only(self, keys: Collection[EngineKey]) -> None:
        """Forget engines that no longer exist."""
        self._out = {key: ejection for key, ejection in self._out.items() if key in keys}
