"""A step that several processes share is the step that one takes; whatever happens to one of them, nobody hangs.

Real processes with real Gloo on CPUs; on GPUs the same code speaks NCCL (tests/gpu).
"""

import re
import signal
import time
from pathlib import Path

import pytest
import short_workers
import torch
from clara_api.handoff.artifact import MANIFEST, WEIGHTS, Manifest
from clara_api.handoff.outcome import EXIT_CODES, EXIT_PREEMPTED
from clara_trainer import course, share, workers
from clara_trainer.outcome import Failure
from clara_trainer.share import seed_of
from safetensors.numpy import load_file
from trainer_lab import Lab

WITH_FATE = """
import sys
import short_workers
from clara_trainer import __main__, worker
worker.work = short_workers.{fate}
sys.exit(__main__.main(sys.argv[1:]))
"""
RUN_URI = "volume://clara-artifacts/runs/amt/steuerrecht/uid-1/run"


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def shared(lab, uid="uid-1", processes=2, fields=None, **hyperparameters):
    return lab.train_run(uid, **hyperparameters) | {"processes": processes} | (fields or {})


def weights(lab, outcome):
    return load_file(lab.path(outcome.artifact_uri) / WEIGHTS)


def furthest(one, other):
    assert one.keys() == other.keys()
    return max(abs(one[name] - other[name]).max() for name in one)


