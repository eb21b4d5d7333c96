"""Every metric of the operator, in one place. Served by `health`."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Iterator, Mapping

from clara_api.meta import Condition, find_condition
from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from clara_operator.cluster import Cluster

RECONCILES = Counter("clara_reconciles", "Reconciles by kind and result", ["kind", "result"])
RECONCILE_SECONDS = Histogram(
    "clara_reconcile_seconds", "Time of one reconcile", ["kind"], buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10)
)
WRITES = Counter("clara_writes", "Objects written to the API server, but Lease and Events", ["kind", "how"])
PROGRESS_MESSAGES = Counter("clara_progress_messages", "Progress messages by answer", ["code"])

Numbers = Callable[[], Mapping[str, float]]
Ages = Callable[[], Mapping[str, Mapping[str, float]]]  # metric → kind → seconds


class StateCollector(Collector):
    """Gauges computed at scrape time from the cache and the queue: nothing to keep in step."""

    def __init__(self, cluster: Cluster, numbers: Numbers, ages: Ages) -> None:
        self._cluster = cluster
        self._numbers = numbers
        self._ages = ages

    def collect(self) -> Iterator[Metric]:
        """One scrape."""
        yield from self._jobs()
        for name, value in self._numbers().items():
            yield GaugeMetricFamily(f"clara_{name}", name.replace("_", " "), value=value)
        for name, by_kind in self._ages().items():
            gauge = GaugeMetricFamily(f"clara_{name}", name.replace("_", " "), labels=["kind"])
            for kind, seconds in by_kind.items():
                gauge.add_metric([kind], seconds)
            yield gauge

    def _jobs(self) -> Iterator[Metric]:
        states: Count[tuple[str, str]] = Count()
        active = 0
        for namespace, name in self._cluster.keys("TrainingJob"):
            obj = self._cluster.get("TrainingJob", namespace, name) or {}
            status = obj.get("status") or {}
            top = find_condition([Condition.model_validate(c) for c in status.get("conditions") or []], "Succeeded")
            states[top.reason if top else "Pending", (obj.get("spec") or {}).get("method", "lora")] += 1
            active += top is None or top.status == "Unknown"
        jobs = GaugeMetricFamily("training_jobs_total", "TrainingJobs by state and method", labels=["status", "type"])
        for (state, method), count in sorted(states.items()):
            jobs.add_metric([state, method], count)
        yield jobs
        yield GaugeMetricFamily("active_training_jobs", "TrainingJobs that are neither done nor failed", value=active)


def register(collector: StateCollector) -> None:
    """Once per process."""
    REGISTRY.register(collector)
