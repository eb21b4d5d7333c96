"""Progress and ETA from differences of the step counter. Pure.

The percent and ETA a pod reports are not believed: after a SIGTERM transformers reports 100 %, after a resume its rate is
wrong. The samples are of the newest pod alone, so its rate counts the steps it took itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from clara_api.handoff.outcome import Outcome
from clara_api.training_job import Progress

from clara_operator.cluster import ProgressSample


def progress_of(samples: Sequence[ProgressSample], before: Progress | None) -> Progress | None:
    """The newest state; `before` is what the run had saved when this pod began (see `saved`). ETA needs two samples."""
    if not samples:
        return before
    last = samples[-1]
    known = before or Progress()
    step = known.step if last.step is None else last.step
    total = last.total_steps or known.total_steps
    return Progress(
        percent=_percent(step, total),
        step=step,
        total_steps=total,
        epoch=last.epoch,
        eta_seconds=_eta(samples),
        loss=known.loss if last.loss is None else last.loss,
        tokens_per_second=last.tokens_per_second,
        phase=last.phase,
        learning_rate=last.learning_rate,
        checkpoint_step=_later(last.checkpoint_step, known.checkpoint_step),
        resumed_from_step=last.resumed_from_step,
        interruptions=max(last.interruptions or 0, known.interruptions),
        peak_memory_bytes=_later(last.peak_memory_bytes, known.peak_memory_bytes),
        memory=last.memory or known.memory,
    )


def saved(known: Progress | None, said: Outcome | None) -> Progress | None:
    """What of a run is in the store: where the next pod takes it up. None before the first checkpoint."""
    step = _later(known.checkpoint_step if known else None, said.checkpoint_step if said else None)
    if not step:
        return None
    kept = known or Progress()
    total = (said.total_steps if said else None) or kept.total_steps
    return Progress(
        percent=_percent(step, total),
        step=step,
        total_steps=total,
        loss=kept.loss,
        checkpoint_step=step,
        interruptions=kept.interruptions,
        peak_memory_bytes=kept.peak_memory_bytes,
        memory=kept.memory,
    )


def finished(known: Progress | None, said: Outcome) -> Progress | None:
    """A run that took all its steps; a dry run, which took one, has no progress."""
    if said.dry_run is not None or not said.total_steps:
        return known
    kept = known or Progress()
    return Progress(
        percent=100,
        step=said.step or 0,
        total_steps=said.total_steps,
        loss=said.loss,
        checkpoint_step=kept.checkpoint_step,
        resumed_from_step=_later(said.resumed_from_step, kept.resumed_from_step),
        interruptions=kept.interruptions,
        peak_memory_bytes=kept.peak_memory_bytes,
        memory=said.memory or kept.memory,
    )


def _later(one: int | None, other: int | None) -> int | None:
    return max((n for n in (one, other) if n is not None), default=None)


def _percent(step: int, total: int) -> int:
    return min(99, step * 100 // total) if total else 0


def _eta(samples: Sequence[ProgressSample]) -> int | None:
    taken = [(s.step, s.at) for s in samples if s.step is not None]
    total = samples[-1].total_steps
    if len(taken) < 2 or not total:
        return None
    (first, since), (last, until) = taken[0], taken[-1]
    seconds = (until - since).total_seconds()
    if last <= first or seconds <= 0:
        return None
    return max(0, round((total - last) * seconds / (last - first)))


def for_people(seconds: int | None) -> str:
    """41 → '41s', 130 → '2m10s', 7300 → '2h1m'."""
    if seconds is None:
        return ""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
