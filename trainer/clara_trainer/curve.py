"""How training went, as two charts: loss and learning rate over the steps. Pure; called by html_report.py.

Every logged step answers the pointer with its numbers: a <title> per column, so no script is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from html import escape

from clara_trainer.svg_axes import BOTTOM, TOP, Frame, scientific, short, whole

MOST_POINTS = 600  # per line; more cannot be told apart on a screen
SMOOTHED_OVER = 1 / 40  # of all logged steps: the time constant of the exponential mean
ROOM = 0.06  # of the range, above and below a line


@dataclass(frozen=True, slots=True)
class Point:
    """One logged step. `tokens` and `seconds` count from the start of the run; `loss` is the mean since the last point."""

    step: int
    loss: float
    learning_rate: float
    tokens: int
    seconds: float
    validation_loss: float | None = None


def loss_chart(points: Sequence[Point]) -> str:
    """Raw and smoothed loss, and the validation loss where it was measured."""
    shown = thinned([point for point in points if math.isfinite(point.loss)], MOST_POINTS)
    held_out = [(p.step, loss) for p in points if (loss := _validation(p)) is not None]
    means = dict(zip((p.step for p in points), smoothed([p.loss for p in points]), strict=True))
    losses = [*(p.loss for p in shown), *(loss for _, loss in held_out)]
    frame = _frame(points, losses, height=300)
    raw = [(p.step, p.loss) for p in shown]
    lines = _line(frame, raw, "raw") + _line(frame, [(p.step, means[p.step]) for p in shown], "smooth")
    dots = "".join(f'<circle class="held-out" cx="{frame.x(s):.1f}" cy="{frame.y(v):.1f}" r="4"/>' for s, v in held_out)
    return frame.draw(
        lines + _line(frame, held_out, "held-out") + dots + _columns(frame, shown, lambda p: _words(p, means[p.step])),
        label=f"Loss over {points[-1].step} steps",
        x_label="step",
        y_label="loss (nats per token)",
        x_ticks=whole,
        y_ticks=short,
    )


def rate_chart(points: Sequence[Point]) -> str:
    """The learning rate: warm-up and decay."""
    shown = thinned(points, MOST_POINTS)
    frame = _frame(points, [0, *(point.learning_rate for point in shown)], height=190)
    line = _line(frame, [(p.step, p.learning_rate) for p in shown], "smooth")
    return frame.draw(
        line + _columns(frame, shown, lambda p: f"step {p.step:,} · learning rate {scientific(p.learning_rate)}"),
        label=f"Learning rate over {points[-1].step} steps",
        x_label="step",
        y_label="learning rate",
        x_ticks=whole,
        y_ticks=scientific,
    )


def smoothed(values: Sequence[float]) -> list[float]:
    """Exponential mean that is not drawn to zero at the start (Kingma & Ba 2015, §3); what is no number is read over."""
    keep = 1 - 1 / max(1.0, len(values) * SMOOTHED_OVER)
    total = weight = 0.0
    found = []
    for value in values:
        if math.isfinite(value):
            total, weight = total * keep + value, weight * keep + 1
        found.append(total / weight if weight else value)
    return found


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most about `most` points, in order: of every stretch the lowest and the highest loss, so that no spike is hidden."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(2 * len(points) / most)
    kept = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        ends = (min(stretch, key=lambda p: p.loss), max(stretch, key=lambda p: p.loss))
        kept += sorted(set(ends), key=lambda p: p.step)
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def clock(seconds: float) -> str:
    """'0:01:05'."""
    return str(timedelta(seconds=round(seconds)))


def _validation(point: Point) -> float | None:
    loss = point.validation_loss
    return loss if loss is not None and math.isfinite(loss) else None


def _frame(points: Sequence[Point], values: Sequence[float], *, height: int) -> Frame:
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = (high - low) * ROOM or max(abs(high), 1e-9) * ROOM
    bottom = low if low == 0 else max(0.0, low - room)
    return Frame(points[0].step if len(points) > 1 else 0, points[-1].step, bottom, high + room, height)


def _line(frame: Frame, pairs: Sequence[tuple[float, float]], kind: str) -> str:
    spots = [f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in pairs if math.isfinite(y)]
    if len(spots) == 1:  # a path of one point has no length
        x, y = spots[0].split()
        return f'<circle class="{kind}" cx="{x}" cy="{y}" r="4"/>'
    return f'<path class="line {kind}" d="M{"L".join(spots)}"/>' if spots else ""


def _columns(frame: Frame, points: Sequence[Point], words: Callable[[Point], str]) -> str:
    """Invisible columns, one per point, each as wide as to the middle of its neighbours."""
    middles = [frame.x(point.step) for point in points]
    found = []
    for place, (point, middle) in enumerate(zip(points, middles, strict=True)):
        left = (middles[place - 1] + middle) / 2 if place else middle - 4
        right = (middles[place + 1] + middle) / 2 if place + 1 < len(middles) else middle + 4
        found.append(
            f'<g class="column"><rect x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{frame.height - TOP - BOTTOM}"/>'
            f'<path d="M{middle:.1f} {TOP}V{frame.height - BOTTOM}"/><title>{escape(words(point))}</title></g>'
        )
    return "".join(found)


def _words(point: Point, mean: float) -> str:
    parts = [f"step {point.step:,}", f"loss {point.loss:.4f}", f"smoothed {mean:.4f}"]
    if (held_out := _validation(point)) is not None:
        parts.append(f"validation {held_out:.4f}")
    return " · ".join([*parts, f"{point.tokens:,} tokens", clock(point.seconds)])
