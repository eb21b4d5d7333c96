"""How often something may happen per window, for each name apart. Used by the progress endpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Rate:
    """At most `limit` times in `seconds`, counted in fixed windows; what is not asked for any more is forgotten."""

    limit: int
    seconds: float
    clock: Callable[[], float]
    _started: float = 0.0
    _counts: dict[str, int] = field(default_factory=dict)

    def allows(self, name: str) -> bool:
        """Count one more; False when it is one too many."""
        now = self.clock()
        if now - self._started >= self.seconds:
            self._started = now
            self._counts.clear()
        self._counts[name] = self._counts.get(name, 0) + 1
        return self._counts[name] <= self.limit
