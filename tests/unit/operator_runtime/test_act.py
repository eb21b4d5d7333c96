"""Carrying out a plan against an API server."""

from __future__ import annotations

import pytest
from clara_operator.act import Actor
from clara_operator.cluster import Cluster
from clara_operator.errors import LeaseLost, Permanent, Temporary
from clara_operator.plan import Apply, Create, Event, Key, Patch, Plan, Ref, StatusWrite
from clara_operator.recorder import Recorder
from clara_operator.runtime.intake import Intake
from clara_operator.runtime.queue import WorkQueue
from clara_operator.runtime.resources import WATCHED

KEY = Key("Adapter", "recht", "steuerrecht-1.0.0")
ADAPTERS = "/apis/clara.vcc.dev/v1alpha1/namespaces/recht/adapters"
JOBS = "/apis/batch/v1/namespaces/recht/jobs"
DEPLOYMENT = "/apis/apps/v1/namespaces/recht/deployments/engine"


def thing(api_version: str, kind: str, name: str, **more: object) -> dict[str, object]:
    meta = {"name": name, "namespace": "recht", **more.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, **more}


JOB = thing("batch/v1", "Job", "train-1", spec={"suspend": False})


class Desk:
    """An actor, and what it needs."""

    def __init__(self, api) -> None:
        self.cluster = Cluster(watched=frozenset(r.kind for r in WATCHED))
        self.recorder = Recorder(api, "pod")
        self.leads = True
        self.actor = Actor(api, self.cluster, self.recorder, self.fence)

    def fence(self) -> None:
        if not self.leads:
            raise LeaseLost("gone")

    async def act(self, **plan: object) -> str | None:
        return await self.actor.act(KEY, Plan(**plan))


@pytest.fixture
def desk(api) -> Desk:
    return Desk(api)


async def test_creates_come_first_and_the_status_last(desk, server):
    known = server.store(f"{ADAPTERS}/{KEY.name}", thing("clara.vcc.dev/v1alpha1", "Adapter", KEY.name))
    gone = server.store(f"{JOBS}/old", thing("batch/v1", "Job", "old"))["metadata"]
    await desk.act(
        status=StatusWrite(known["metadata"]["resourceVersion"], {"observedGeneration": 1}),
        delete=(Ref("batch/v1", "Job", "recht", "old", gone["uid"], gone["resourceVersion"]),),
        apply=(Apply(thing("apps/v1", "Deployment", "engine", spec={"replicas": 1})),),
        create=(Create(JOB),),
    )
    assert [method for method, _ in server.writes] == ["POST", "PATCH", "DELETE", "PATCH"]
    assert server.writes[-1][1] == f"{ADAPTERS}/{KEY.name}/status"
    assert server.bodies[2]["propagationPolicy"] == "Background"


async def test_an_object_that_exists_already_was_created(desk, server):
    server.store(f"{JOBS}/train-1", dict(JOB))
    await desk.act(create=(Create(JOB),))


async def test_a_version_taken_by_another_is_read_live_and_decided_again(desk, server):
    adapter = thing("clara.vcc.dev/v1alpha1", "Adapter", "steuerrecht-1.1.0", spec={"family": "steuerrecht"})
    server.store(f"{ADAPTERS}/steuerrecht-1.1.0", dict(adapter))
    with pytest.raises(Temporary) as refused:
        await desk.act(create=(Create(adapter, name_is_taken_by_race=True),))
    assert refused.value.delay is not None
    assert refused.value.delay < 0.2
    assert desk.cluster.get("Adapter", "recht", "steuerrecht-1.1.0") is not None


async def test_what_carries_the_label_already_is_not_created_under_another_name(desk, server):
    first = thing("clara.vcc.dev/v1alpha1", "Adapter", "x-1.0.0", metadata={"labels": {"job": "u1"}})
    server.store(f"{ADAPTERS}/x-1.0.0", first)
    second = thing("clara.vcc.dev/v1alpha1", "Adapter", "x-1.0.1")
    await desk.act(create=(Create(second, unless_labelled="job=u1"),))
    assert server.writes == []


async def test_an_apply_that_would_change_nothing_is_not_sent(desk, server):
    plan = {"apply": (Apply(thing("apps/v1", "Deployment", "engine", spec={"replicas": 1})),)}
    await desk.act(**plan)
    desk.cluster.put("Deployment", server.objects[DEPLOYMENT])
    await desk.act(**plan)
    assert len(server.writes) == 1


async def test_an_apply_is_sent_again_when_somebody_changed_the_object(desk, server):
    plan = {"apply": (Apply(thing("apps/v1", "Deployment", "engine", spec={"replicas": 1})),)}
    await desk.act(**plan)
    changed = thing("apps/v1", "Deployment", "engine", spec={"replicas": 9})
    desk.cluster.put("Deployment", server.store(DEPLOYMENT, changed))
    await desk.act(**plan)
    assert len(server.writes) == 2


