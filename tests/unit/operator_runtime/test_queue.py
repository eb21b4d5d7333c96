"""The work queue."""

from __future__ import annotations

import asyncio

from clara_operator.plan import Key
from clara_operator.runtime.queue import FIRST_DELAY, LONGEST_DELAY, WorkQueue

A, B = Key("Adapter", "recht", "a"), Key("Adapter", "recht", "b")


def queue(clock, dice: float = 1.0) -> WorkQueue:
    return WorkQueue(clock, lambda: dice)


async def test_a_key_added_twice_is_worked_on_once(clock):
    q = queue(clock)
    q.add(A)
    q.add(A)
    assert await q.get() == A
    assert q.depth == 0


async def test_a_key_is_never_in_two_hands_and_comes_again_when_it_changed_meanwhile(clock):
    q = queue(clock)
    q.add(A)
    assert await q.get() == A
    q.add(A)
    assert q.depth == 0
    q.done(A)
    assert await q.get() == A
    q.done(A)
    assert q.depth == 0


async def test_the_oldest_key_comes_first_and_its_age_is_known(clock):
    q = queue(clock)
    q.add(A)
    clock.now += 3
    q.add(B)
    assert q.age == 3
    assert [await q.get(), await q.get()] == [A, B]


async def test_of_several_times_the_earliest_counts_and_the_others_do_not_come(clock):
    q = queue(clock)
    q.add_after(A, 10)
    q.add_after(A, 2)
    q.add_after(A, 5)
    clock.now += 2
    assert await q.get() == A
    q.done(A)
    clock.now += 100
    assert q.depth == 0


async def test_a_waiting_worker_is_woken_when_the_time_comes():
    q = WorkQueue()
    waiting = asyncio.create_task(q.get())
    await asyncio.sleep(0)
    q.add_after(A, 0.02)
    assert await asyncio.wait_for(waiting, 1) == A


async def test_failures_wait_twice_as_long_each_time_up_to_a_minute(clock):
    q = queue(clock)
    delays = [q.retry(A) for _ in range(10)]
    assert delays[:3] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    assert delays[-1] == LONGEST_DELAY
    q.succeeded(A)
    assert q.retry(A) == FIRST_DELAY


async def test_equal_failures_do_not_come_back_together(clock):
    assert queue(clock, dice=0.0).retry(A) == FIRST_DELAY / 2


async def test_a_delay_that_was_asked_for_is_kept_the_first_time_and_then_backs_off(clock):
    q = queue(clock)
    assert q.retry(A, 0.05) == 0.05
    assert q.retry(A, 0.05) == 2 * FIRST_DELAY


async def test_a_closed_queue_hands_nothing_out_and_tells_whoever_waits(clock):
    q = queue(clock)
    waiting = asyncio.create_task(q.get())
    await asyncio.sleep(0)
    q.close()
    assert await asyncio.wait_for(waiting, 1) is None
    q.add(A)
    assert await q.get() is None