def with_parent(pid):
    """Processes whose parent is `pid`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_for_step(program, least=1):
    for line in program.stderr:
        if (found := re.search(rb"step (\d+) of", line)) and int(found[1]) >= least:
            return
    pytest.fail(f"the program ended with {program.wait()} before step {least}")


def wait_for_the_end_of(children):
    assert children
    deadline = time.monotonic() + 20
    while left := [child for child in children if Path(f"/proc/{child}").exists()]:
        assert time.monotonic() < deadline, f"processes {left} are still there"
        time.sleep(0.1)


def test_processes_that_share_a_step_learn_what_one_learns(lab):
    """Same examples, same order, divided by the same tokens: equal up to the rounding of sums."""
    alone = lab.do(lab.train_run("alone"))
    together = lab.do(shared(lab, "together", 2))
    assert furthest(weights(lab, alone), weights(lab, together)) < 1e-5
    assert together.loss == pytest.approx(alone.loss, rel=1e-5)
    assert together.memory.processes == 2
    manifest = Manifest.model_validate_json((lab.path(together.artifact_uri) / MANIFEST).read_bytes())
    alike = Manifest.model_validate_json((lab.path(alone.artifact_uri) / MANIFEST).read_bytes())
    assert manifest.provenance.metrics["validationLoss"] == pytest.approx(
        alike.provenance.metrics["validationLoss"], rel=1e-5
    )
    assert manifest.provenance.run["processes"] == 2


def test_processes_leave_out_different_places_and_repeat_themselves(lab, monkeypatch):
    first = lab.do(shared(lab, "first", dropout=0.3))
    again = lab.do(shared(lab, "again", dropout=0.3))
    monkeypatch.setattr(course, "seed_of", lambda seed, step, process=0: seed_of(seed, step))
    alike = lab.do(shared(lab, "alike", dropout=0.3))
    assert first.weights_digest == again.weights_digest
    assert first.weights_digest != alike.weights_digest


def test_more_processes_than_examples_in_a_step_are_no_harm(lab):
    alone = lab.do(lab.train_run("alone", globalBatchSize=2, epochs=1))
    together = lab.do(shared(lab, "together", 3, globalBatchSize=2, epochs=1))
    assert furthest(weights(lab, alone), weights(lab, together)) < 1e-5


def test_a_shared_run_that_is_stopped_goes_on_to_the_same_bits(lab):
    undisturbed = lab.do(shared(lab, "other", epochs=12))
    run = shared(lab, fields={"runUri": RUN_URI, "checkpoints": {"everySteps": 3}}, epochs=12)
    program = lab.start(run)
    wait_for_step(program, 9)
    children = with_parent(program.pid)
    program.send_signal(signal.SIGTERM)
    log = program.communicate(timeout=60)[1].decode()
    assert (program.returncode, lab.outcome().failure) == (EXIT_PREEMPTED, "Preempted"), log
    assert lab.outcome().checkpoint_step >= 9
    wait_for_the_end_of(children)
    resumed = lab.do(run)
    assert resumed.resumed_from_step == lab.outcome().checkpoint_step
    assert resumed.weights_digest == undisturbed.weights_digest


def test_a_run_begun_by_two_processes_can_be_finished_by_one(lab):
    fields = {"runUri": RUN_URI, "checkpoints": {"everySteps": 3}}
    program = lab.start(shared(lab, fields=fields, epochs=12))
    wait_for_step(program, 9)
    program.send_signal(signal.SIGTERM)
    program.communicate(timeout=60)
    alone = lab.do(lab.train_run("alone", epochs=12))
    resumed = lab.do(lab.train_run(epochs=12) | fields)
    assert resumed.resumed_from_step >= 9
    assert resumed.memory.processes == 1
    assert furthest(weights(lab, alone), weights(lab, resumed)) < 1e-4


def test_workers_end_with_the_process_that_started_them(lab):
    program = lab.start(shared(lab, epochs=400))
    wait_for_step(program)
    children = with_parent(program.pid)
    program.kill()
    program.communicate(timeout=10)
    wait_for_the_end_of(children)


def test_one_process_with_too_little_memory_makes_all_cut_finer(lab, monkeypatch):
    alone = lab.do(lab.train_run("alone"))
    monkeypatch.setattr("clara_trainer.worker.work", short_workers.with_little_memory)
    together = lab.do(shared(lab, "together"))
    assert (together.memory.micro_batch_size, together.memory.accumulation, together.memory.processes) == (2, 2, 2)
    assert together.memory.reason.startswith("out of memory at step 1")
    assert furthest(weights(lab, alone), weights(lab, together)) < 1e-5


def test_too_little_memory_in_the_first_process_makes_all_cut_finer(lab, monkeypatch):
    alone = lab.do(lab.train_run("alone"))
    likelihood, gradients, tries = share.log_likelihood, workers.flat_gradients, iter(range(100))

    def greedy(model, batch):
        if len(batch.borders) - 1 > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return likelihood(model, batch)

    def greedy_once(model):
        if next(tries) == 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        return gradients(model)

    monkeypatch.setattr(share, "log_likelihood", greedy)
    monkeypatch.setattr(workers, "flat_gradients", greedy_once)
    together = lab.do(shared(lab, "together"))
    assert (together.memory.micro_batch_size, together.memory.accumulation) == (1, 4)
    assert furthest(weights(lab, alone), weights(lab, together)) < 1e-5


@pytest.mark.parametrize("fate", ["killed_in_its_third_pass", "killed_before_they_meet", "killed_in_an_exchange"])
def test_a_process_that_is_killed_ends_the_run_with_a_cure(lab, fate):
    began = time.monotonic()
    program = lab.start(shared(lab), program=WITH_FATE.format(fate=fate))
    log = program.communicate(timeout=100)[1].decode()
    assert time.monotonic() - began < 90, "nobody waits for one that is gone"
    assert (program.returncode, lab.outcome().failure) == (EXIT_CODES["Bug"], "Bug"), log
    assert "worker-1 ended without a word (exit code -9)" in lab.outcome().message
    assert "raise resources.limits.memory" in lab.outcome().message


@pytest.mark.parametrize(
    ("fate", "failure", "words"),
    [("without_a_base", "OutOfMemory", "no room for the base"), ("with_an_error", "Bug", "ValueError: an odd batch")],
)
def test_a_process_that_fails_ends_the_run_with_its_class(lab, monkeypatch, fate, failure, words):
    monkeypatch.setattr("clara_trainer.worker.work", getattr(short_workers, fate))
    with pytest.raises(Failure) as failed:
        lab.do(shared(lab))
    assert failed.value.failure == failure
    assert words in failed.value.message
    assert "(in process 2 of 2)" in failed.value.message


def test_a_shared_run_is_reproduced_bit_by_bit(lab):
    made = lab.do(shared(lab))
    again = {"kind": "Reproduce", "namespace": "amt", "name": "again", "artifactUri": made.artifact_uri}
    assert lab.do(again).message == f"bit-identical: {made.weights_digest}"


def test_gpus_that_torch_does_not_find_are_not_left_idle(lab):
    with pytest.raises(Failure, match="finds none"):
        lab.do(shared(lab, fields={"gpus": 2}))


def test_a_dry_run_measures_what_all_processes_do(lab):
    outcome = lab.do(shared(lab, fields={"dryRun": True}))
    assert (outcome.dry_run.total_steps, outcome.dry_run.memory.processes) == (6, 2)
