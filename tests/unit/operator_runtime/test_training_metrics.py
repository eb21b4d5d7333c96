"""What is counted of training: each transition once, whoever looks how often."""

from __future__ import annotations

from typing import Any

import pytest
from clara_operator.cluster import Cluster
from clara_operator.metrics import StateCollector, note_training_status
from clara_testing import make
from prometheus_client import REGISTRY

START, END = "2026-11-21T12:00:00Z", "2026-11-21T12:05:00Z"


def status(
    truth: str, reason: str, *, since: str = START, attempts: tuple[dict[str, Any], ...] = (), **more: Any
) -> dict[str, Any]:
    top = {"type": "Succeeded", "status": truth, "reason": reason, "lastTransitionTime": since}
    return {"observedGeneration": 1, "conditions": [top], "attempts": list(attempts), **more}


def attempt(number: int = 1, reason: str = "Training", message: str = "", at: str = START) -> dict[str, Any]:
    return {"number": number, "reason": reason, "message": message, "startedAt": at}


@pytest.fixture
def counted():
    """How much a series has grown since the test began."""
    names = ("training_job_duration_seconds_count", "training_job_duration_seconds_sum")

    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    results = ("succeeded", "failed", "dry-run")
    before = {(n, r): value(n, result=r) for n in names for r in results}
    classes = {c: value("training_job_failures_total", **{"class": c}) for c in ("StoreUnreachable", "UriNotAllowed")}
    tokens = value("training_tokens_total")

    class Growth:
        def runs(self, result: str) -> tuple[float, float]:
            count, total = (value(n, result=result) - before[n, result] for n in names)
            return count, total

        def failures(self, reason: str) -> float:
            return value("training_job_failures_total", **{"class": reason}) - classes[reason]

        def tokens(self) -> float:
            return value("training_tokens_total") - tokens

    return Growth()


def test_a_run_that_ends_is_counted_once_with_its_time_and_tokens(counted):
    running = status("Unknown", "Training", attempts=(attempt(),))
    done = status(
        "True", "Succeeded", since=END, attempts=(attempt(),), effective={"epochs": 2}, dataReport={"tokens": 500}
    )
    note_training_status(running, done)
    note_training_status(done, done)
    assert counted.runs("succeeded") == (1, 300)
    assert counted.tokens() == 1000


def test_attempts_of_an_earlier_run_do_not_lengthen_this_one(counted):
    old = attempt(1, "DataInvalid", "line 1", "2026-11-20T09:00:00Z")
    now = attempt(2, at="2026-11-21T12:04:00Z")
    note_training_status(
        status("Unknown", "Training", attempts=(old, now)),
        status("False", "Diverged", since=END, attempts=(old, now)),
    )
    assert counted.runs("failed") == (1, 60)


def test_a_failed_attempt_is_counted_even_when_the_next_one_cures_it(counted):
    failed = attempt(1, "StoreUnreachable", "no answer")
    retrying = status("Unknown", "Retrying", attempts=(failed,))
    note_training_status(status("Unknown", "Training", attempts=(attempt(),)), retrying)
    note_training_status(retrying, status("Unknown", "Training", attempts=(failed, attempt(2))))
    assert counted.failures("StoreUnreachable") == 1


def test_a_refusal_before_any_pod_is_a_failure_without_a_duration(counted):
    note_training_status({}, status("False", "UriNotAllowed"))
    assert counted.failures("UriNotAllowed") == 1
    assert counted.runs("failed") == (0, 0)


def test_a_dry_run_is_its_own_result_and_teaches_nothing(counted):
    done = status("True", "DryRunDone", since=END, attempts=(attempt(),), dataReport={"tokens": 500})
    note_training_status(status("Unknown", "Preparing", attempts=(attempt(),)), done)
    assert counted.runs("dry-run") == (1, 300)
    assert counted.tokens() == 0


def test_a_status_that_cannot_be_read_is_not_counted():
    note_training_status({"progress": "much"}, status("True", "Succeeded"))


def test_who_waits_is_counted_per_namespace():
    known = Cluster()
    known.put("TrainingJob", make.training_job("a", status={"observedGeneration": 1, "queuePosition": 1}))
    known.put("TrainingJob", make.training_job("b"))
    found = {m.name: m for m in StateCollector(known, dict, dict).collect()}
    assert [(s.labels, s.value) for s in found["training_jobs_queued"].samples] == [({"namespace": make.NS}, 1)]
    assert found["active_training_jobs"].samples[0].value == 2
