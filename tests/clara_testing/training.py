"""A look at one TrainingJob, and what came of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from clara_api.handoff.outcome import EXIT_CODES, FailureClass, Outcome
from clara_api.handoff.run import RUN, TrainRun
from clara_api.training_job import TrainingJobSpec
from clara_operator.cluster import Cluster, ProgressSample
from clara_operator.plan import Key, Plan
from clara_operator.training_job.recipe import run_digest
from clara_operator.training_job.reconcile import reconcile

from clara_testing import make
from clara_testing.make import NS, T0, Object

NAME = "steuerrecht-2026-11"
POD = f"{NAME}-train-1-xyz"


def look(known: Cluster, *, name: str = NAME, now: datetime = T0, **settings: Any) -> Plan:
    """One pass over the job."""
    plan = reconcile(Key("TrainingJob", NS, name), known, make.settings(**settings), now)
    assert plan is not None
    return plan


def digest(tj: Object | None = None) -> str:
    """The run a job's spec asks for."""
    return run_digest(TrainingJobSpec.model_validate((tj or make.training_job())["spec"]))


def status(plan: Plan) -> Object:
    """The status it writes."""
    assert plan.status is not None
    return dict(plan.status.status)


def told(plan: Plan, type_: str = "Succeeded") -> Object:
    """One of its conditions."""
    return next(c for c in status(plan)["conditions"] if c["type"] == type_)


def state(plan: Plan) -> str:
    """The reason of the top condition."""
    return str(told(plan)["reason"])


def message(plan: Plan) -> str:
    """The message of the top condition."""
    return str(told(plan)["message"])


def names(plan: Plan) -> list[str]:
    """What it creates."""
    return [f"{c.manifest['kind']}/{c.manifest['metadata']['name']}" for c in plan.create]


def run_of(plan: Plan) -> TrainRun:
    """What the pod it creates is told."""
    run = RUN.validate_json(plan.create[0].manifest["data"]["run.json"])
    assert isinstance(run, TrainRun)
    return run


def job_of(plan: Plan) -> Object:
    """The Job it creates."""
    return plan.create[1].manifest


def seen_again(known: Cluster, plan: Plan, name: str = NAME) -> Cluster:
    """The same cluster after the status was written."""
    tj = known.get("TrainingJob", NS, name)
    assert tj is not None
    known.put("TrainingJob", tj | {"status": status(plan)})
    return known


def failed(
    tj: Object,
    attempt: int = 1,
    failure: FailureClass | None = None,
    *,
    exit_code: int | None = None,
    said: str = "no answer",
    **job: Any,
) -> tuple[Object, Object]:
    """An attempt that failed, and its pod: with an outcome of that class, or with an exit code only."""
    made = make.job(tj["metadata"]["name"], attempt=attempt, run_digest=digest(tj), finished="Failed", **job)
    outcome = Outcome(result="Failed", failure=failure, message=said, log_tail=["last line"]) if failure else None
    code = EXIT_CODES[failure] if failure else exit_code
    return made, make.job_pod(made, phase="Failed", exit_code=code, outcome=outcome)


def killed(tj: Object, attempt: int = 1, **job: Any) -> tuple[Object, Object]:
    """An attempt whose pod the kernel killed for its memory."""
    made = make.job(tj["metadata"]["name"], attempt=attempt, run_digest=digest(tj), finished="Failed", **job)
    return made, make.job_pod(made, phase="Failed", exit_code=137, ended="OOMKilled")


def says(known: Cluster, second: float = 0, *, pod: str = POD, attempt: int = 1, **said: Any) -> None:
    """A message of a pod, so many seconds after T0."""
    sample = ProgressSample(at=T0 + timedelta(seconds=second), pod=pod, **said)
    known.record_progress(NS, NAME, attempt, sample)
