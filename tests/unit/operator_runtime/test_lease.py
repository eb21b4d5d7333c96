"""Leadership, with a clock in the hand."""

from __future__ import annotations

import asyncio

import pytest
from clara_operator.errors import LeaseLost
from clara_operator.lease import SAFETY, Leader

PATH = "/apis/coordination.k8s.io/v1/namespaces/clara-system/leases/clara-operator"
SECONDS = 15


def leader(api, clock, name: str) -> Leader:
    return Leader(api, "clara-system", name, SECONDS, clock)


async def step(one: Leader) -> bool:
    return await one._try()


async def test_the_first_one_leads_and_the_second_one_waits(api, clock):
    a, b = leader(api, clock, "a"), leader(api, clock, "b")
    assert await step(a)
    assert not await step(b)
    a.fence()
    with pytest.raises(LeaseLost):
        b.fence()


async def test_a_released_lease_is_taken_at_once(api, clock, server):
    a, b = leader(api, clock, "a"), leader(api, clock, "b")
    await step(a)
    await a.release()
    assert not a.is_leading
    assert await step(b)
    assert server.objects[PATH]["spec"]["holderIdentity"] == "b"


async def test_a_silent_leader_is_replaced_after_a_whole_lease_seen_by_the_follower_and_not_before(api, clock):
    a, b = leader(api, clock, "a"), leader(api, clock, "b")
    await step(a)
    clock.now += 1000  # b knows nothing of a's past: its own watching counts
    assert not await step(b)
    clock.now += SECONDS - 1
    assert not await step(b)
    clock.now += 2
    assert await step(b)


async def test_a_leader_stops_writing_before_anybody_may_take_over(api, clock):
    a = leader(api, clock, "a")
    await step(a)
    clock.now += SECONDS * SAFETY - 0.01
    a.fence()
    clock.now += 0.02
    with pytest.raises(LeaseLost):
        a.fence()
    assert SAFETY < 1


async def test_the_deadline_counts_from_before_the_request_was_sent(api, clock, server):
    def slow() -> None:
        clock.now += SECONDS

    server.before_answer = slow
    a = leader(api, clock, "a")
    assert await step(a)
    assert not a.is_leading


async def test_a_leader_that_slept_through_its_lease_ends_and_does_not_take_it_again(api, clock, server):
    a = leader(api, clock, "a")
    await step(a)
    a.leading.set()
    clock.now += SECONDS * 10  # nobody took over meanwhile: the Lease still names it
    writes = len(server.writes)
    await asyncio.wait_for(a.run(), 5)
    assert len(server.writes) == writes


async def test_a_lease_another_one_renewed_meanwhile_is_not_overwritten(api, clock, server):
    a, b = leader(api, clock, "a"), leader(api, clock, "b")
    await step(a)
    await step(b)
    clock.now += SECONDS + 1
    server.refuse["PUT"] = (409, "Conflict", "the object has been modified")
    assert not await step(b)


async def test_a_container_restarted_in_its_pod_goes_on_leading(api, clock):
    await step(leader(api, clock, "a"))
    assert await step(leader(api, clock, "a"))
