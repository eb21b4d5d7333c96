"""What the agent tells Prometheus. One object, made in `sidecar` and handed down."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

STATES = ("Pending", "Fetching", "Loading", "Verifying", "Verified", "Draining", "Failed")


class Metrics:
    """The agent's series, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.engine_healthy = Gauge("clara_agent_engine_healthy", "1 while vLLM answers.", registry=self._registry)
        self.engine_restarts = Counter(
            "clara_agent_engine_losses", "Times the vLLM process was lost.", registry=self._registry
        )
        self._adapters = Gauge("clara_agent_adapters", "Adapters by state.", ["state"], registry=self._registry)
        self.steps = Histogram(
            "clara_agent_step_seconds",
            "Duration of the steps that bring and remove adapters.",
            ["step"],
            registry=self._registry,
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 120),
        )
        self.failures = Counter("clara_agent_failures", "Failed steps by reason.", ["reason"], registry=self._registry)
        self.status_writes = Counter("clara_agent_status_writes", "Status applies.", registry=self._registry)
        self.watch_age = Gauge(
            "clara_agent_watch_age_seconds", "Since the API server last showed life.", registry=self._registry
        )

    def count_adapters(self, states: Iterable[str]) -> None:
        """Set the gauges; states nobody is in are zero, not absent."""
        tally = Tally(states)
        for state in STATES:
            self._adapters.labels(state=state).set(tally[state])

    def exposition(self) -> bytes:
        """The text format."""
        return generate_latest(self._registry)
