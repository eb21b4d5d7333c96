"""A run that was interrupted goes on where it stopped."""

from __future__ import annotations

import pytest
from local_cluster.steps import Problem, Step, run_steps, wait_until


class World:
    """Three things to be made, of which the second fails as long as it is told to."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.broken = True
        self.said: list[str] = []

    def make(self, name: str) -> None:
        if name == "b" and self.broken:
            raise Problem("b is broken", "mend it")
        self.made.append(name)

    def run(self) -> int:
        names = ("a", "b", "c")
        steps = [Step(name, lambda name=name: self.make(name), lambda name=name: name in self.made) for name in names]
        return run_steps(steps, self.said.append)


def test_a_second_run_does_only_what_the_first_one_could_not():
    world = World()
    with pytest.raises(Problem):
        world.run()
    assert world.made == ["a"]
    world.broken = False
    assert world.run() == 2
    assert world.made == ["a", "b", "c"]


def test_a_third_run_has_nothing_to_do():
    world = World()
    world.broken = False
    world.run()
    assert world.run() == 0


def test_the_step_that_failed_is_named():
    world = World()
    with pytest.raises(Problem) as raised:
        world.run()
    assert world.said[-1].split()[:2] == ["b", "FAILED"]
    assert "cure: mend it" in str(raised.value)


def test_each_step_says_how_long_it_took():
    said: list[str] = []
    ticks = iter([10.0, 12.5])
    run_steps([Step("slow", lambda: None)], said.append, clock=lambda: next(ticks))
    assert said[0].split() == ["slow", "2.5", "s"]


def test_waiting_ends_with_a_cure():
    with pytest.raises(Problem, match=r"the moon .* within 0 s"):
        wait_until("the moon rising", lambda: False, 0, "wait longer", pause=0)
