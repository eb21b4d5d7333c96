"""What status says while a run goes: percent, ETA, what the pod really does, and what is told once."""

from __future__ import annotations

from typing import Any

import pytest
from clara_api.training_job import DataReport, MemoryPlan
from clara_operator.cluster import Cluster
from clara_operator.plan import Plan
from clara_testing import make
from clara_testing.make import NS
from clara_testing.training import (
    NAME,
    POD,
    digest,
    failed,
    look,
    message,
    names,
    says,
    seen_again,
    state,
    status,
    told,
)

PLAN = MemoryPlan(micro_batch_size=4, accumulation=16)
FINER = MemoryPlan(micro_batch_size=2, accumulation=32, reason="the device ran out of memory")


def training(*, pod: str = POD, **spec: Any) -> Cluster:
    """A job with a running pod that has said nothing yet."""
    job = make.job(NAME, run_digest=digest())
    running = make.job_pod(job)
    running["metadata"]["name"] = pod
    return make.cluster(make.training_job(**spec), job, running)


def reasons(plan: Plan) -> list[str]:
    return [e.reason for e in plan.events]


def progress(plan: Plan) -> dict[str, Any]:
    return dict(status(plan)["progress"])


def test_a_preparing_pod_says_what_it_really_does():
    known = training()
    says(known, phase="waits for the store")
    plan = look(known)
    assert state(plan) == "Preparing"
    assert message(plan) == f"attempt 1 of 4: pod {POD} waits for the store"


def test_a_phase_moves_no_progress_and_keeps_what_was_known():
    known = training()
    says(known, 0, step=10, total_steps=60, loss=0.7)
    says(known, 5, phase="uploads a checkpoint")
    assert {k: progress(look(known))[k] for k in ("step", "percent", "loss", "phase")} == {
        "step": 10, "percent": 16, "loss": 0.7, "phase": "uploads a checkpoint",
    }  # fmt: skip


def test_the_pods_own_numbers_are_shown():
    known = training()
    says(known, step=10, total_steps=60, learning_rate=1e-4, checkpoint_step=8, peak_memory_bytes=7, memory=PLAN)
    shown = progress(look(known))
    assert (shown["learningRate"], shown["checkpointStep"], shown["peakMemoryBytes"]) == (1e-4, 8, 7)
    assert shown["memory"]["microBatchSize"] == 4


def test_the_data_report_is_known_while_the_run_goes_and_forgotten_when_another_begins():
    known = training()
    says(known, phase="loads the base", data=DataReport(rows=24, training_rows=20, dropped_duplicates=4))
    plan = look(known)
    assert status(plan)["dataReport"]["droppedDuplicates"] == 4
    tj = make.training_job(rerun=1) | {"status": status(plan)}
    tj["metadata"]["generation"] = 2
    again = look(make.cluster(tj))
    assert names(again) == [f"ConfigMap/{NAME}-train-2", f"Job/{NAME}-train-2"]
    assert "dataReport" not in status(again)


def test_after_all_steps_the_pod_is_publishing():
    known = training()
    says(known, step=60, total_steps=60, phase="converts the adapter")
    plan = look(known)
    assert state(plan) == "Publishing"
    assert message(plan).endswith("converts the adapter")


def test_the_eta_after_a_resume_counts_only_steps_of_this_pod():
    known = training()
    says(known, 0, step=10, total_steps=200)
    says(known, 100, step=110, total_steps=200)
    seen_again(known, look(known))
    known.forget("Pod", NS, POD)
    second = make.job_pod(make.job(NAME, run_digest=digest()))
    second["metadata"]["name"] = "second"
    known.put("Pod", second)
    says(known, 200, pod="second", step=100, total_steps=200, resumed_from_step=100, interruptions=1)
    assert "etaSeconds" not in progress(look(known))
    says(known, 220, pod="second", step=110, total_steps=200)
    assert progress(look(known))["etaSeconds"] == 180


def test_a_new_pod_begins_at_what_was_saved_and_not_at_what_was_lost():
    known = training()
    says(known, step=130, total_steps=200, checkpoint_step=120, memory=PLAN)
    seen_again(known, look(known))
    job, ended = failed(make.training_job(), failure="Preempted")
    job["status"]["conditions"] = []
    known.put("Job", job)
    known.put("Pod", ended)
    plan = look(known)
    assert state(plan) == "Preempted"
    assert "another goes on at step 120" in message(plan)
    assert (progress(plan)["percent"], progress(plan)["step"]) == (60, 120)
    assert progress(plan)["memory"]["accumulation"] == 16


def test_what_an_earlier_pod_said_is_not_the_new_ones():
    known = training(pod="second")
    says(known, pod="first", step=130, total_steps=200, checkpoint_step=120)
    plan = look(known)
    assert state(plan) == "Preparing"
    assert "progress" not in status(plan)


def test_without_a_checkpoint_nothing_is_claimed():
    known = training()
    says(known, step=30, total_steps=200)
    seen_again(known, look(known))
    job, ended = failed(make.training_job(), failure="Preempted")
    job["status"]["conditions"] = []
    known.put("Job", job)
    known.put("Pod", ended)
    assert "progress" not in status(look(known))


