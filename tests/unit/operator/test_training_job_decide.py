"""What a TrainingJob becomes, fact by fact."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from clara_api import labels
from clara_api.handoff.outcome import EXIT_DATA_INVALID, Outcome
from clara_testing import make
from clara_testing.make import NS, T0
from clara_testing.training import NAME, digest, failed, look, message, names, run_of, says, state, status


def test_a_new_job_gets_its_run_and_its_pod_and_locks_the_recipe():
    plan = look(make.cluster(make.training_job()))
    assert names(plan) == [f"ConfigMap/{NAME}-train-1", f"Job/{NAME}-train-1"]
    assert plan.status is not None
    assert plan.status.status["recipeLocked"] is True
    run = run_of(plan)
    assert run.artifact_uri == f"s3://clara/adapters/{NS}/steuerrecht/uid-{NAME}/1"


def test_a_pod_has_no_rights_and_a_read_only_root():
    spec = look(make.cluster(make.training_job())).create[1].manifest["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert spec["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_store_keys_come_by_reference_and_are_never_in_the_run():
    create = look(make.cluster(make.training_job())).create
    assert create[1].manifest["spec"]["template"]["spec"]["containers"][0]["envFrom"] == [
        {"secretRef": {"name": "clara-store"}}
    ]
    assert "AWS" not in json.dumps(create[0].manifest)


def test_a_volume_store_is_mounted_and_needs_no_secret():
    tj = make.training_job(data=[{"configMap": {"name": "rows", "key": "rows.jsonl"}}])
    tj["spec"]["baseModel"]["uri"] = "volume://clara-artifacts/models/tiny-de"
    known = make.cluster(tj)
    plan = look(known, artifact_prefix="volume://clara-artifacts", allowed_prefixes="volume://clara-artifacts")
    pod = plan.create[1].manifest["spec"]["template"]["spec"]
    assert "envFrom" not in pod["containers"][0]
    assert {"name": "claim-clara-artifacts", "persistentVolumeClaim": {"claimName": "clara-artifacts"}} in pod[
        "volumes"
    ]


@pytest.mark.parametrize(
    "uri",
    [
        "s3://other/data.jsonl",
        "s3://clara/adapters/finanzen/x.jsonl",
        "s3://clara/data/../adapters/finanzen/x.jsonl",
        "s3://clara/database",
    ],
)
def test_a_uri_outside_the_namespaces_prefixes_is_refused_before_a_pod_exists(uri: str):
    plan = look(make.cluster(make.training_job(data=[{"uri": uri}])))
    assert plan.create == ()
    assert state(plan) == "UriNotAllowed"
    assert "allowedPrefixes" in message(plan)
    assert plan.status is not None
    assert plan.status.status["recipeLocked"] is False


def test_steps_taken_show_as_training_with_percent_and_eta():
    tj, attempt = make.training_job(), make.job(NAME, run_digest=digest())
    known = make.cluster(tj, attempt, make.job_pod(attempt))
    for second, step in ((0, 10), (10, 20)):
        says(known, second, step=step, total_steps=60, loss=0.734)
    plan = look(known)
    assert state(plan) == "Training"
    assert plan.status is not None
    assert plan.status.status["display"] == {"state": "Training", "progress": "33%", "loss": "0.73", "eta": "40s"}


def test_a_finished_run_becomes_the_familys_first_version():
    tj, attempt = (
        make.training_job(evaluation={"goldenDatasetRef": {"name": "g1"}}),
        make.job(NAME, run_digest=digest()),
    )
    plan = look(
        make.cluster(tj, attempt, make.job_pod(attempt, phase="Succeeded", exit_code=0, outcome=make.success()))
    )
    (created,) = plan.create
    assert created.manifest["metadata"]["name"] == "steuerrecht-1.0.0"
    assert "ownerReferences" not in created.manifest["metadata"]
    assert created.manifest["spec"]["evaluation"] == {"goldenDatasetRef": {"name": "g1"}}
    assert created.unless_labelled == f"{labels.TRAINING_JOB_UID}=uid-{NAME}"


def test_exit_code_zero_with_steps_missing_is_no_success():
    tj, attempt = make.training_job(), make.job(NAME, run_digest=digest(), finished="Complete")
    pod = make.job_pod(attempt, phase="Succeeded", exit_code=0, outcome=make.success(step=12))
    plan = look(make.cluster(tj, attempt, pod))
    assert all(c.manifest["kind"] != "Adapter" for c in plan.create)


def test_the_adapter_that_is_there_ends_the_run():
    tj, attempt = make.training_job(), make.job(NAME, run_digest=digest())
    made = make.adapter()
    made["metadata"]["labels"] = {labels.TRAINING_JOB_UID: f"uid-{NAME}"}
    plan = look(
        make.cluster(tj, attempt, made, make.job_pod(attempt, phase="Succeeded", exit_code=0, outcome=make.success()))
    )
    assert plan.create == ()
    assert state(plan) == "Succeeded"
    assert plan.status is not None
    assert plan.status.status["adapterRef"] == {"name": "steuerrecht-1.0.0"}
    assert plan.status.status["artifactDigest"] == make.ARTIFACT_DIGEST


def test_a_finished_job_is_looked_at_again_without_a_write():
    tj, attempt = make.training_job(), make.job(NAME, run_digest=digest())
    made = make.adapter()
    made["metadata"]["labels"] = {labels.TRAINING_JOB_UID: f"uid-{NAME}"}
    known = make.cluster(
        tj, attempt, made, make.job_pod(attempt, phase="Succeeded", exit_code=0, outcome=make.success())
    )
    first = look(known)
    assert first.status is not None
    known.put("TrainingJob", tj | {"status": dict(first.status.status)})
    known.forget("Adapter", NS, "steuerrecht-1.0.0")  # a person removed it: it is not made again
    assert look(known, now=T0 + timedelta(hours=1)).is_empty


@pytest.mark.parametrize(
    ("change", "version"),
    [
        ({}, "1.0.1"),
        ({"data": [{"uri": "s3://clara/data/more.jsonl"}]}, "1.1.0"),
        ({"hyperparameters": {"rank": 8}}, "1.1.0"),
        ({"baseModel": make.base("sha256:" + "d" * 64)}, "2.0.0"),
        ({"version": "major"}, "2.0.0"),
        ({"version": "3.2.1"}, "3.2.1"),
    ],
)
def test_versions_follow_what_changed(change: dict[str, Any], version: str):
    first = make.training_job()
    earlier_run = make.job(NAME, run_digest=digest(first))
    done = (
        look(make.cluster(first, earlier_run, make.job_pod(earlier_run, exit_code=0, outcome=make.success())))
        .create[0]
        .manifest
    )
    earlier = make.adapter() | {
        "metadata": make.meta("steuerrecht-1.0.0", annotations=done["metadata"]["annotations"], labels={})
    }
    tj = make.training_job(**change)
    attempt = make.job(NAME, run_digest=digest(tj))
    known = make.cluster(tj, attempt, earlier, make.job_pod(attempt, exit_code=0, outcome=make.success()))
    assert look(known).create[0].manifest["spec"]["version"] == version


def test_a_forced_version_that_another_run_took_is_said():
    tj = make.training_job(version="1.0.0")
    attempt = make.job(NAME, run_digest=digest(tj))
    known = make.cluster(tj, attempt, make.adapter(), make.job_pod(attempt, exit_code=0, outcome=make.success()))
    assert state(look(known)) == "VersionTaken"


def test_bad_data_stops_with_file_and_line_and_unlocks_the_recipe():
    said = "line 17 of steuerrecht.jsonl has no 'messages' or 'prompt'; repair the file, then raise spec.rerun"
    tj, attempt = make.training_job(), make.job(NAME, run_digest=digest(), finished="Failed")
    outcome = Outcome(result="Failed", failure="DataInvalid", message=said)
    plan = look(
        make.cluster(tj, attempt, make.job_pod(attempt, phase="Failed", exit_code=EXIT_DATA_INVALID, outcome=outcome))
    )
    assert plan.create == ()
    assert state(plan) == "DataInvalid"
    assert message(plan) == f"{said} (attempt 1 of 4)"
    assert plan.status is not None
    assert plan.status.status["recipeLocked"] is False
    assert plan.events[0].type == "Warning"


def test_a_failure_stands_when_its_job_is_cleaned_away():
    """No GPU hour is spent because somebody tidied up."""
    tj = make.training_job()
    known = make.cluster(tj, *failed(tj, failure="DataInvalid", said="rows.jsonl line 3: no JSON"))
    stopped = look(known)
    cleaned = make.cluster(tj | {"status": status(stopped)})
    assert look(cleaned).create == ()
    assert look(cleaned).status is None
    changed = make.training_job(rerun=1) | {"status": status(stopped)}
    changed["metadata"]["generation"] = 2
    assert names(look(make.cluster(changed))) == [f"ConfigMap/{NAME}-train-2", f"Job/{NAME}-train-2"]


def test_a_raised_rerun_starts_the_next_attempt():
    old = make.job(NAME, run_digest=digest(), finished="Failed")
    outcome = Outcome(result="Failed", failure="DataInvalid", message="line 1")
    known = make.cluster(
        make.training_job(rerun=1), old, make.job_pod(old, phase="Failed", exit_code=EXIT_DATA_INVALID, outcome=outcome)
    )
    assert names(look(known)) == [f"ConfigMap/{NAME}-train-2", f"Job/{NAME}-train-2"]


def test_a_pod_that_vanished_sends_a_recovery_job_to_the_store():
    tj, attempt = make.training_job(), make.job(NAME, run_digest=digest(), finished="Complete")
    plan = look(make.cluster(tj, attempt))
    assert names(plan) == [f"ConfigMap/{NAME}-recover-1", f"Job/{NAME}-recover-1"]
    recovery = make.job(NAME, "recover", run_digest=digest(), finished="Complete")
    outcome = make.success(step=None, total_steps=None)
    found = look(make.cluster(tj, attempt, recovery, make.job_pod(recovery, exit_code=0, outcome=outcome)))
    assert found.create[0].manifest["kind"] == "Adapter"


def test_a_changed_recipe_after_a_failure_starts_again():
    attempt = make.job(NAME, run_digest=digest(), finished="Failed")
    outcome = Outcome(result="Failed", failure="DataInvalid", message="line 1")
    changed = make.training_job(hyperparameters={"rank": 8})
    known = make.cluster(
        changed, attempt, make.job_pod(attempt, phase="Failed", exit_code=EXIT_DATA_INVALID, outcome=outcome)
    )
    assert names(look(known))[1] == f"Job/{NAME}-train-2"


def test_a_spec_that_changes_while_a_pod_runs_makes_no_second_one():
    """rerun and dryRun are not locked: what runs is finished first."""
    tj = make.training_job()
    tried = make.training_job(dryRun=True)
    old = failed(tj, failure="DataInvalid")
    running = make.job(NAME, attempt=2, run_digest=digest(tried))
    plan = look(make.cluster(tj, *old, running, make.job_pod(running)))
    assert plan.create == ()
    assert state(plan) == "Preparing"
    rerun = make.training_job(rerun=1)
    assert look(make.cluster(rerun, running, make.job_pod(running))).create == ()


def test_the_same_snapshot_gives_the_same_plan():
    assert look(make.cluster(make.training_job())) == look(make.cluster(make.training_job()))
