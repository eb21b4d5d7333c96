"""How far a mean can be trusted. Pure; called by scoring.py.

Samples of one source are not independent, so the groups' means are what is counted: a 95 % t-interval over them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# Two-sided 95 % quantiles of Student's t for 1 … 30 degrees of freedom.
T_95 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip
Z_95 = 1.959964


def t_quantile(degrees: int) -> float:
    """The 97.5 % quantile; above the table by Cornish-Fisher (Abramowitz & Stegun 26.7.5), exact to 1e-4 there."""
    if degrees <= len(T_95):
        return T_95[degrees - 1]
    z = Z_95
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def interval(
    groups: Sequence[Sequence[float]], *, lowest: float = 0, highest: float = 100
) -> tuple[float, float] | None:
    """95 % interval of the mean over groups, cut to the scale; None with fewer than two groups: one says nothing of spread."""
    means = [math.fsum(group) / len(group) for group in groups if group]
    if len(means) < 2:
        return None
    mean = math.fsum(means) / len(means)
    variance = math.fsum((m - mean) ** 2 for m in means) / (len(means) - 1)
    half = t_quantile(len(means) - 1) * math.sqrt(variance / len(means))
    return max(lowest, mean - half), min(highest, mean + half)
