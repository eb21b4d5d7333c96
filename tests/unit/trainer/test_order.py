"""Order and learning rate are functions of seed and step alone."""

import math

import pytest
import torch
from clara_trainer.order import batch, epoch_order, learning_rate, total_steps
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_cosine_schedule_with_warmup


@given(
    examples=st.integers(1, 60), epochs=st.floats(0.1, 4), global_batch=st.integers(1, 20), seed=st.integers(0, 1000)
)
def test_every_epoch_sees_every_example_once(examples, epochs, global_batch, seed):
    steps = total_steps(examples, epochs=epochs, global_batch=global_batch)
    row = [
        place
        for step in range(steps)
        for place in batch(step, examples=examples, epochs=epochs, global_batch=global_batch, seed=seed)
    ]
    assert len(row) == max(1, round(examples * epochs))
    for start in range(0, len(row) - examples + 1, examples):
        assert sorted(row[start : start + examples]) == list(range(examples))


def test_no_step_is_empty_and_only_the_last_may_be_smaller():
    steps = total_steps(10, epochs=1.5, global_batch=4)
    sizes = [len(batch(s, examples=10, epochs=1.5, global_batch=4, seed=1)) for s in range(steps)]
    assert sizes == [4, 4, 4, 3]


def test_epochs_and_seeds_have_orders_of_their_own():
    assert epoch_order(50, 1, 0) != epoch_order(50, 1, 1)
    assert epoch_order(50, 1, 0) != epoch_order(50, 2, 0)


@pytest.mark.parametrize(("steps", "warmup_ratio"), [(30, 0.0), (30, 0.1), (7, 0.5)])
def test_the_rate_is_the_cosine_schedule_of_transformers(steps, warmup_ratio):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = get_cosine_schedule_with_warmup(optimizer, math.ceil(steps * warmup_ratio), steps)
    for step in range(steps):
        ours = learning_rate(step, peak=0.5, steps=steps, warmup_ratio=warmup_ratio)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_run_of_few_steps_learns(steps):
    rates = [learning_rate(step, peak=0.5, steps=steps, warmup_ratio=0.03) for step in range(steps)]
    assert max(rates) == 0.5
