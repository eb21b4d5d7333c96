"""What a pod is told, and the Job around it."""

from __future__ import annotations

from typing import Any

import pytest
from clara_api.handoff.outcome import EXIT_CODES, EXIT_PREEMPTED
from clara_operator.training_job.golden import LIMIT_BYTES
from clara_testing import make
from clara_testing.make import NS
from clara_testing.training import NAME, failed, job_of, look, message, run_of, status

VERIFIED = {
    "observedGeneration": 1,
    "conditions": [{"type": "Verified", "status": "True", "reason": "ArtifactVerified"}],
}


def told(**spec: Any):
    return run_of(look(make.cluster(make.training_job(**spec))))


def test_a_run_is_told_all_that_the_recipe_says():
    run = told(
        method="dora",
        conversion={"rank": 24, "maxError": 0.05},
        dataPolicy={"emptyRows": "drop"},
        checkpoints={"everySteps": 7},
        dryRun=True,
        license="CC0-1.0",
        hyperparameters={"rank": 8},
    )
    assert (run.method, run.profile, run.dry_run, run.license) == ("dora", "lora", True, "CC0-1.0")
    assert run.conversion is not None
    assert run.conversion.rank == 24
    assert run.data_policy.empty_rows == "drop"
    assert (run.checkpoints.every_steps, run.checkpoints.keep) == (7, 2)
    assert (run.hyperparameters.rank, run.hyperparameters.alpha) == (8, 32)
    assert run.image == "registry/clara-trainer:1"
    assert run.memory_level == 0


@pytest.mark.parametrize(
    ("spec", "processes"),
    [
        ({}, 1),
        ({"resources": {"limits": {"nvidia.com/gpu": "1"}}}, 1),
        ({"resources": {"limits": {"nvidia.com/gpu": "4", "cpu": "8"}}}, 4),
        ({"profile": "multi-gpu", "resources": {"limits": {"nvidia.com/gpu": "8"}}}, 8),
        ({"profile": "multi-gpu", "resources": {"limits": {"cpu": "4"}}}, 2),
    ],
    ids=str,
)
def test_every_gpu_of_the_limits_has_a_process(spec: dict[str, Any], processes: int):
    plan = look(make.cluster(make.training_job(**spec)))
    assert run_of(plan).processes == processes
    job = next(c.manifest for c in plan.create if c.manifest["kind"] == "Job")
    pod = job["spec"]["template"]["spec"]
    mounts = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    assert ("/dev/shm" in mounts) == (processes > 1)


def test_attempts_of_a_run_share_its_folder_and_another_recipe_has_its_own():
    tj = make.training_job()
    first = run_of(look(make.cluster(tj)))
    second = run_of(look(make.cluster(tj, *failed(tj, failure="StoreUnreachable")), now=make.T0.replace(hour=13)))
    assert second.attempt == 2
    assert second.run_uri == first.run_uri
    assert first.run_uri.startswith(f"s3://clara/runs/{NS}/steuerrecht/uid-{NAME}/")
    assert told(hyperparameters={"rank": 8}).run_uri != first.run_uri
    assert told(rerun=1).run_uri != first.run_uri
    assert told(baseModel=make.base("sha256:" + "d" * 64)).run_uri != first.run_uri


def test_a_run_that_continues_an_adapter_is_told_where_it_lies():
    known = make.cluster(make.training_job(startFrom={"adapterRef": {"name": "steuerrecht-1.0.0"}}))
    known.put("Adapter", make.adapter(status=VERIFIED))
    start = run_of(look(known)).start_from
    assert start is not None
    assert (start.name, start.digest) == ("steuerrecht-1.0.0", make.digest_of("1.0.0"))
    assert start.uri == f"s3://clara/adapters/{NS}/steuerrecht/1.0.0/1"


def test_every_place_on_a_volume_is_mounted():
    base = {"name": "b", "uri": "volume://models/b", "digest": make.BASE_DIGEST, "mirrors": ["volume://mirror/b"]}
    tj = make.training_job(baseModel=base, data=[{"uri": "volume://data/rows.jsonl"}])
    plan = look(
        make.cluster(tj),
        artifact_prefix="volume://store",
        allowed_prefixes="volume://models,volume://mirror,volume://data",
    )
    volumes = job_of(plan)["spec"]["template"]["spec"]["volumes"]
    claims = {v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v}
    assert claims == {"models", "mirror", "data", "store"}


def test_a_run_knows_every_golden_sample_of_its_family():
    known = make.cluster(
        make.training_job(),
        make.golden_dataset("b"),
        make.golden_dataset("a"),
        make.golden_dataset("c", family="other"),
    )
    assert [g.name for g in run_of(look(known)).golden] == ["a", "b"]


def test_what_does_not_fit_into_the_run_is_named_and_the_set_of_the_evaluation_comes_first():
    tj = make.training_job(evaluation={"goldenDatasetRef": {"name": "z"}})
    big = [make.golden_dataset(name, samples=60, size=8000) for name in ("a", "z")]
    plan = look(make.cluster(tj, *big, make.golden_dataset("small")))
    assert [g.name for g in run_of(plan).golden] == ["z", "small"]
    assert len(plan.create[0].manifest["data"]["run.json"]) < LIMIT_BYTES
    assert "GoldenDataset a did not fit" in message(plan)
    assert plan.events[-1].reason == "GoldenLeftOut"


def test_the_job_controller_replaces_pods_that_were_moved_and_gives_up_on_the_other_classes():
    rules = job_of(look(make.cluster(make.training_job())))["spec"]["podFailurePolicy"]["rules"]
    assert [r["action"] for r in rules] == ["Ignore", "Ignore", "FailJob"]
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert rules[1]["onExitCodes"]["values"] == [EXIT_PREEMPTED] == [83]
    assert {*rules[2]["onExitCodes"]["values"], EXIT_PREEMPTED} == set(EXIT_CODES.values())
    assert {r["onExitCodes"]["containerName"] for r in rules[1:]} == {"trainer"}


def test_the_job_has_the_time_of_the_run_and_nobody_elses_suspend():
    spec = job_of(look(make.cluster(make.training_job(retry={"maxDuration": "90m"}))))["spec"]
    assert spec["activeDeadlineSeconds"] == 5400
    assert (spec["backoffLimit"], spec["podReplacementPolicy"]) == (0, "Failed")
    assert "suspend" not in spec


def test_status_shows_the_effective_hyperparameters_and_the_method():
    shown = status(look(make.cluster(make.training_job(hyperparameters={"rank": 8}))))["effective"]
    assert (shown["rank"], shown["learningRate"], shown["method"]) == (8, 2.0e-4, "lora")


@pytest.mark.parametrize("exit_code", [EXIT_PREEMPTED])
def test_a_pod_that_was_told_to_stop_is_shown_as_such_until_the_next_one_is_there(exit_code: int):
    tj = make.training_job()
    job, pod = failed(tj, exit_code=exit_code)
    job["status"]["conditions"] = []
    plan = look(make.cluster(tj, job, pod))
    assert plan.create == ()
    assert status(plan)["display"]["state"] == "Preempted"
