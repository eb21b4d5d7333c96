"""What happens to a run, by chance or on purpose, never changes what it learns."""

import dataclasses
import math
import threading
import time

import pytest
import torch
from clara_trainer import checkpoints as checkpoints_module
from clara_trainer import share, steps
from clara_trainer.outcome import Failure, Terminated
from clara_trainer.stop import Stop
from training_bench import RUN_URI, course, run, store, weights


class StopAfter(Stop):
    """Told to stop while the pass number `passes` runs."""

    def __init__(self, passes: int) -> None:
        self.left = passes

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left < 0


def trained(root, **changes):
    made = course(**changes)
    run(made, root)
    return weights(made)


def test_the_loss_falls(tmp_path):
    made = course(epochs=20)
    taken = run(made, tmp_path)
    assert (taken.step, made.total) == (60, 60)
    assert taken.points[-1][1] < taken.points[0][1] - 0.2
    assert taken.validation_loss is not None
    assert taken.tokens == 20 * sum(len(example.ids) for example in made.training)


@pytest.mark.parametrize("passes", [1, 5, 8, 13, 22])
def test_an_interrupted_and_resumed_run_ends_in_the_same_bits(tmp_path, passes):
    undisturbed = trained(tmp_path / "a", micro=4, dropout=0.1)
    interrupted = course(micro=4, dropout=0.1)
    with pytest.raises(Terminated):
        run(interrupted, tmp_path / "b", stop=StopAfter(passes))
    resumed = course(micro=4, dropout=0.1)
    taken = run(resumed, tmp_path / "b")
    assert taken.step == resumed.total
    assert torch.equal(weights(resumed), undisturbed)


def test_a_run_that_is_stopped_again_and_again_ends_in_the_same_bits_and_the_same_curve(tmp_path):
    whole = course(micro=4)
    uninterrupted = run(whole, tmp_path / "a")
    for _ in range(40):
        made = course(micro=4)
        try:
            taken = run(made, tmp_path / "b", stop=StopAfter(5))
            break
        except Terminated:
            pass
    assert torch.equal(weights(made), weights(whole))
    assert taken.interruptions > 3
    assert [p[:4] for p in taken.points] == [p[:4] for p in uninterrupted.points]
    assert taken.flops == uninterrupted.flops


def test_a_run_stopped_while_it_looks_at_the_held_out_rows_looks_again(tmp_path, monkeypatch):
    whole = run(course(), tmp_path / "a")
    stop = Stop()
    look = steps.mean_loss

    def told(made, examples, stop):
        stop.requested = True
        return look(made, examples, stop)

    with monkeypatch.context() as during:
        during.setattr(steps, "mean_loss", told)
        with pytest.raises(Terminated):
            run(course(), tmp_path / "b", stop=stop)
    again = run(course(), tmp_path / "b")
    assert again.validation_loss == whole.validation_loss
    assert [point[:2] + point[5:] for point in again.points] == [point[:2] + point[5:] for point in whole.points]


def test_stopping_loses_at_most_the_step_at_hand(tmp_path):
    with pytest.raises(Terminated) as stopped:
        run(course(micro=1), tmp_path, stop=StopAfter(9 * 5 + 4), every=1000)
    assert stopped.value.checkpoint_step == 5


def test_a_killed_run_goes_on_from_its_newest_complete_checkpoint(tmp_path, monkeypatch):
    """Killed while the state is uploaded: what is torn is passed over."""
    undisturbed = trained(tmp_path / "a")
    with pytest.raises(Terminated):
        run(course(), tmp_path / "b", stop=StopAfter(8), every=2)
    folders = sorted((tmp_path / "b").rglob("checkpoints/0*"))
    newest = folders[-1]
    (newest / "checkpoint.json").unlink()  # the description is what is written last
    again = course()
    taken = run(again, tmp_path / "b")
    assert taken.resumed_from == int(folders[-2].name)
    assert torch.equal(weights(again), undisturbed)


