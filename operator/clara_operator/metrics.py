"""Every metric of the operator, in one place. Served by `health`.

Of training, for dashboards and alerts:
    training_jobs_total{status,type}          TrainingJobs by reason and method, now
    active_training_jobs                      those that are neither done nor failed, now
    training_jobs_queued{namespace}           those that wait for their turn, now
    training_job_duration_seconds{result}     from the first pod to the end of a run: succeeded, failed or dry-run
    training_job_failures_total{class}        failed attempts, and refusals before one, by reason
    training_tokens_total                     tokens of the training rows times epochs, of runs that succeeded

Counters count transitions that this process wrote: a status write is refused when it was decided on an older state, so each
transition is written, and counted, once; looking again counts nothing.
"""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from clara_api import reasons
from clara_api.meta import Condition, find_condition
from clara_api.training_job import TrainingJobStatus
from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import ValidationError

from clara_operator.cluster import Cluster

RECONCILES = Counter("clara_reconciles", "Reconciles by kind and result", ["kind", "result"])
RECONCILE_SECONDS = Histogram(
    "clara_reconcile_seconds", "Time of one reconcile", ["kind"], buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10)
)
WRITES = Counter("clara_writes", "Objects written to the API server, but Lease and Events", ["kind", "how"])
PROGRESS_MESSAGES = Counter("clara_progress_messages", "Progress messages by answer", ["code"])

RUN_SECONDS = Histogram(
    "training_job_duration_seconds",
    "From the first pod of a run to its end",
    ["result"],
    buckets=(10, 60, 300, 1800, 3600, 4 * 3600, 12 * 3600, 86400, 3 * 86400),
)
TOKENS = Counter("training_tokens", "Tokens of training rows times epochs, of runs that succeeded")
FAILURES = Counter("training_job_failures", "Failed attempts, and refusals before one, by reason", ["class"])

Numbers = Callable[[], Mapping[str, float]]
Ages = Callable[[], Mapping[str, Mapping[str, float]]]  # metric → kind → seconds


def note_training_status(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """A TrainingJob's status was written: count what it says for the first time. Called by `act`."""
    try:
        old, new = TrainingJobStatus.model_validate(before), TrainingJobStatus.model_validate(after)
    except ValidationError:
        return  # a newer version wrote it, and the status says that it cannot be read
    recorded = {(a.number, a.reason) for a in old.attempts}
    failed = [a for a in new.attempts if a.message and (a.number, a.reason) not in recorded]
    for attempt in failed:
        FAILURES.labels(attempt.reason).inc()
    was, now = find_condition(old.conditions, "Succeeded"), find_condition(new.conditions, "Succeeded")
    if now is None or now.status == "Unknown" or (was is not None and was.status == now.status):
        return
    if now.status == "False" and not failed:
        FAILURES.labels(now.reason).inc()
    tried = now.reason == reasons.DRY_RUN_DONE
    _note_seconds(was, now, new, "dry-run" if tried else "succeeded" if now.status == "True" else "failed")
    if now.status == "True" and not tried and new.data_report is not None:
        TOKENS.inc(new.data_report.tokens * float((new.effective or {}).get("epochs", 1)))


def _note_seconds(was: Condition | None, now: Condition, new: TrainingJobStatus, result: str) -> None:
    """Attempts of an earlier run began before this one was accepted."""
    accepted = was.last_transition_time if was is not None and was.status == "Unknown" else None
    starts: list[datetime] = [a.started_at for a in new.attempts if a.started_at is not None]
    mine = [at for at in starts if accepted is None or at >= accepted]
    if mine and now.last_transition_time is not None:
        RUN_SECONDS.labels(result).observe(max(0.0, (now.last_transition_time - min(mine)).total_seconds()))


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
        waiting: Count[str] = Count()
        active = 0
        for namespace, name in self._cluster.keys("TrainingJob"):
            obj = self._cluster.get("TrainingJob", namespace, name) or {}
            status = obj.get("status") or {}
            top = find_condition([Condition.model_validate(c) for c in status.get("conditions") or []], "Succeeded")
            states[top.reason if top else "Pending", (obj.get("spec") or {}).get("method", "lora")] += 1
            active += top is None or top.status == "Unknown"
            waiting[namespace] += "queuePosition" in status
        jobs = GaugeMetricFamily("training_jobs_total", "TrainingJobs by state and method", labels=["status", "type"])
        for (state, method), count in sorted(states.items()):
            jobs.add_metric([state, method], count)
        yield jobs
        queued = GaugeMetricFamily(
            "training_jobs_queued", "TrainingJobs that wait for their turn", labels=["namespace"]
        )
        for namespace, count in sorted(waiting.items()):
            queued.add_metric([namespace], count)
        yield queued
        yield GaugeMetricFamily("active_training_jobs", "TrainingJobs that are neither done nor failed", value=active)


def register(collector: StateCollector) -> None:
    """Once per process."""
    REGISTRY.register(collector)
