"""The curves show every spike, say their numbers, and bear whatever a run logs."""

import math
import re

import pytest
from clara_trainer.curve import Point, clock, loss_chart, rate_chart, smoothed, thinned
from clara_trainer.svg_axes import Frame, ticks


def points(*losses, validation=None):
    return [
        Point(10 * n, loss, 2e-4, 1000 * n, 1.5 * n, (validation or {}).get(n))
        for n, loss in enumerate(losses, start=1)
    ]


def test_every_point_says_its_numbers_when_pointed_at():
    chart = loss_chart(points(4.0, 2.0, validation={2: 2.25}))
    titles = re.findall(r"<title>(.*?)</title>", chart)
    assert titles[0] == "step 10 · loss 4.0000 · smoothed 4.0000 · 1,000 tokens · 0:00:02"
    assert "step 20 · loss 2.0000 · smoothed 2.0000 · validation 2.2500 · 2,000 tokens" in titles[1]
    assert "step 10 · learning rate 2e-4" in rate_chart(points(4.0, 2.0))


def test_axes_have_units():
    chart = loss_chart(points(4.0, 2.0))
    assert ">step</text>" in chart
    assert ">loss (nats per token)</text>" in chart


def test_validation_points_are_drawn_only_where_there_are_some():
    assert "held-out" not in loss_chart(points(4.0, 3.0, 2.0))
    assert loss_chart(points(4.0, 3.0, 2.0, validation={1: 4.1, 3: 2.2})).count('<circle class="held-out"') == 2


@pytest.mark.parametrize("losses", [(2.0,), (2.0, 2.0), (0.0, 0.0), (math.nan, 2.0, math.inf, 1.0), (math.nan,)])
def test_a_chart_is_drawn_of_whatever_was_logged(losses):
    chart = loss_chart(points(*losses)) + rate_chart(points(*losses))
    assert chart.count("<svg") == chart.count("</svg>") == 2
    assert "nan" not in chart
    assert "inf" not in chart


def test_thinning_keeps_the_first_the_last_and_every_spike():
    many = points(*[1.0 + n / 1e6 for n in range(10_000)])
    many[4321] = Point(many[4321].step, 99.0, 0, 0, 0)
    few = thinned(many, 600)
    assert len(few) <= 601
    assert few == sorted(few, key=lambda point: point.step)
    assert {many[0], many[4321], many[-1]} <= set(few)


def test_smoothing_starts_at_the_first_value_and_follows():
    values = smoothed([4.0] * 50 + [2.0] * 150)
    assert values[0] == pytest.approx(4.0)
    assert 2.0 < values[52] < 4.0
    assert values[-1] == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.011, 0.52), (3, 8641), (1e-7, 3e-4), (5, 5)])
def test_ticks_are_few_and_lie_on_the_axis(low, high):
    found = ticks(low, high, 5)
    assert 1 <= len(found) <= 9
    assert all(low <= value <= high for value in found)


def test_greater_is_higher_and_later_is_further_right():
    frame = Frame(0, 10, 0, 4)
    assert frame.y(4) < frame.y(0)
    assert frame.x(10) > frame.x(0)


def test_durations_are_told_in_hours():
    assert clock(3665.4) == "1:01:05"