def test_an_altered_checkpoint_is_not_believed(tmp_path):
    with pytest.raises(Terminated):
        run(course(), tmp_path, stop=StopAfter(8), every=2)
    for state in tmp_path.rglob("state.safetensors"):
        state.write_bytes(state.read_bytes()[:-1] + b"\x01")
    assert run(course(), tmp_path).resumed_from is None


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    run(course(), tmp_path, every=1, keep=2)
    kept = [folder.name for folder in sorted(tmp_path.rglob("checkpoints/0*")) if any(folder.iterdir())]
    assert len(kept) <= 3  # two complete ones, and one that was being written when the last was asked for


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    writing, go_on = threading.Event(), threading.Event()
    write = checkpoints_module.Checkpoints._write

    def slow(self, snapshot):
        writing.set()
        go_on.wait(10)
        write(self, snapshot)

    monkeypatch.setattr(checkpoints_module.Checkpoints, "_write", slow)
    made = course()
    stepped = []
    take_step = steps.take_step

    def counted(course, step, stop):
        if writing.is_set():
            stepped.append(step)
        if len(stepped) == 4:
            go_on.set()
        return take_step(course, step, stop)

    monkeypatch.setattr(steps, "take_step", counted)
    began = time.monotonic()
    assert run(made, tmp_path, every=2).step == made.total
    assert len(stepped) >= 4
    assert time.monotonic() - began < 9


def test_a_store_that_is_away_does_not_stop_the_run(tmp_path, monkeypatch, caplog):
    def refuse(self, snapshot):
        raise Failure("StoreUnreachable", "the store did not answer")

    monkeypatch.setattr(checkpoints_module.Checkpoints, "_write", refuse)
    made = course()
    assert run(made, tmp_path).step == made.total
    assert "a checkpoint could not be written: the store did not answer" in caplog.text


def test_a_checkpoint_of_other_examples_is_removed_and_the_run_starts_anew(tmp_path):
    """A GoldenDataset changed between two attempts, so another row is left out: the same steps would be other rows."""
    with pytest.raises(Terminated):
        run(course(), tmp_path, stop=StopAfter(8), every=2)
    other = course()
    other = dataclasses.replace(other, training=[*other.training[1:], other.training[0]])
    assert run(other, tmp_path).resumed_from is None
    undisturbed = trained(tmp_path / "b")
    assert not torch.equal(weights(other), undisturbed)


def test_a_layer_that_no_text_reaches_does_not_keep_a_run_from_resuming(tmp_path):
    def idle(made):
        made.model.idle = torch.nn.Linear(2, 2)
        made.optimizer.add_param_group({"params": list(made.model.idle.parameters())})
        return made

    with pytest.raises(Terminated):
        run(idle(course()), tmp_path, stop=StopAfter(8), every=2)
    assert run(idle(course()), tmp_path).resumed_from is not None


def test_checkpoints_that_cannot_be_removed_do_not_spoil_a_published_run(tmp_path, monkeypatch, caplog):
    def refuse(self, uri):
        raise Failure("StoreUnreachable", "the store refused the key (403)")

    kept = checkpoints_module.Checkpoints(store(tmp_path), RUN_URI, tmp_path, keep=2)
    kept.save(steps.snapshot(course(), steps.Taken(step=1)))
    kept.wait()
    monkeypatch.setattr(type(kept._objects), "delete", refuse)
    kept.forget()
    assert "could not be removed: the store refused the key" in caplog.text


# -- memory ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("micro", [4, 3, 2, 1])
def test_how_a_step_is_cut_does_not_change_what_is_learned(tmp_path, micro):
    """Same examples, same order, divided by the same tokens: equal up to the rounding of sums."""
    whole = trained(tmp_path / "a", micro=8)
    cut = trained(tmp_path / "b", micro=micro)
    assert (whole - cut).abs().max() < 1e-5 * 12


def test_with_dropout_another_cut_leaves_out_other_places_and_learns_alike(tmp_path):
    """The tolerance that docs/training.md states."""
    before = weights(course(dropout=0.1))
    whole = trained(tmp_path / "a", micro=8, dropout=0.1) - before
    cut = trained(tmp_path / "b", micro=2, dropout=0.1) - before
    assert torch.nn.functional.cosine_similarity(whole, cut, dim=0) > 0.85


