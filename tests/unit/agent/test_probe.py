"""Which positions are measured, and what is concluded."""

from __future__ import annotations

import pytest
from clara_agent.errors import Permanent
from clara_agent.probe import MEASURED, Baseline, Position, judge, select
from clara_api.fingerprint import Fingerprint


def recorded(prompts: list[list[int]], differences: list[list[float]]) -> Fingerprint:
    return Fingerprint(prompts=prompts, differences=differences)


def test_each_difference_belongs_to_the_token_after_its_context():
    positions, expected = select(recorded([[7, 8, 9], [5, 6]], [[0.1, 0.2], [0.3]]))
    assert positions == (Position((7,), 8), Position((7, 8), 9), Position((5,), 6))
    assert expected == [0.1, 0.2, 0.3]


def test_long_records_are_sampled_evenly_over_all_prompts():
    rows = [[float(i * 100 + j) for j in range(47)] for i in range(6)]
    positions, expected = select(recorded([list(range(48))] * 6, rows))
    assert len(positions) == len(expected) == MEASURED
    assert {int(value // 100) for value in expected} == set(range(6))


@pytest.mark.parametrize(
    ("prompts", "differences", "words"),
    [
        ([], [], "no position"),
        ([[1]], [[]], "no position"),
        ([[1, 2, 3]], [[0.1]], "one difference per token"),
        ([[1, 2]], [[0.1], [0.2]], "one difference per token"),
        ([list(range(400))], [[0.0] * 399], "more than 256 tokens"),
    ],
)
def test_an_unusable_record_is_refused(prompts: list[list[int]], differences: list[list[float]], words: str):
    with pytest.raises(Permanent, match=words):
        select(recorded(prompts, differences))


def test_a_value_that_is_no_number_is_no_proof():
    with pytest.raises(Permanent, match="not finite"):
        judge([0.1], [float("nan")], Baseline([0.0], 0.0))


def test_the_effect_is_the_difference_to_the_base():
    result = judge([0.5, -0.5], [-1.5, -2.5], Baseline([-2.0, -2.0], 0.001))
    assert result.verified
    assert result.cosine == pytest.approx(1)