async def test_a_delete_of_what_is_gone_is_done_and_of_what_changed_is_looked_at_again(desk, server):
    await desk.act(delete=(Ref("batch/v1", "Job", "recht", "gone", "u"),))
    server.store(f"{JOBS}/other", thing("batch/v1", "Job", "other"))
    with pytest.raises(Temporary):
        await desk.act(delete=(Ref("batch/v1", "Job", "recht", "other", "not-its-uid"),))
    assert f"{JOBS}/other" in server.objects


def stop(seen: dict[str, object]) -> Patch:
    meta = seen["metadata"]
    ref = Ref("batch/v1", "Job", "recht", "train-1", meta["uid"], meta["resourceVersion"])
    return Patch(ref, {"metadata": {"annotations": {"why": "asked"}}, "spec": {"suspend": True}})


async def test_a_patch_names_the_object_it_was_decided_on_and_is_in_the_cache_at_once(desk, server):
    seen = server.store(f"{JOBS}/train-1", dict(JOB))
    await desk.act(patch=(stop(seen),))
    (body,) = server.bodies
    assert body["metadata"] == {
        "annotations": {"why": "asked"},
        "uid": seen["metadata"]["uid"],
        "resourceVersion": seen["metadata"]["resourceVersion"],
    }
    assert desk.cluster.get("Job", "recht", "train-1")["spec"] == {"suspend": True}


async def test_a_patch_of_what_changed_or_is_gone_is_decided_again(desk, server):
    seen = server.store(f"{JOBS}/train-1", dict(JOB))
    older = {"metadata": dict(seen["metadata"])}
    server.store(f"{JOBS}/train-1", dict(JOB))
    with pytest.raises(Temporary):
        await desk.act(patch=(stop(older),))
    server.refuse["PATCH"] = (404, "NotFound", "jobs.batch train-1 not found")
    with pytest.raises(Temporary):
        await desk.act(patch=(stop(older),))


async def test_what_is_on_its_way_counts_until_it_arrived_or_was_refused(desk, server):
    counted = []
    server.before_answer = lambda: counted.append(len(desk.cluster.with_coming("Job", "recht")))
    await desk.act(create=(Create(dict(JOB)),))
    assert counted == [1]
    assert len(desk.cluster.with_coming("Job", "recht")) == 1
    other = thing("batch/v1", "Job", "train-2")
    server.refuse["POST"] = (403, "Forbidden", "exceeded quota: gpus")
    with pytest.raises(Permanent):
        await desk.act(create=(Create(other),))
    assert len(desk.cluster.with_coming("Job", "recht")) == 1


async def test_a_status_decided_on_an_older_object_is_refused_and_no_event_tells_of_it(desk, server, api):
    seen = server.store(f"{ADAPTERS}/{KEY.name}", thing("clara.vcc.dev/v1alpha1", "Adapter", KEY.name))
    desk.cluster.put("Adapter", seen)
    with pytest.raises(Temporary):
        await desk.act(status=StatusWrite("1", {"observedGeneration": 1}), events=(Event("Normal", "Served", "yes"),))
    assert desk.recorder._queue.empty()


async def test_a_process_that_lost_its_lease_writes_nothing(desk, server):
    desk.leads = False
    ref = Ref("batch/v1", "Job", "recht", "old", "u")
    for plan in (
        {"create": (Create(JOB),)},
        {"apply": (Apply(thing("apps/v1", "Deployment", "engine")),)},
        {"delete": (ref,)},
        {"patch": (Patch(ref, {"spec": {"suspend": True}}),)},
        {"status": StatusWrite("1", {})},
    ):
        with pytest.raises(LeaseLost):
            await desk.act(**plan)
    assert server.writes == []


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ((403, "Forbidden", "exceeded quota: gpus"), Permanent),
        ((422, "Invalid", "spec.template: immutable"), Permanent),
        ((500, "", "failed to create typed patch object: .spec.replicas: expected numeric"), Permanent),
        ((500, "InternalError", "etcd is away"), Temporary),
        ((429, "TooManyRequests", "slow down"), Temporary),
        ((404, "NotFound", "namespace recht not found"), Temporary),
    ],
)
async def test_a_refusal_is_one_of_two_words_and_keeps_what_the_server_said(desk, server, answer, word):
    server.refuse["POST"] = answer
    with pytest.raises(word, match=answer[2][:20]) as refused:
        await desk.act(create=(Create(JOB),))
    assert refused.value.__cause__ is not None


async def test_what_was_created_wakes_whoever_depends_on_it_although_its_echo_changes_nothing(api, server):
    """The Adapter of a finished run: the watch event that follows the POST is equal to what the POST returned."""
    cluster, queue = Cluster(watched=frozenset(r.kind for r in WATCHED)), WorkQueue()
    intake = Intake(
        cluster, queue, lambda kind, old, new, _: {Key(kind, "recht", new["metadata"]["name"])} if new else set()
    )
    actor = Actor(api, cluster, Recorder(api, "pod"), lambda: None, lambda kind, obj: intake.event(kind, "ADDED", obj))
    adapter = thing("clara.vcc.dev/v1alpha1", "Adapter", "steuerrecht-1.1.0", spec={"family": "steuerrecht"})
    await actor.act(KEY, Plan(create=(Create(adapter),)))
    assert await queue.get() == Key("Adapter", "recht", "steuerrecht-1.1.0")
