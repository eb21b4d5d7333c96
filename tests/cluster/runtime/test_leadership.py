"""Two replicas on a real API server: one writes at a time, whatever happens to the other."""

from __future__ import annotations

import asyncio
import signal
import time


async def test_a_leader_frozen_past_its_lease_writes_nothing_when_it_goes_on(kube, replica):
    await kube.add("gds")
    frozen = replica("a", CLARA_LEASE_SECONDS="3", TOY_RESTLESS="1")

    async def a_writes():
        return (await kube.said("gds")).startswith("a saw one")

    await kube.until("a leads and writes", a_writes, 60)
    standby = replica("b", CLARA_LEASE_SECONDS="3")
    await kube.until("b is a standby with warm caches", standby.ready, 60)
    frozen.process.send_signal(signal.SIGSTOP)
    await kube.label("gds", "two")

    async def b_writes():
        return await kube.said("gds") == "b saw two"

    await kube.until("b took over and wrote", b_writes, 60)
    before = await kube.get("gds")
    frozen.process.send_signal(signal.SIGCONT)
    assert await asyncio.to_thread(frozen.process.wait, 30) == 1, frozen.log()
    await asyncio.sleep(1)
    assert await kube.get("gds") == before
    assert await kube.leader() == "b"
    assert "Traceback" not in frozen.log()


async def test_a_leader_that_is_asked_to_end_releases_the_lease_and_the_next_one_is_quick(kube, replica):
    await kube.add("gds")
    first = replica("a", CLARA_LEASE_SECONDS="15")

    async def a_writes():
        return await kube.said("gds") == "a saw one"

    await kube.until("a leads", a_writes, 60)
    standby = replica("b", CLARA_LEASE_SECONDS="15")
    await kube.until("b is a standby with warm caches", standby.ready, 60)
    first.process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    await kube.label("gds", "two")

    async def b_writes():
        return await kube.said("gds") == "b saw two"

    await kube.until("b took over", b_writes, 12)
    assert time.monotonic() - started < 6
    assert await asyncio.to_thread(first.process.wait, 20) == 0, first.log()
    assert "Traceback" not in first.log()
    assert "Task exception" not in first.log()
