"""Progress and ETA from differences of the step counter. Pure.

The percent and ETA a pod reports are not believed: after a SIGTERM transformers reports 100 %, after a resume its rate is
wrong. A message without a step never arrives here.
"""

from __future__ import annotations

from collections.abc import Sequence

from clara_api.training_job import Progress

from clara_operator.cluster import ProgressSample


def progress_of(samples: Sequence[ProgressSample]) -> Progress | None:
    """The newest state; ETA from the rate over the kept samples, None before two of them."""
    if not samples:
        return None
    last = samples[-1]
    percent = min(99, last.step * 100 // last.total_steps) if last.total_steps else 0
    return Progress(
        percent=percent,
        step=last.step,
        total_steps=last.total_steps,
        epoch=last.epoch,
        eta_seconds=_eta(samples),
        loss=last.loss,
        tokens_per_second=last.tokens_per_second,
    )


def _eta(samples: Sequence[ProgressSample]) -> int | None:
    first, last = samples[0], samples[-1]
    steps, seconds = last.step - first.step, (last.at - first.at).total_seconds()
    if steps <= 0 or seconds <= 0 or last.total_steps <= 0:
        return None
    return max(0, round((last.total_steps - last.step) * seconds / steps))


def for_people(seconds: int | None) -> str:
    """41 → '41s', 130 → '2m10s', 7300 → '2h1m'."""
    if seconds is None:
        return ""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
