"""Workers, and the events they and `act` leave behind."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from clara_operator.act import Actor
from clara_operator.cluster import Cluster
from clara_operator.errors import LeaseLost
from clara_operator.plan import Create, Event, Key, Plan, StatusWrite
from clara_operator.recorder import LIMIT, Recorder
from clara_operator.runtime.queue import WorkQueue
from clara_operator.runtime.workers import ECHO_SECONDS, Workers
from clara_testing import make

KEY = Key("Adapter", make.NS, "a")
PATH = f"/apis/clara.vcc.dev/v1alpha1/namespaces/{make.NS}/adapters/a"
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c-1", "namespace": make.NS}}


class Shop:
    """Workers whose reconcile is the test's."""

    def __init__(self, api, server, reconcile, workers: int = 2) -> None:
        self.cluster = Cluster()
        self.obj = server.store(PATH, {"apiVersion": "clara.vcc.dev/v1alpha1", "kind": "Adapter", "metadata": {
            "name": "a", "namespace": make.NS}})  # fmt: skip
        self.cluster.put("Adapter", self.obj)
        self.queue, self.recorder, self.leads = WorkQueue(), Recorder(api, "pod"), True
        actor = Actor(api, self.cluster, self.recorder, self.fence)
        settings = make.settings(workers=workers)
        self.workers = Workers(self.queue, self.cluster, actor, self.recorder, settings, {"Adapter": reconcile})

    def fence(self) -> None:
        if not self.leads:
            raise LeaseLost("gone")

    async def work(self, seconds: float = 0.3) -> None:
        running = asyncio.create_task(self.workers.run())
        await asyncio.sleep(seconds)
        self.queue.close()
        await asyncio.wait_for(running, 5)


async def test_nothing_is_decided_on_an_object_older_than_our_own_last_write(api, server):
    seen: list[str] = []

    def reconcile(key, cluster, settings, now):
        version = cluster.get("Adapter", make.NS, "a")["metadata"]["resourceVersion"]
        seen.append(version)
        return Plan(
            status=StatusWrite(version, {"observedGeneration": len(seen)}), again_after=timedelta(milliseconds=1)
        )

    shop = Shop(api, server, reconcile)
    shop.queue.add(KEY)
    await shop.work(0.4)  # the watch brings no echo
    assert len(seen) == 1
    assert ECHO_SECONDS > 0.4


async def test_a_bug_in_one_key_does_not_stop_the_others_and_is_tried_again(api, server):
    seen: list[str] = []

    def reconcile(key, cluster, settings, now):
        seen.append(key.name)
        if key.name == "bad":
            raise ValueError("a bug")
        return Plan()

    shop = Shop(api, server, reconcile, workers=1)
    shop.queue.add(Key("Adapter", make.NS, "bad"))
    shop.queue.add(KEY)
    await shop.work(0.9)
    assert seen[:2] == ["bad", "a"]
    assert seen.count("bad") >= 2


async def test_what_the_api_server_refuses_is_told_on_the_object(api, server):
    server.refuse["POST"] = (403, "Forbidden", "exceeded quota: configmaps")
    shop = Shop(api, server, lambda *_: Plan(create=(Create(CONFIG),)))
    shop.queue.add(KEY)
    writer = asyncio.create_task(shop.recorder.run())
    await shop.work()
    await shop.recorder.drain(1)
    writer.cancel()
    event = server.bodies[-1]
    assert event["regarding"]["uid"] == shop.obj["metadata"]["uid"]
    assert "exceeded quota: configmaps" in event["note"]


async def test_workers_end_by_themselves_when_the_lease_is_lost(api, server):
    shop = Shop(api, server, lambda *_: Plan(create=(Create(CONFIG),)))
    shop.leads = False
    shop.queue.add(KEY)
    await asyncio.wait_for(shop.workers.run(), 5)
    assert server.writes == []


async def test_a_reconcile_that_does_not_end_is_named(api, server):
    shop = Shop(api, server, lambda *_: None)
    shop.workers.busy[KEY] = -1000.0
    assert str(KEY) in shop.workers.stuck()[0]


@pytest.fixture
async def recorder(api, clock):
    one = Recorder(api, "pod", clock)
    task = asyncio.create_task(one.run())
    yield one
    task.cancel()


async def test_equal_events_are_counted_and_not_repeated(recorder, server):
    for _ in range(3):
        recorder.record(KEY, "u", Event("Normal", "Served", "on 2 engines"))
    await recorder.drain(2)
    assert [method for method, _ in server.writes] == ["POST", "PATCH", "PATCH"]
    assert server.bodies[-1]["series"]["count"] == 3


async def test_after_the_window_an_equal_event_is_a_new_one(recorder, server, clock):
    recorder.record(KEY, "u", Event("Normal", "Served", "x"))
    await recorder.drain(2)
    clock.now += 601
    recorder.record(KEY, "u", Event("Normal", "Served", "x"))
    await recorder.drain(2)
    assert [method for method, _ in server.writes] == ["POST", "POST"]


async def test_a_loop_of_different_events_is_bounded_per_object(recorder, server):
    for number in range(LIMIT * 2):
        recorder.record(KEY, "u", Event("Normal", "Served", f"x {number}"))
    await recorder.drain(3)
    assert len(server.writes) == LIMIT


async def test_an_event_that_is_refused_harms_nothing(recorder, server):
    server.refuse["POST"] = (403, "Forbidden", "no")
    recorder.record(KEY, "u", Event("Normal", "Served", "first"))
    recorder.record(KEY, "u", Event("Normal", "Served", "second"))
    await recorder.drain(2)
    assert [o for o in server.objects if "/events/" in o]
