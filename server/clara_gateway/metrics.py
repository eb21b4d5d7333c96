"""Prometheus metrics per family and version. Filled in by `middleware.py`; served by `app.py` on the port of their own.

Family and version come from routes only, never from what a client wrote: the number of series is bounded. The base counts
as a family of its name without version; what resolved to nothing has neither.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from clara_gateway.exchange import Exchange

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """All series of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        served = ("family", "version")
        self._requests = Counter(
            "clara_gateway_requests", "Requests by what they resolved to.", (*served, "code"), registry=self.registry
        )
        self._seconds = Histogram(
            "clara_gateway_request_seconds", "Whole answer.", served, buckets=_SECONDS, registry=self.registry
        )
        self._first_byte = Histogram(
            "clara_gateway_first_byte_seconds",
            "Time to the first event of a streamed answer.",
            served,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._tokens = Counter(
            "clara_gateway_tokens", "Tokens as engines reported them.", (*served, "kind"), registry=self.registry
        )
        self._retries = Counter(
            "clara_gateway_retries", "Attempts that went to another engine.", ("reason",), registry=self.registry
        )

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A gauge that is read when scraped."""
        Gauge(f"clara_gateway_{name}", about, registry=self.registry).set_function(value)

    def record(self, exchange: Exchange, tokens: dict[str, int]) -> None:
        """Count one finished request."""
        target = exchange.target
        served = ((target.family or target.public_name), (target.version or "")) if target else ("", "")
        self._requests.labels(*served, str(exchange.status)).inc()
        for reason, times in exchange.retries.items():
            self._retries.labels(reason).inc(times)
        if not exchange.engine:
            return
        self._seconds.labels(*served).observe(exchange.seconds())
        if exchange.first_byte is not None:
            self._first_byte.labels(*served).observe(exchange.first_byte)
        for kind, count in tokens.items():
            self._tokens.labels(*served, kind.removesuffix("_tokens")).inc(count)
