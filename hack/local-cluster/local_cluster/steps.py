"""Run named steps in order, say what each took, and stop at the first that cannot go on.

A step asks first whether its work is done, so a second run resumes where the first one ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass


class Problem(Exception):
    """Something a person has to put right; `cure` says how."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.args[0]}\n  cure: {self.cure}"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the report. `done` must be cheap and must look at the world, not at a note about it."""

    name: str
    run: Callable[[], object]
    done: Callable[[], bool] = lambda: False


def run_steps(
    steps: Iterable[Step],
    say: Callable[[str], object] = print,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Run what is not done yet; return how many steps had work. A Problem passes through, after its step is named."""
    worked = 0
    for step in steps:
        start = clock()
        if step.done():
            say(f"  {step.name:<24} there already")
            continue
        try:
            step.run()
        except BaseException:
            say(f"  {step.name:<24} FAILED after {clock() - start:.1f} s")
            raise
        worked += 1
        say(f"  {step.name:<24} {clock() - start:6.1f} s")
    return worked


def wait_until(what: str, ready: Callable[[], bool], seconds: float, cure: str, pause: float = 0.05) -> None:
    """Poll `ready`; a Problem with `cure` when the time is over."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise Problem(f"{what} did not happen within {seconds:.0f} s", cure)
        time.sleep(pause)
