"""Who trains next: never more than N, and everybody gets a turn."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from clara_operator.plan import Create, Plan
from clara_operator.training_job.queue import AGE, BETWEEN, RUNNING, WAITING, Contender, Turn, turn
from clara_testing import make
from clara_testing.make import NS, T0
from clara_testing.training import digest, failed, look, names, seen_again, state, status, told
from hypothesis import given, settings
from hypothesis import strategies as st


def waits(name: str, *, priority: int = 3, age: int = 0, minutes: float = 0, stage: str = WAITING) -> Contender:
    """One that was created `age` and stands in line for `minutes`."""
    return Contender(name, stage, priority, T0 - timedelta(minutes=age), T0 - timedelta(minutes=minutes))


def runs(name: str) -> Contender:
    return waits(name, stage=RUNNING)


def turn_of(name: str, *all_of_them: Contender, slots: int = 1) -> Turn:
    return turn(name, all_of_them, slots, T0)


def test_a_free_slot_is_taken_at_once():
    assert turn_of("a", waits("a")).now
    assert turn_of("a", waits("a"), runs("b"), slots=2).now


def test_a_full_namespace_makes_it_wait_and_says_what_would_move_it():
    told_ = turn_of("a", waits("a"), runs("b"))
    assert not told_.now
    assert told_.position == 1
    assert told_.message == (
        "place 1 of 1 that wait; 1 of at most 1 train in this namespace. It starts when one ends; a higher "
        "spec.queue.priority (now 3) and waiting move it forward"
    )


def test_the_higher_priority_goes_first_then_the_older_then_the_name():
    line = [waits("d"), waits("c"), waits("b", age=1), waits("a", priority=5)]
    assert [turn_of(c.name, *line, runs("x")).position for c in line] == [4, 3, 2, 1]


@pytest.mark.parametrize(("minutes", "first"), [(39, "young"), (41, "old")])
def test_waiting_raises_the_priority_by_one_every_ten_minutes(minutes: int, first: str):
    """The old one is at level 1 + 3, then 1 + 4 = 5, and it was there before."""
    young, old = waits("young", priority=5), waits("old", priority=1, minutes=minutes, age=minutes)
    assert turn_of(first, young, old).now


def test_it_is_looked_at_again_when_it_has_aged():
    assert turn_of("a", waits("a", minutes=4), runs("b")).look_after == timedelta(minutes=6)


def test_a_run_between_two_attempts_keeps_its_slot():
    between = waits("b", priority=1, stage=BETWEEN)
    assert not turn_of("a", waits("a", priority=5), between).now
    assert turn_of("b", waits("a", priority=5), between).now


# -- in the cluster --------------------------------------------------------------------------------------------------------


def trains(name: str) -> Any:
    return make.job(name, run_digest=digest(make.training_job(name)))


def test_a_namespace_trains_as_many_as_the_installation_allows():
    known = make.cluster(make.training_job(), make.training_job("x"), trains("x"))
    plan = look(known, max_running_jobs=1)
    assert plan.create == ()
    assert state(plan) == "Queued"
    assert told(plan, "Queued")["status"] == "True"
    assert status(plan)["queuePosition"] == 1
    assert status(plan)["recipeLocked"] is False
    assert plan.again_after == AGE
    assert names(look(known, max_running_jobs=2))


def test_other_namespaces_recovery_jobs_and_what_has_ended_take_no_slot():
    elsewhere = trains("x")
    elsewhere["metadata"]["namespace"] = "finanzen"
    recovery = make.job("y", "recover", run_digest="r")
    ended = make.job("z", run_digest="r", finished="Complete")
    known = make.cluster(make.training_job(), elsewhere, recovery, ended)
    assert names(look(known, max_running_jobs=1))


def test_a_suspended_job_frees_its_slot():
    stopped = make.job("x", run_digest="r", suspended=True)
    assert names(look(make.cluster(make.training_job(), make.training_job("x"), stopped), max_running_jobs=1))


def test_a_dry_run_needs_a_slot_too():
    known = make.cluster(make.training_job(dryRun=True), make.training_job("x"), trains("x"))
    assert state(look(known, max_running_jobs=1)) == "Queued"


def test_waiting_in_line_is_written_once():
    known = make.cluster(make.training_job(), make.training_job("x"), trains("x"))
    seen_again(known, look(known, max_running_jobs=1))
    assert look(known, max_running_jobs=1, now=T0 + timedelta(minutes=3)).is_empty


def test_a_long_back_off_gives_the_slot_back_and_a_short_one_keeps_it():
    for attempts, kept in ((1, True), (3, False)):
        tj = make.training_job()
        known = make.cluster(tj, make.training_job("other"))
        for n in range(1, attempts + 1):
            for obj in failed(tj, n, "StoreUnreachable"):
                known.put(obj["kind"], obj)
        seen_again(known, look(known, now=T0 - timedelta(seconds=59)))
        plan = look(known, name="other", max_running_jobs=1, now=T0 - timedelta(seconds=50))
        assert state(plan) == "Queued"
        assert bool(plan.create) is not kept


def test_two_looks_at_the_same_time_never_start_too_many():
    known = make.cluster(make.training_job("a"), make.training_job("b", queue={"priority": 5}))
    first = look(known, name="a", max_running_jobs=1)
    assert names(first)
    on_the_way = known.announce(first)  # what act does before it waits for the API server
    assert look(known, name="b", max_running_jobs=1).create == ()
    known.settle(on_the_way)
    assert names(look(known, name="b", max_running_jobs=1)), "the write was refused: the slot is free"


# -- for any order of arrivals ---------------------------------------------------------------------------------------------

ARRIVALS = st.lists(
    st.tuples(st.integers(0, 120), st.integers(1, 5), st.integers(1, 40)), min_size=1, max_size=25
)  # minute, priority, length


def simulated(arrivals: list[tuple[int, int, int]], slots: int) -> tuple[list[int], dict[str, int]]:
    """Minute by minute: how many ran, and how long each waited."""
    waiting: dict[str, Contender] = {}
    running: dict[str, int] = {}
    counts: list[int] = []
    waited: dict[str, int] = {}
    for minute in range(4000):
        now = T0 + timedelta(minutes=minute)
        running = {name: left - 1 for name, left in running.items() if left > 1}
        for n, (arrives, priority, _) in enumerate(arrivals):
            if arrives == minute:
                waiting[f"j{n}"] = Contender(f"j{n}", WAITING, priority, now, now)
        for name in sorted(waiting):  # any order of reconciles
            everybody = [*waiting.values(), *(running_one(name, now) for name in running)]
            if turn(name, everybody, slots, now).now:
                waited[name] = int((now - waiting.pop(name).created).total_seconds() // 60)
                running[name] = arrivals[int(name[1:])][2]
        counts.append(len(running))
        if len(waited) == len(arrivals):
            break
    return counts, waited


def running_one(name: str, now: datetime) -> Contender:
    return Contender(name, RUNNING, 3, now)


@settings(max_examples=60, deadline=None)
@given(ARRIVALS, st.integers(1, 4))
def test_never_more_than_n_and_everybody_gets_a_turn(arrivals: list[tuple[int, int, int]], slots: int):
    counts, waited = simulated(arrivals, slots)
    assert max(counts) <= slots
    assert len(waited) == len(arrivals)


@pytest.mark.parametrize("slots", [1, 2])
def test_a_low_priority_is_not_starved_by_a_stream_of_high_ones(slots: int):
    stream = [(minute, 5, 10) for minute in range(0, 600, 10 // slots)]
    _, waited = simulated([*stream, (1, 1, 10)], slots)
    assert waited[f"j{len(stream)}"] <= 60


def test_the_same_line_gives_the_same_order_at_every_look():
    line = [waits(f"j{n}", priority=n % 5 + 1, age=n % 3) for n in range(9)]
    for name in ("j0", "j8"):
        assert turn_of(name, *line, runs("x")) == turn_of(name, *reversed(line), runs("x"))


def test_plans_that_create_nothing_announce_nothing():
    known = make.cluster()
    assert known.announce(Plan()) == []
    coming = known.announce(Plan(create=(Create(trains("x")),)))
    assert [o["metadata"]["name"] for o in known.with_coming("Job", NS)] == ["x-train-1"]
    known.settle(coming)
    assert known.with_coming("Job", NS) == []
