"""Status writes are refused by the API server when they were decided on something older."""

from __future__ import annotations

import pytest
from clara_operator.act import Actor
from clara_operator.cluster import Cluster
from clara_operator.errors import Permanent, Temporary
from clara_operator.plan import Event, Key, Plan, Ref, StatusWrite
from clara_operator.recorder import Recorder


def actor(kube) -> Actor:
    return Actor(kube.api, Cluster(), Recorder(kube.api, "test"), lambda: None)


def status(samples: int) -> dict[str, object]:
    return {"observedGeneration": 1, "samples": samples}


async def test_a_status_decided_on_an_older_version_is_refused_and_looked_at_again(kube):
    await kube.add("gds")
    old = (await kube.get("gds"))["metadata"]["resourceVersion"]
    await kube.label("gds", "two")
    with pytest.raises(Temporary):
        await actor(kube).act(Key("GoldenDataset", kube.namespace, "gds"), Plan(status=StatusWrite(old, status(1))))
    assert (await kube.get("gds"))["status"].get("samples", 0) == 0


async def test_a_status_that_the_schema_refuses_is_permanent_and_says_what_the_server_said(kube):
    await kube.add("gds")
    version = (await kube.get("gds"))["metadata"]["resourceVersion"]
    plan = Plan(status=StatusWrite(version, {"samples": "many"}), events=(Event("Normal", "Ready", "never said"),))
    with pytest.raises(Permanent, match=r"status\.samples"):
        await actor(kube).act(Key("GoldenDataset", kube.namespace, "gds"), plan)


async def test_a_delete_decided_on_another_object_of_the_name_removes_nothing(kube):
    await kube.add("gds")
    ref = Ref("clara.vcc.dev/v1alpha1", "GoldenDataset", kube.namespace, "gds", uid="another")
    with pytest.raises(Temporary):
        await actor(kube).act(Key("GoldenDataset", kube.namespace, "gds"), Plan(delete=(ref,)))
    assert (await kube.get("gds"))["metadata"]["name"] == "gds"


async def test_equal_status_applies_change_nothing(kube):
    await kube.add("gds")
    write = actor(kube)
    key = Key("GoldenDataset", kube.namespace, "gds")
    versions = []
    for _ in range(3):
        version = (await kube.get("gds"))["metadata"]["resourceVersion"]
        versions.append(await write.act(key, Plan(status=StatusWrite(version, status(3)))))
    assert len(set(versions)) == 1
