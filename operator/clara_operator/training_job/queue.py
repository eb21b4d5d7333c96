"""Who may train next in a namespace: at most N at once, by priority that rises with waiting. Pure.

    level = spec.queue.priority + one per AGE of waiting      the highest level goes first; then the oldest; then the name

Ageing has no end, so nobody waits forever: whoever comes AGE x 4 after a run of priority 1 is behind it, whatever its own.
A run between two attempts keeps its slot while its back-off is short (KEPT), and stands in line again when it is long.

Called by decide with the contenders that contenders.py finds. Every look at the same cache gives the same order; what is
being created this moment counts as running (Cluster.announce), so two looks at once never start too many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

AGE = timedelta(minutes=10)
KEPT = timedelta(seconds=30)
RUNNING, BETWEEN, WAITING = "running", "between attempts", "waiting"


@dataclass(frozen=True, slots=True)
class Contender:
    """A TrainingJob of the namespace that has a slot or wants one. `stage` is RUNNING, BETWEEN or WAITING."""

    name: str
    stage: str
    priority: int
    created: datetime
    since: datetime | None = None  # when it began to wait; None: this moment


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether it is a run's turn; otherwise its place and when to look again."""

    now: bool
    position: int = 0
    message: str = ""
    look_after: timedelta | None = None


def level(contender: Contender, now: datetime) -> int:
    """Priority after ageing."""
    return contender.priority + waited(contender, now) // AGE


def waited(contender: Contender, now: datetime) -> timedelta:
    """How long it has stood in line."""
    return max(timedelta(), now - contender.since) if contender.since else timedelta()


def turn(name: str, contenders: Sequence[Contender], slots: int, now: datetime) -> Turn:
    """The turn of `name`, which is one of the contenders and does not run."""
    running = sum(c.stage == RUNNING for c in contenders)
    line = sorted((c for c in contenders if c.stage != RUNNING), key=lambda c: _order(c, now))
    place = next(i for i, c in enumerate(line) if c.name == name)
    if place < slots - running:
        return Turn(now=True)
    mine = line[place]
    older = AGE - waited(mine, now) % AGE
    return Turn(False, place + 1, _message(mine, place, running, len(line), slots), older)


def _order(contender: Contender, now: datetime) -> tuple[bool, int, datetime, str]:
    return (contender.stage != BETWEEN, -level(contender, now), contender.created, contender.name)


def _message(mine: Contender, place: int, running: int, waiting: int, slots: int) -> str:
    return (
        f"place {place + 1} of {waiting} that wait; {running} of at most {slots} train in this namespace. "
        f"It starts when one ends; a higher spec.queue.priority (now {mine.priority}) and waiting move it forward"
    )
