"""The frame of a chart as inline SVG: scales, grid, ticks and labels. Pure; called by curve.py and html_report.py.

Colours and fonts come from the page's style by class names, so that one chart serves light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

WIDTH = 760
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 28, 40
NICE = (1, 2, 2.5, 5, 10)
Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Frame:
    """Data coordinates → pixels of a chart that is WIDTH wide; (x0, y0) is the lower left corner."""

    x0: float
    x1: float
    y0: float
    y1: float
    height: int = 260

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.x0) / ((self.x1 - self.x0) or 1)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return self.height - BOTTOM - (self.height - TOP - BOTTOM) * (value - self.y0) / ((self.y1 - self.y0) or 1)

    def draw(self, inside: str, *, label: str, x_label: str, y_label: str, x_ticks: Format, y_ticks: Format) -> str:
        """The whole chart around its marks; `label` is what a screen reader says."""
        rows = "".join(self._row(value, y_ticks) for value in ticks(self.y0, self.y1, 5))
        columns = "".join(self._column(value, x_ticks) for value in ticks(self.x0, self.x1, 8))
        foot = self.height - BOTTOM
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{escape(label)}">'
            f'<g class="grid">{rows}{columns}<path class="axis" d="M{LEFT} {foot}H{WIDTH - RIGHT}"/>'
            f'<text x="{WIDTH - RIGHT}" y="{self.height - 4}" text-anchor="end">{escape(x_label)}</text>'
            f'<text x="{LEFT}" y="12">{escape(y_label)}</text></g>{inside}</svg>'
        )

    def _row(self, value: float, shown: Format) -> str:
        y = self.y(value)
        return (
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(shown(value))}</text>'
        )

    def _column(self, value: float, shown: Format) -> str:
        x, foot = self.x(value), self.height - BOTTOM
        return (
            f'<path class="axis" d="M{x:.1f} {foot}v4"/>'
            f'<text x="{x:.1f}" y="{foot + 17}" text-anchor="middle">{escape(shown(value))}</text>'
        )


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round values within [low, high], about so many.

    >>> ticks(0, 97, 5), ticks(0.11, 0.52, 4)
    ([0, 20, 40, 60, 80], [0.2, 0.3, 0.4, 0.5])
    """
    if not high > low:
        return [low]
    rough = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = min((nice * magnitude for nice in NICE), key=lambda size: abs(math.log(size / rough)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [_rounded(place * step) for place in range(first, last + 1)]


def _rounded(value: float) -> float:
    """Without the dust of binary fractions."""
    short = float(f"{value:.10g}")
    return int(short) if short.is_integer() else short


def whole(value: float) -> str:
    """1234567 → '1,234,567'."""
    return f"{value:,.0f}" if float(value).is_integer() else ""


def short(value: float) -> str:
    """Three or four digits that matter: 2.5 → '2.5', 0.04321 → '0.0432'."""
    return "0" if value == 0 else f"{value:.3g}"


def scientific(value: float) -> str:
    """Learning rates: 0.0002 → '2e-4'.

    >>> scientific(0.0002), scientific(0), scientific(0.00012345)
    ('2e-4', '0', '1.23e-4')
    """
    if value == 0:
        return "0"
    digits, _, exponent = f"{value:.2e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"
