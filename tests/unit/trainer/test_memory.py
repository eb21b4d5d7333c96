"""A run begins with the cut that is computed to fit, and goes down a ladder that ends."""

from types import SimpleNamespace

import pytest
import torch
from clara_api.training_job import Hyperparameters, MemoryPlan
from clara_trainer import memory
from clara_trainer.memory import Lengths

EIGHT = Hyperparameters(global_batch_size=8)


def test_a_pod_that_was_killed_for_its_memory_comes_back_finer():
    first = memory.first_plan(EIGHT, 50, on_gpu=False)
    plans = [memory.after_kills(first, 8, level) for level in range(4)]
    assert [plan.micro_batch_size for plan in plans] == [8, 2, 1, 1]
    assert [plan.gradient_checkpointing for plan in plans] == [False, False, False, True]
    assert all(plan.micro_batch_size * plan.accumulation >= 8 for plan in plans)


def test_the_ladder_ends():
    assert len(list(memory.ladder(MemoryPlan(micro_batch_size=64, accumulation=1), 64))) == 8


@pytest.mark.parametrize(("processes", "micro", "accumulation"), [(1, 8, 1), (2, 4, 1), (3, 3, 1), (16, 1, 1)])
def test_processes_share_a_step_before_it_is_cut(processes, micro, accumulation):
    plan = memory.first_plan(EIGHT, 50, on_gpu=True, processes=processes)
    assert (plan.micro_batch_size, plan.accumulation, plan.processes) == (micro, accumulation, processes)


@pytest.mark.parametrize(
    ("available", "micro", "twice"), [(1000, 8, False), (500, 4, False), (112, 1, False), (110, 1, True), (5, 1, True)]
)
def test_a_run_begins_on_the_first_rung_that_is_computed_to_fit(available, micro, twice):
    def needed(plan):
        return 10 if plan.gradient_checkpointing else 100 * plan.micro_batch_size

    plan = memory.first_plan(EIGHT, 50, on_gpu=False)
    found = memory.fitting(plan, 8, needed, available)
    assert (found.micro_batch_size, found.gradient_checkpointing) == (micro, twice)
    assert bool(found.reason) == (found != plan)


def test_without_a_limit_nothing_is_cut():
    plan = memory.first_plan(EIGHT, 50, on_gpu=False)
    assert memory.fitting(plan, 8, lambda plan: 1 << 60, None) is plan


def test_the_heaviest_pass_holds_the_longest_example():
    lengths = Lengths.of([100, 100, 400], [50, 50, 200])
    assert lengths.heaviest_pass(1, packed=True) == 400
    assert lengths.heaviest_pass(3, packed=True) == 800
    assert lengths.heaviest_pass(3, packed=False) == 1200
    assert lengths.supervised == 0.5


def test_a_resumed_run_takes_the_finer_cut_of_before_also_when_it_is_the_lowest_rung():
    plan = MemoryPlan(micro_batch_size=1, accumulation=8)
    before = plan.model_copy(update={"gradient_checkpointing": True, "reason": "out of memory at step 1"})
    assert memory.finer(before, plan, 8).gradient_checkpointing
    assert memory.finer(plan, before, 8) is before


def test_a_run_begun_on_eight_gpus_is_not_cut_finer_on_one():
    on_eight = memory.first_plan(EIGHT, 50, on_gpu=True, processes=8)
    on_one = memory.first_plan(EIGHT, 50, on_gpu=True)
    assert memory.finer(on_eight, on_one, 8) is on_one


@pytest.mark.parametrize(
    ("inner", "layers", "known"), [(64, 2, True), (None, 2, True), ([64, 32], 2, True), (64, None, False)], ids=str
)
def test_whatever_an_architecture_says_of_itself_is_no_error(inner, layers, known):
    config = SimpleNamespace(hidden_size=32, intermediate_size=inner, num_hidden_layers=layers, vocab_size=320)
    model = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: config), dtype=torch.uint8)
    assert (memory.pass_bytes(model, 100, 50) > 0) == known
