"""Arrows 1, 3 and 4: a run spec goes in; an artifact, an outcome and an exit code come out."""

import json
import signal
import time

import pytest
from clara_api.digests import sha256_digest
from clara_api.fingerprint import Fingerprint, compare
from clara_api.handoff.artifact import FINGERPRINT, MANIFEST, WEIGHTS, Manifest
from clara_api.handoff.outcome import EXIT_DATA_INVALID, EXIT_PREEMPTED
from clara_trainer.outcome import Failure
from trainer_lab import Lab, pairs

RUN_URI = "volume://clara-artifacts/runs/amt/steuerrecht/uid-1/run/base"
KILLED = """
import os, signal, sys, time
from clara_trainer import __main__, steps
from clara_trainer.objects import Objects
upload, take_step = Objects.upload, steps.take_step

def killed(self, path, uri):
    if "/00000003/" not in uri:
        return upload(self, path, uri)
    if {half}:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    upload(self, path, uri)
    os.kill(os.getpid(), signal.SIGKILL)

def slow(*args):  # a checkpoint is skipped while the one before is written
    time.sleep(0.3)
    return take_step(*args)

Objects.upload, steps.take_step = killed, slow
sys.exit(__main__.main(sys.argv[1:]))
"""


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def fingerprint(lab, outcome):
    return Fingerprint.model_validate_json((lab.path(outcome.artifact_uri) / FINGERPRINT).read_bytes())


def test_a_run_ends_with_a_manifest_whose_digest_is_the_outcomes(lab):
    outcome = lab.do(lab.train_run())
    data = (lab.path(outcome.artifact_uri) / MANIFEST).read_bytes()
    manifest = Manifest.model_validate_json(data)
    assert outcome.artifact_digest == sha256_digest(data) == manifest.digest()
    assert outcome.step == outcome.total_steps == 6
    assert outcome.data is not None
    assert (outcome.data.rows, outcome.data.training_rows, outcome.data.validation_rows) == (24, 22, 2)
    weights = (lab.path(outcome.artifact_uri) / WEIGHTS).read_bytes()
    assert outcome.weights_digest == manifest.weights_digest == sha256_digest(weights)
    assert manifest.provenance.data[0].name == "steuerrecht.jsonl"
    assert manifest.provenance.packages["transformers"] == "5.19.0"
    recorded = fingerprint(lab, outcome).vector()
    assert compare(recorded, recorded, noise=0).verified


def test_two_identical_runs_give_identical_bits_also_in_another_process(lab):
    here = lab.do(lab.train_run("uid-1"))
    program = lab.start(lab.train_run("uid-2"))
    log = program.communicate(timeout=110)[1].decode()
    there = lab.outcome()
    assert (program.returncode, there and there.result) == (0, "Succeeded"), log
    assert there.weights_digest == here.weights_digest
    assert there.artifact_digest != here.artifact_digest  # the manifest names the run
    assert fingerprint(lab, there) == fingerprint(lab, here)
    assert all(isinstance(json.loads(line), dict) for line in log.splitlines())


def test_another_seed_gives_other_bits(lab):
    assert lab.do(lab.train_run("a", seed=1)).weights_digest != lab.do(lab.train_run("b", seed=2)).weights_digest


def test_a_micro_batch_cuts_the_step_and_does_not_change_it(lab):
    whole = fingerprint(lab, lab.do(lab.train_run("a", microBatchSize=8))).vector()
    cut = fingerprint(lab, lab.do(lab.train_run("b", microBatchSize=2))).vector()
    assert compare(whole, cut, noise=0).cosine > 0.999


def test_a_restarted_pod_reports_the_sealed_artifact_and_does_not_touch_it(lab):
    first = lab.do(lab.train_run())
    before = {p.name: p.stat().st_mtime_ns for p in lab.path(first.artifact_uri).iterdir()}
    again = lab.do(lab.train_run())
    assert again.artifact_digest == first.artifact_digest
    assert (again.step, again.rank) == (6, 4)
    assert before == {p.name: p.stat().st_mtime_ns for p in lab.path(first.artifact_uri).iterdir()}


def test_a_broken_line_is_named_with_its_code_before_the_base_is_fetched(lab):
    lab.write_rows("steuerrecht.jsonl", [*pairs(16), {"question": "?"}])
    run = lab.train_run()
    run["baseModel"] |= {"uri": "volume://clara-artifacts/models/none"}
    program = lab.start(run)
    program.communicate(timeout=110)
    outcome = lab.outcome()
    assert program.returncode == EXIT_DATA_INVALID
    assert outcome.failure == "DataInvalid"
    assert outcome.message == (
        "line 17 of steuerrecht.jsonl has no 'messages' or 'prompt'; repair the file, then raise spec.rerun"
    )
    assert not lab.path(run["artifactUri"]).exists()


def test_another_base_is_refused_with_both_digests(lab):
    run = lab.train_run()
    named = "sha256:" + "0" * 64
    run["baseModel"] = run["baseModel"] | {"digest": named}
    with pytest.raises(Failure) as error:
        lab.do(run)
    assert error.value.failure == "BaseModelUnavailable"
    assert named in error.value.message
    assert lab.base["digest"] in error.value.message


def test_a_run_that_diverges_says_so_and_publishes_nothing(lab):
    lab.spoil_base()
    run = lab.train_run()
    with pytest.raises(Failure, match="the loss became nan at step 1 of 6; lower") as error:
        lab.do(run)
    assert error.value.failure == "Diverged"
    assert not lab.path(run["artifactUri"]).exists()


