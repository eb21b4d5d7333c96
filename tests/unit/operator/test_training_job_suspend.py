"""spec.suspend, and the time a run may take."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from clara_api import labels
from clara_operator.plan import Patch
from clara_operator.training_job.deadline import seconds_of
from clara_testing import make
from clara_testing.make import T0
from clara_testing.training import (
    NAME,
    digest,
    failed,
    job_of,
    look,
    message,
    names,
    says,
    seen_again,
    state,
    status,
    told,
)

PAUSED = {"suspend": True}


def running(**job: Any) -> dict[str, Any]:
    return make.job(NAME, run_digest=digest(), deadline=43200, **job)


def patch_of(plan: Any) -> Patch:
    (patch,) = plan.patch
    return patch


def test_a_job_that_is_suspended_from_the_start_gets_nothing():
    plan = look(make.cluster(make.training_job(**PAUSED)))
    assert plan.create == ()
    assert state(plan) == "Suspended"
    assert told(plan)["status"] == "Unknown"
    assert status(plan)["recipeLocked"] is False
    assert "spec.suspend: false" in message(plan)


def test_a_running_job_is_told_to_stop_by_one_patch_of_what_was_seen():
    job = running(started=T0 - timedelta(minutes=5))
    plan = look(make.cluster(make.training_job(**PAUSED), job, make.job_pod(job)))
    patch = patch_of(plan)
    assert (patch.ref.name, patch.ref.uid, patch.ref.resource_version) == (
        f"{NAME}-train-1",
        f"uid-{NAME}-train-1",
        "1",
    )
    assert patch.body == {
        "metadata": {"annotations": {labels.SUSPENDED: "true", labels.ACTIVE_SECONDS: "300"}},
        "spec": {"suspend": True, "activeDeadlineSeconds": None},
    }
    assert state(plan) == "Suspended"
    assert message(plan) == f"pod {NAME}-train-1-xyz saves a checkpoint and stops"
    assert status(plan)["recipeLocked"] is True


def test_a_suspended_job_is_not_patched_again_and_names_its_checkpoint():
    tj = make.training_job(**PAUSED)
    known = make.cluster(tj, job := running(suspended=True, active_before=300), make.job_pod(job))
    says(known, step=130, total_steps=200, checkpoint_step=120)
    seen_again(known, look(known))
    known.forget("Pod", make.NS, f"{NAME}-train-1-xyz")
    plan = look(known)
    assert plan.patch == ()
    assert message(plan) == "stopped at the checkpoint of step 120; spec.suspend: false goes on there"
    assert status(plan)["progress"]["percent"] == 60
    assert look(seen_again(known, plan)).is_empty


def test_it_goes_on_when_suspend_is_taken_back():
    plan = look(make.cluster(make.training_job(), running(suspended=True, parked=True, active_before=300)))
    assert patch_of(plan).body == {
        "metadata": {"annotations": {labels.SUSPENDED: None}},
        "spec": {"suspend": False},
    }
    assert plan.create == ()


def test_going_on_takes_its_turn_like_everybody():
    busy = make.training_job("other")
    known = make.cluster(make.training_job(), running(suspended=True), busy, make.job("other", run_digest=digest(busy)))
    plan = look(known, max_running_jobs=1)
    assert plan.patch == ()
    assert state(plan) == "Queued"
    assert status(plan)["recipeLocked"] is True


def test_what_somebody_else_suspended_is_left_to_them():
    plan = look(make.cluster(make.training_job(), running(suspended="other")))
    assert plan.patch == ()
    assert "somebody else" in message(plan)


def test_a_pod_that_was_killed_while_stopping_does_not_end_the_run():
    job, pod = failed(make.training_job(), exit_code=137, suspended=True)
    waits = look(make.cluster(make.training_job(**PAUSED), job, pod))
    assert (state(waits), waits.create) == ("Suspended", ())
    again = look(make.cluster(make.training_job(), job, pod), now=T0 + timedelta(minutes=10))
    assert names(again)[1] == f"Job/{NAME}-train-2"


def test_suspending_between_two_attempts_makes_no_next_one():
    tj = make.training_job(**PAUSED)
    plan = look(make.cluster(tj, *failed(tj, failure="StoreUnreachable")), now=T0 + timedelta(hours=1))
    assert (state(plan), plan.create) == ("Suspended", ())


def test_what_stopped_for_good_says_why_even_when_it_is_suspended():
    tj = make.training_job(**PAUSED)
    assert state(look(make.cluster(tj, *failed(tj, failure="DataInvalid")))) == "DataInvalid"


# -- retry.maxDuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "seconds"), [("45s", 45), ("90m", 5400), ("12h", 43200), ("3d", 259200)])
def test_durations_are_read(text: str, seconds: int):
    assert seconds_of(text) == seconds


def test_an_attempt_gets_what_the_earlier_ones_left():
    tj = make.training_job(retry={"maxDuration": "2h"})
    hour = failed(tj, failure="StoreUnreachable", started=T0 - timedelta(hours=1), at=T0 - timedelta(minutes=30))
    plan = look(make.cluster(tj, *hour), now=T0 + timedelta(hours=5))
    assert job_of(plan)["spec"]["activeDeadlineSeconds"] == 90 * 60


def test_time_in_suspension_does_not_count():
    tj = make.training_job(retry={"maxDuration": "2h"})
    first = failed(tj, failure="StoreUnreachable", started=T0 - timedelta(minutes=10), at=T0, active_before=600)
    plan = look(make.cluster(tj, *first), now=T0 + timedelta(hours=5))
    assert job_of(plan)["spec"]["activeDeadlineSeconds"] == 100 * 60


def test_after_a_suspension_the_deadline_is_put_back_when_the_jobs_clock_is_new():
    tj = make.training_job(retry={"maxDuration": "2h"})
    resuming = make.job(NAME, run_digest=digest(), active_before=600, parked=True)
    assert look(make.cluster(tj, resuming)).patch == ()
    resumed = make.job(NAME, run_digest=digest(), active_before=600)
    assert patch_of(look(make.cluster(tj, resumed))).body == {"spec": {"activeDeadlineSeconds": 6600}}


def test_a_raised_max_duration_reaches_the_running_job():
    known = make.cluster(make.training_job(retry={"maxDuration": "13h"}), running())
    assert patch_of(look(known)).body == {"spec": {"activeDeadlineSeconds": 13 * 3600}}
    assert look(make.cluster(make.training_job(), running())).patch == ()


def test_a_job_of_an_operator_that_set_no_deadline_is_left_alone():
    assert look(make.cluster(make.training_job(), make.job(NAME, run_digest=digest()))).patch == ()


def test_a_run_out_of_time_says_how_to_go_on_and_goes_on_when_it_is_raised():
    tj = make.training_job(retry={"maxDuration": "30m"})
    over = {"started": T0 - timedelta(minutes=31), "at": T0 - timedelta(minutes=1), "reason": "DeadlineExceeded"}
    first = failed(tj, failure="Preempted", **over)
    plan = look(make.cluster(tj, *first), now=T0)
    assert state(plan) == "DeadlineExceeded"
    assert "retry.maxDuration 30m is used up; raise it" in message(plan)
    assert status(plan)["attempts"][0]["reason"] == "DeadlineExceeded", "its pod said Preempted: it was told to stop"
    longer = make.training_job(retry={"maxDuration": "1h"})
    assert (
        job_of(look(make.cluster(longer, *first), now=T0 + timedelta(minutes=5)))["spec"]["activeDeadlineSeconds"]
        == 1800
    )


def test_no_attempt_begins_without_time():
    tj = make.training_job(retry={"maxDuration": "30m"})
    plan = look(make.cluster(tj, *failed(tj, failure="StoreUnreachable", started=T0 - timedelta(minutes=31))))
    assert (state(plan), plan.create) == ("DeadlineExceeded", ())


def test_a_suspended_job_that_could_not_be_served_any_more_keeps_its_recipe_locked():
    """Its Job would go on with the old recipe: a changed one must not be published under its name."""
    job = running(suspended=True, active_before=300)
    engines = make.serving_deployment(engine={"replicas": 2, "maxLoraRank": 8})
    plan = look(make.cluster(make.training_job(), job, engines))
    assert (state(plan), plan.patch) == ("NotServable", ())
    assert status(plan)["recipeLocked"] is True