def test_a_new_operator_keeps_what_the_last_one_knew_until_the_pod_speaks():
    known = training()
    says(known, step=130, total_steps=200, checkpoint_step=100)
    first = look(known)
    forgetful = seen_again(training(), first)
    assert look(forgetful).is_empty
    assert state(first) == "Training"


def test_a_fallback_base_begins_with_nothing():
    other = {"name": "mini-de", "uri": "s3://clara/models/mini-de", "digest": "sha256:" + "d" * 64}
    tj = make.training_job(fallbackBaseModels=[other])
    known = make.cluster(tj, make.serving_deployment(baseModel=other), *failed(tj, failure="OutOfMemory"))
    before = {"progress": {"step": 50, "totalSteps": 60, "percent": 83, "checkpointStep": 50}, "observedGeneration": 1}
    known.put("TrainingJob", tj | {"status": before})
    assert "progress" not in status(look(known, now=make.T0.replace(hour=14)))


def test_a_resume_is_told_once_with_step_and_interruptions():
    known = training()
    says(known, step=121, total_steps=200, resumed_from_step=120, interruptions=2)
    plan = look(known)
    assert reasons(plan) == ["Training", "Resumed"]
    assert plan.events[1].message == "the run goes on from the checkpoint of step 120; 2 interruptions so far"
    seen_again(known, plan)
    says(known, 1, step=122, total_steps=200)
    assert reasons(look(known)) == []


def test_a_step_that_is_cut_finer_is_told_and_the_plan_it_began_with_is_not():
    known = training()
    says(known, step=1, total_steps=200, memory=PLAN)
    plan = look(known)
    assert reasons(plan) == ["Training"]
    seen_again(known, plan)
    says(known, 1, step=1, total_steps=200, memory=FINER)
    (event,) = look(known).events
    assert event.reason == "MemoryPlanChanged"
    assert event.message == "a step is 32 x 2 examples: the device ran out of memory"


@pytest.mark.parametrize("disruption", ["DeletionByPodGC", "EvictionByEvictionAPI"])
def test_a_pod_that_is_taken_away_is_told_by_who_took_it(disruption: str):
    job = make.job(NAME, run_digest=digest())
    gone = {"type": "DisruptionTarget", "status": "True", "reason": disruption}
    known = make.cluster(make.training_job(), job, make.job_pod(job, conditions=[gone]))
    plan = look(known)
    assert state(plan) == ("NodeLost" if disruption == "DeletionByPodGC" else "Preempted")
    assert plan.events[0].type == "Warning"


# -- outcomes --------------------------------------------------------------------------------------------------------------


def test_what_the_outcome_says_is_in_status():
    known = make.cluster(make.training_job(), job := make.job(NAME, run_digest=digest()))
    data = {"rows": 10, "training_rows": 9, "tokens": 900}
    known.put("Pod", make.job_pod(job, exit_code=0, outcome=make.success(data=data, memory=FINER, resumed_from_step=7)))
    shown = status(look(known))
    assert shown["weightsDigest"] == make.WEIGHTS_DIGEST
    assert shown["baseModel"] == {"name": "tiny-de", "digest": make.BASE_DIGEST}
    assert shown["dataReport"]["trainingRows"] == 9
    assert shown["progress"]["memory"]["accumulation"] == 32
    assert (shown["progress"]["percent"], shown["progress"]["resumedFromStep"]) == (100, 7)


def test_a_dry_run_reports_locks_nothing_and_publishes_nothing():
    tj = make.training_job(dryRun=True)
    known = make.cluster(tj, job := make.job(NAME, run_digest=digest(tj), finished="Complete"))
    report = {"total_steps": 120, "seconds_per_step": 2.5, "estimated_seconds": 300, "peak_memory_bytes": 2**31}
    outcome = make.success(artifact_uri=None, artifact_digest=None, step=1, total_steps=1, dry_run=report)
    known.put("Pod", make.job_pod(job, phase="Succeeded", exit_code=0, outcome=outcome))
    plan = look(known)
    assert plan.create == ()
    assert (state(plan), told(plan)["status"]) == ("DryRunDone", "True")
    assert message(plan).startswith("one step took 2.50 s and 2.0 GiB; 120 steps would take about 5 min")
    assert status(plan)["recipeLocked"] is False
    assert status(plan)["dryRun"]["totalSteps"] == 120
    known = seen_again(make.cluster(tj), plan)
    assert look(known).is_empty, "its Job was removed: the same spec is not tried twice"
    real = make.training_job() | {"status": status(plan)}
    real["metadata"]["generation"] = 2
    assert look(make.cluster(real)).create


@pytest.mark.parametrize("failure", ["DataInvalid", "DataChanged"])
def test_data_that_cannot_be_used_shows_in_its_own_condition(failure: Any):
    tj = make.training_job()
    ready = told(look(make.cluster(tj, *failed(tj, failure=failure))), "DataReady")
    assert (ready["status"], ready["reason"]) == ("False", failure)
