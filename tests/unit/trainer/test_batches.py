"""Memory may change how a step is cut, never the step."""

import pytest
from clara_trainer.batches import collate, micro_batch


@pytest.mark.parametrize(
    ("wanted", "whole", "on_gpu", "micro"),
    [
        ("auto", 64, False, 8),
        ("auto", 64, True, 16),
        ("auto", 12, False, 6),
        ("auto", 7, False, 7),
        ("auto", 13, False, 1),
        (4, 64, False, 4),
        (5, 64, False, 4),
        (128, 64, False, 64),
    ],
)
def test_the_micro_batch_divides_the_global_batch(wanted, whole, on_gpu, micro):
    assert micro_batch(wanted, whole, on_gpu=on_gpu) == micro
    assert whole % micro == 0


def test_padding_is_neither_attended_to_nor_learned():
    batch = collate([{"input_ids": [5, 6], "labels": [-100, 6]}, {"input_ids": [7], "labels": [7]}], pad=0)
    assert batch["input_ids"].tolist() == [[5, 6], [7, 0]]
    assert batch["labels"].tolist() == [[-100, 6], [7, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