def test_an_adapter_that_changes_nothing_says_so(lab):
    outcome = lab.do(lab.train_run(learningRate=1e-12))
    recorded = fingerprint(lab, outcome).vector()
    assert not compare(recorded, recorded, noise=0).changes_output
    assert "changes nothing" in outcome.message


def test_a_run_that_is_told_to_stop_exits_as_preempted_and_publishes_nothing(lab):
    run = lab.train_run(epochs=1000)
    program = lab.start(run)
    next(line for line in program.stderr if b'"step":' in line)  # it is in the middle of its 3,000 steps
    program.send_signal(signal.SIGTERM)
    program.communicate(timeout=60)
    assert program.returncode == EXIT_PREEMPTED
    assert lab.outcome().failure == "Preempted"
    assert not lab.path(run["artifactUri"]).exists()


def test_plain_text_and_weights_are_learned_too(lab):
    lab.write_rows("gesetz.jsonl", [{"text": f"§ {n} AO regelt die Bekanntgabe."} for n in range(1, 9)])
    run = lab.train_run()
    run["data"].append({"name": "gesetz.jsonl", "uri": "volume://clara-artifacts/data/gesetz.jsonl", "weight": 2.5})
    outcome = lab.do(run | {"validationFraction": 0})
    assert (outcome.data.rows, outcome.data.training_rows) == (32, 24 + 20)


def test_a_dry_run_that_is_told_to_stop_says_so_and_reports_no_numbers(lab, monkeypatch):
    from clara_trainer import steps
    from clara_trainer.outcome import Terminated

    take_step = steps.take_step

    def told(course, step, stop):
        stop.requested = True
        return take_step(course, step, stop)

    monkeypatch.setattr(steps, "take_step", told)
    with pytest.raises(Terminated):
        lab.do(lab.train_run() | {"dryRun": True})


def test_a_dry_run_measures_and_leaves_nothing(lab):
    outcome = lab.do(lab.train_run() | {"dryRun": True})
    assert outcome.dry_run is not None
    assert (outcome.dry_run.total_steps, outcome.artifact_digest) == (6, None)
    assert outcome.dry_run.seconds_per_step > 0
    assert not lab.path(lab.train_run()["artifactUri"]).exists()


@pytest.mark.parametrize("moment", ["half of the tensors", "before the description"])
def test_a_run_killed_during_an_upload_goes_on_to_the_same_bits(lab, moment):
    """SIGKILL in the middle of the third checkpoint: what was begun is not believed."""
    run = lab.train_run() | {"runUri": RUN_URI, "checkpoints": {"everySteps": 1}}
    undisturbed = lab.do(lab.train_run("other"))
    program = lab.start(run, program=KILLED.format(half=moment == "half of the tensors"))
    log = program.communicate(timeout=100)[1].decode()
    assert program.returncode == -signal.SIGKILL, log
    assert [path.name for path in lab.path(RUN_URI).glob("checkpoints/00000003/*")] == ["state.safetensors"]
    resumed = lab.do(run)
    assert resumed.resumed_from_step == 2
    assert resumed.weights_digest == undisturbed.weights_digest


def test_a_run_that_fails_after_its_last_step_has_saved_it(lab, monkeypatch):
    from clara_trainer import finish, steps
    from clara_trainer.checkpoints import Checkpoints

    run = lab.train_run() | {"runUri": RUN_URI}
    write = Checkpoints._write

    def slow(*args):
        time.sleep(1)
        write(*args)

    def broken(*args):
        raise ValueError("something in the way")

    with monkeypatch.context() as during:
        during.setattr(Checkpoints, "_write", slow)
        during.setattr(finish, "finish", broken)
        with pytest.raises(ValueError, match="in the way"):
            lab.do(run)
    monkeypatch.setattr(steps, "take_step", lambda *args: pytest.fail("a step was taken twice"))
    assert lab.do(run).resumed_from_step == 6


def test_a_published_run_leaves_no_checkpoints_of_what_its_job_tried_before(lab):
    tried, others = "volume://clara-artifacts/runs/amt/steuerrecht/uid-1/before/base", "uid-12/run/base"
    for uri in (tried, RUN_URI.replace("uid-1/run/base", others)):
        folder = lab.path(uri) / "checkpoints" / "00000100"
        folder.mkdir(parents=True)
        (folder / "checkpoint.json").write_text("{}")
    lab.do(lab.train_run() | {"runUri": RUN_URI, "checkpoints": {"everySteps": 1}})
    left = {str(path.relative_to(lab.claim / "runs")) for path in (lab.claim / "runs").rglob("*") if path.is_file()}
    assert left == {
        "amt/steuerrecht/uid-1/run/data.json",
        "amt/steuerrecht/uid-12/run/base/checkpoints/00000100/checkpoint.json",
    }


def test_a_run_stopped_after_its_last_step_is_published_by_the_next_pod_without_another_step(lab, monkeypatch):
    from clara_trainer import finish, steps
    from clara_trainer.outcome import Terminated

    run = lab.train_run() | {"runUri": RUN_URI}
    undisturbed = lab.do(lab.train_run("other"))

    def told(*args):
        raise Terminated()

    with monkeypatch.context() as during:
        during.setattr(finish, "finish", told)
        with pytest.raises(Terminated) as stopped:
            lab.do(run)
    assert stopped.value.checkpoint_step == 6
    monkeypatch.setattr(steps, "take_step", lambda *args: pytest.fail("a step was taken twice"))
    again = lab.do(run)
    assert again.weights_digest == undisturbed.weights_digest
    assert again.resumed_from_step == 6
