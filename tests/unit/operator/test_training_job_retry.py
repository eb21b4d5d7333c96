"""What follows a failed attempt, class by class."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from clara_api.handoff.outcome import EXIT_CODES, Outcome
from clara_operator.plan import Plan
from clara_operator.training_job.backoff import delay
from clara_testing import make
from clara_testing.make import NS, T0
from clara_testing.training import (
    NAME,
    digest,
    failed,
    job_of,
    killed,
    look,
    message,
    names,
    run_of,
    seen_again,
    state,
    status,
)

OTHER = "sha256:" + "d" * 64
LATER = T0 + timedelta(minutes=10)
SMALL = {"name": "mini-de", "uri": "s3://clara/models/mini-de", "digest": OTHER}


def served_on_small() -> dict[str, Any]:
    return make.serving_deployment("klein", baseModel=SMALL)


def after(tj: dict[str, Any], *objects: dict[str, Any], now: Any = LATER) -> Plan:
    return look(make.cluster(tj, *objects), now=now)


@pytest.mark.parametrize(
    "failure",
    ["DataInvalid", "DataChanged", "Diverged", "DiskFull", "NotServable", "ArtifactInvalid", "BaseMismatch"],
)
def test_what_another_attempt_cannot_cure_stops(failure: Any):
    tj = make.training_job()
    plan = after(tj, *failed(tj, failure=failure, said="the case"))
    assert plan.create == ()
    assert state(plan) == failure
    assert message(plan) == "the case (attempt 1 of 4)"
    assert status(plan)["recipeLocked"] is False


@pytest.mark.parametrize("failure", ["StoreUnreachable", "Preempted", "Bug"])
def test_what_may_pass_is_tried_again_after_a_while(failure: Any):
    tj = make.training_job()
    early = after(tj, *failed(tj, failure=failure), now=T0 - timedelta(seconds=59))
    assert state(early) == "Retrying"
    assert early.again_after is not None
    assert message(early).startswith("attempt 1 of 4: no answer; attempt 2 follows at 11:59:")
    assert names(after(tj, *failed(tj, failure=failure))) == [f"ConfigMap/{NAME}-train-2", f"Job/{NAME}-train-2"]


def test_attempts_are_bounded_and_the_last_message_says_so():
    tj = make.training_job(retry={"maxAttempts": 2})
    first = failed(tj, failure="StoreUnreachable")
    last = after(tj, *first, *failed(tj, 2, "StoreUnreachable"))
    assert last.create == ()
    assert state(last) == "StoreUnreachable"
    assert message(last) == "no answer (attempt 2 of 2; raise retry.maxAttempts for more)"


def test_attempts_of_another_recipe_do_not_count():
    old = make.training_job(retry={"maxAttempts": 1}, hyperparameters={"rank": 8})
    tj = make.training_job(retry={"maxAttempts": 1})
    assert names(after(tj, *failed(old, failure="DataInvalid")))[1] == f"Job/{NAME}-train-2"


def test_a_bug_is_tried_once_more():
    tj = make.training_job()
    known = make.cluster(tj, *failed(tj, exit_code=1))
    assert "kubectl logs" not in message(look(known, now=T0 - timedelta(seconds=59)))
    second = make.cluster(tj, *failed(tj, exit_code=1), *failed(tj, 2, exit_code=1))
    plan = look(second, now=LATER)
    assert plan.create == ()
    assert state(plan) == "Bug"
    assert "kubectl logs" in message(plan)


def test_a_bug_whose_pod_is_gone_is_remembered_in_status():
    tj = make.training_job()
    job, _ = failed(tj, exit_code=1)
    known = make.cluster(tj, *failed(tj, exit_code=1))
    seen_again(known, look(known, now=T0 - timedelta(seconds=59)))
    tj = known.get("TrainingJob", NS, NAME)
    assert tj is not None
    assert state(after(tj, job, *failed(tj, 2, exit_code=1))) == "Bug"


def test_a_pod_the_kernel_killed_is_followed_by_one_that_cuts_the_step_finer():
    tj = make.training_job()
    early = after(tj, *killed(tj), now=T0 - timedelta(seconds=59))
    assert "the step cut finer (level 1 of 3)" in message(early)
    plan = after(tj, *killed(tj))
    assert run_of(plan).memory_level == 1
    assert job_of(plan)["metadata"]["annotations"]["clara.vcc.dev/memory-level"] == "1"
    again = after(tj, *killed(tj), *killed(tj, 2, level=1))
    assert run_of(again).memory_level == 2


def test_a_pod_killed_on_its_node_for_another_reason_is_followed_by_one_that_cuts_the_step_as_before():
    """Finer would be another order of sums: an undisturbed run and this one must end in the same bits."""
    tj = make.training_job()
    early = after(tj, *failed(tj, exit_code=137), now=T0 - timedelta(seconds=59))
    assert "was killed on its node, not for its memory" in message(early)
    assert run_of(after(tj, *failed(tj, exit_code=137))).memory_level == 0


def test_at_the_finest_level_the_message_says_which_limit_to_raise():
    plan = after(tj := make.training_job(), *killed(tj, level=3))
    assert plan.create == ()
    assert state(plan) == "OutOfMemory"
    assert "resources.limits.memory; raise it: the run goes on from its newest checkpoint" in message(plan)


@pytest.mark.parametrize(
    ("failure", "more"),
    [
        ("DiskFull", {"scratch": "20Gi"}),
        ("OutOfMemory", {"resources": {"limits": {"memory": "8Gi"}}}),
        ("Diverged", {}),
    ],
)
def test_more_room_lets_a_run_go_on_from_its_checkpoint(failure: Any, more: dict[str, Any]):
    tj = make.training_job()
    first = job_of(look(make.cluster(tj)))
    made, pod = failed(tj, failure=failure, said="not enough; raise it")
    made["metadata"]["annotations"] |= first["metadata"]["annotations"]
    assert look(make.cluster(tj, made, pod), now=LATER).create == ()
    roomier = make.training_job(**more, retry={"maxAttempts": 1})
    roomier["metadata"]["generation"] = 2
    plan = look(make.cluster(roomier, made, pod), now=LATER)
    if more:
        assert run_of(plan).run_uri == run_of(look(make.cluster(tj))).run_uri, "the checkpoints are the run's"
        assert run_of(plan).attempt == 2
    else:
        assert state(plan) == "Diverged"


def test_one_process_of_many_that_the_kernel_took_is_a_lack_of_memory():
    tj = make.training_job()
    made = make.job(NAME, run_digest=digest(tj), finished="Failed")
    told = Outcome(result="Failed", failure="Bug", message="worker-1 ended without a word")
    pod = make.job_pod(made, phase="Failed", exit_code=EXIT_CODES["Bug"], outcome=told, ended="OOMKilled")
    plan = look(make.cluster(tj, made, pod), now=LATER)
    assert run_of(plan).memory_level == 1


@pytest.mark.parametrize("code", [EXIT_CODES["Preempted"], 137])
@pytest.mark.parametrize(
    ("words", "cure"),
    [
        ('Usage of EmptyDir volume "scratch" exceeds the limit "10Gi". ', "raise spec.scratch: the run goes on"),
        ('Container trainer exceeded its local ephemeral storage limit "1Gi". ', 'limits["ephemeral-storage"]'),
        (
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
            'raise spec.resources.limits["ephemeral-storage"]',
        ),
    ],
)
def test_a_pod_evicted_for_what_it_wrote_is_not_tried_again(code: int, words: str, cure: str):
    """The kubelet tells it to stop like any other; were it believed that it was only moved, the next would fill up, too."""
    tj = make.training_job()
    made = make.job(NAME, run_digest=digest(tj), finished="Failed")
    told = Outcome(result="Failed", failure="Preempted", message="the pod was told to stop")
    pod = make.job_pod(made, phase="Failed", exit_code=code, outcome=told, reason="Evicted", message=words)
    plan = look(make.cluster(tj, made, pod))
    assert (state(plan), plan.create) == ("DiskFull", ())
    assert cure in message(plan)


@pytest.mark.parametrize(
    "words",
    [
        "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 512Mi. ",
        "The node was low on resource: memory. Container trainer was using 3Gi, which exceeds its request of 1Gi. ",
    ],
)
def test_a_pod_evicted_because_its_node_ran_full_is_tried_again(words: str):
    tj = make.training_job()
    made = make.job(NAME, run_digest=digest(tj), finished="Failed")
    pod = make.job_pod(made, phase="Failed", exit_code=137, reason="Evicted", message=words)
    assert state(look(make.cluster(tj, made, pod))) != "DiskFull"


@pytest.mark.parametrize("failure", ["OutOfMemory", "BaseModelUnavailable"])
def test_what_the_trainer_could_not_solve_goes_to_the_next_base(failure: Any):
    tj = make.training_job(fallbackBaseModels=[SMALL])
    early = after(tj, *failed(tj, failure=failure), served_on_small(), now=T0 - timedelta(seconds=59))
    assert "fallback base mini-de is used" in message(early)
    run = run_of(after(tj, *failed(tj, failure=failure), served_on_small()))
    assert run.base_model.name == "mini-de"
    assert run.memory_level == 0
    assert run.run_uri.endswith("/dddddddd")


@pytest.mark.parametrize("failure", ["OutOfMemory", "BaseModelUnavailable"])
def test_without_a_fallback_it_stops_at_once(failure: Any):
    plan = after(tj := make.training_job(), *failed(tj, failure=failure))
    assert plan.create == ()
    assert state(plan) == failure


def test_a_fallback_nobody_could_serve_is_skipped_and_named():
    tj = make.training_job(fallbackBaseModels=[SMALL])
    plan = after(tj, *failed(tj, failure="BaseModelUnavailable"), make.serving_deployment())
    assert plan.create == ()
    assert "fallback base mini-de is skipped: no ServingDeployment with its digest lists family" in message(plan)


def test_a_run_on_the_last_fallback_has_no_further_one():
    tj = make.training_job(fallbackBaseModels=[SMALL])
    plan = after(tj, *failed(tj, failure="BaseModelUnavailable", base=OTHER), served_on_small())
    assert state(plan) == "BaseModelUnavailable"


def test_a_retry_after_a_restart_keeps_base_and_memory_level_of_the_attempt():
    tj = make.training_job(fallbackBaseModels=[SMALL])
    run = run_of(after(tj, *failed(tj, failure="StoreUnreachable", base=OTHER, level=2), served_on_small()))
    assert (run.base_model.name, run.memory_level) == ("mini-de", 2)


def test_an_adapter_made_from_a_fallback_carries_the_fallbacks_identity():
    tj = make.training_job(fallbackBaseModels=[SMALL])
    job = make.job(NAME, run_digest=digest(tj), base=OTHER)
    plan = after(tj, job, make.job_pod(job, exit_code=0, outcome=make.success()))
    adapter = plan.create[0].manifest
    assert adapter["spec"]["baseModel"] == {"name": "mini-de", "digest": OTHER}
    assert adapter["metadata"]["annotations"]["clara.vcc.dev/base-uri"] == SMALL["uri"]
    assert status(plan)["baseModel"] == {"name": "mini-de", "digest": OTHER}


def test_status_records_how_each_attempt_ended():
    tj = make.training_job()
    plan = after(tj, *failed(tj, failure="StoreUnreachable", level=1), now=T0 - timedelta(seconds=59))
    (attempt,) = status(plan)["attempts"]
    kept = {k: attempt[k] for k in ("number", "reason", "exitCode", "baseModel", "memoryLevel", "lastLogLines", "node")}
    assert kept == {
        "number": 1, "reason": "StoreUnreachable", "exitCode": 66, "baseModel": "tiny-de", "memoryLevel": 1,
        "lastLogLines": ["last line"], "node": "node1",
    }  # fmt: skip


def test_a_verdict_outlives_its_pod():
    tj = make.training_job()
    known = make.cluster(tj, *failed(tj, failure="DataInvalid", said="line 1 of rows.jsonl"))
    seen_again(known, first := look(known))
    known.forget("Pod", NS, f"{NAME}-train-1-xyz")
    assert look(known).is_empty
    assert state(first) == "DataInvalid"


def test_a_lost_node_is_told_apart_from_a_lost_pod():
    tj = make.training_job()
    job = make.job(NAME, run_digest=digest(), finished="Failed")
    gone = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}
    pod = make.job_pod(job, phase="Failed", conditions=[gone])
    pod["status"]["containerStatuses"] = []
    recovery, said = make.job(NAME, "recover", run_digest=digest(), finished="Failed"), "nothing there"
    assert names(look(make.cluster(tj, job, pod)))[1] == f"Job/{NAME}-recover-1"
    early = look(make.cluster(tj, job, pod, recovery), now=T0 - timedelta(seconds=59))
    assert "node node1" in message(early), said
    assert status(early)["attempts"][0]["reason"] == "NodeLost"


def test_the_backoff_grows_is_bounded_and_is_the_same_at_every_look():
    for tried, whole in ((1, 10), (2, 30), (3, 90), (4, 270), (5, 300), (16, 300)):
        seconds = [delay(f"uid-{n}", tried).total_seconds() for n in range(200)]
        assert whole * 0.75 - 1 <= min(seconds) < whole < max(seconds) <= whole * 1.25 + 1
        assert delay("uid-7", tried) == delay("uid-7", tried)


def test_a_failure_first_seen_after_its_back_off_is_remembered_too():
    """The operator was away: the next attempt is due at once, and the last one must not stay 'Preparing'."""
    tj = make.training_job()
    plan = after(tj, *failed(tj, exit_code=1))
    assert len(plan.create) == 2
    [attempt] = status(plan)["attempts"]
    assert (attempt["reason"], attempt["exitCode"]) == ("Bug", 1)