def test_padded_and_packed_runs_learn_the_same(tmp_path):
    packed = trained(tmp_path / "a", packed=True)
    padded = trained(tmp_path / "b", packed=False)
    assert (packed - padded).abs().max() < 1e-4


def test_gradient_checkpointing_does_not_change_what_is_learned(tmp_path):
    plain = trained(tmp_path / "a", micro=1)
    made = course(micro=1)
    made.plan = made.plan.model_copy(update={"gradient_checkpointing": True})
    run(made, tmp_path / "b")
    assert (weights(made) - plain).abs().max() < 1e-5


def test_out_of_memory_cuts_the_step_finer_and_learns_the_same(tmp_path, monkeypatch):
    whole = trained(tmp_path / "a", micro=8)
    likelihood = share.log_likelihood

    def greedy(model, batch):
        if len(batch.borders) - 1 > 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return likelihood(model, batch)

    monkeypatch.setattr(share, "log_likelihood", greedy)
    made = course(micro=8)
    run(made, tmp_path / "b")
    assert (made.plan.micro_batch_size, made.plan.accumulation) == (2, 4)
    assert made.plan.reason.startswith("out of memory at step 1")
    assert (weights(made) - whole).abs().max() < 1e-5 * 12


def test_memory_that_is_never_enough_ends_with_what_to_do(tmp_path, monkeypatch):
    tried = []

    def greedy(model, batch):
        tried.append((len(batch.borders) - 1, model.is_gradient_checkpointing))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(share, "log_likelihood", greedy)
    with pytest.raises(Failure) as failed:
        run(course(micro=8), tmp_path)
    assert failed.value.failure == "OutOfMemory"
    assert "Raise spec.resources" in failed.value.message
    assert tried == [(8, False), (4, False), (2, False), (1, False), (1, True)]


def test_a_resumed_run_keeps_the_finer_cut(tmp_path):
    finer = course(micro=2)
    finer.plan = finer.plan.model_copy(update={"reason": "out of memory at step 1"})
    with pytest.raises(Terminated):
        run(finer, tmp_path, stop=StopAfter(20))
    again = course(micro=8)
    run(again, tmp_path)
    assert again.plan.micro_batch_size == 2


# -- diverging ------------------------------------------------------------------------------------------------------------
def test_a_loss_that_is_no_number_ends_the_run_before_the_weights_are_touched(tmp_path, monkeypatch):
    made = course()
    before = weights(made)
    likelihood = share.log_likelihood
    monkeypatch.setattr(share, "log_likelihood", lambda model, batch: likelihood(model, batch) * math.nan)
    with pytest.raises(Failure) as failed:
        run(made, tmp_path)
    assert failed.value.failure == "Diverged"
    assert "the loss became nan at step 1 of 12; lower hyperparameters.learningRate" in failed.value.message
    assert torch.equal(weights(made), before)


def test_a_loss_far_above_its_start_and_above_knowing_nothing_is_hopeless():
    made = course()
    ignorance = math.log(320)
    steps.check_hopeless(ignorance + 1.9, 3.0, made, 5)
    with pytest.raises(Failure, match=r"the loss rose to 7\.9 at step 5 of 12, from 3\.0 at the start"):
        steps.check_hopeless(ignorance + 2.1, 3.0, made, 5)


@pytest.mark.parametrize(("first", "last", "collapsed"), [(3.0, 5.7, True), (5.7, 5.8, False), (3.0, 3.9, False)])
def test_a_run_that_ends_at_knowing_nothing_is_no_success(first, last, collapsed):
    made = course()  # ln 320 is 5.8
    taken = steps.Taken(step=12, first=first, smoothed=last)
    if collapsed:
        with pytest.raises(Failure, match=r"ended at 5\.7, which is knowing nothing, and began with 3\.0"):
            steps.check_collapsed(taken, made)
    else:
        steps.check_collapsed(taken, made)
