"""The newest knowledge, and who waits for it."""

from __future__ import annotations

import copy

from clara_api.kinds import ENGINE
from clara_gateway.knowledge import Knowledge
from clara_gateway.watches import paths
from unit.gateway.gateway_builders import deployment, engine, meta, route

V1 = "steuerrecht-1.0.0"


async def test_nothing_changed_leaves_the_snapshot_as_it_is():
    knowledge, objects = Knowledge(), ([deployment(route(V1))], [engine("e0", V1)])
    knowledge.learn(*objects)
    before, change = knowledge.snapshot, knowledge.next_change()
    knowledge.learn(*copy.deepcopy(objects))
    assert knowledge.snapshot is before
    assert not change.is_set()


async def test_a_new_revision_that_says_the_same_to_routing_wakes_nobody():
    knowledge, objects = Knowledge(), ([deployment(route(V1))], [engine("e0", V1)])
    knowledge.learn(*objects)
    change = knowledge.next_change()
    objects[1][0]["metadata"] |= meta("e0", "amt-a")
    objects[1][0]["status"]["heartbeat"] = "2026-11-01T00:00:00Z"
    knowledge.learn(*objects)
    assert not change.is_set()


async def test_a_change_wakes_who_waits():
    knowledge = Knowledge()
    knowledge.learn([], [])
    change = knowledge.next_change()
    knowledge.learn([deployment(route(V1))], [])
    assert change.is_set()


async def test_an_unreadable_object_keeps_its_last_form():
    knowledge, sdep = Knowledge(), deployment(route(V1))
    knowledge.learn([sdep], [])
    before = knowledge.snapshot
    broken = copy.deepcopy(sdep) | {"metadata": meta("verwaltung", "amt-a")}
    broken["status"]["routes"][0]["state"] = "SomethingNew"
    knowledge.learn([broken], [])
    assert knowledge.snapshot is before


def test_without_namespaces_the_whole_cluster_is_watched():
    assert paths(ENGINE, ()) == ["/apis/clara.vcc.dev/v1alpha1/engines"]
    assert paths(ENGINE, ("a",)) == ["/apis/clara.vcc.dev/v1alpha1/namespaces/a/engines"]
