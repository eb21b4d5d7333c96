"""What goes into the cache, what leaves it, and who is told."""

from __future__ import annotations

from clara_operator.cluster import Cluster
from clara_operator.plan import Key
from clara_operator.projection import project
from clara_operator.runtime.intake import Intake
from clara_operator.runtime.queue import WorkQueue
from clara_operator.sweep import Sweep

KIND = "Adapter"
PATH = "/apis/clara.vcc.dev/v1alpha1/namespaces/recht/adapters"


def adapter(name: str = "a", version: int = 10, uid: str = "u1", **more: object) -> dict[str, object]:
    meta = {"name": name, "namespace": "recht", "uid": uid, "resourceVersion": str(version), "generation": 1}
    return {"apiVersion": "clara.vcc.dev/v1alpha1", "kind": KIND, "metadata": meta, "spec": {}, **more}


def itself(kind, old, new, cluster) -> set[Key]:
    meta = (new or old)["metadata"]
    return {Key(kind, meta["namespace"], meta["name"])}


def intake(clock) -> Intake:
    return Intake(Cluster(), WorkQueue(clock), itself)


def known(one: Intake, name: str = "a") -> bool:
    return one.cluster.get(KIND, "recht", name) is not None


def test_an_event_older_than_what_is_known_changes_nothing(clock):
    one = intake(clock)
    one.event(KIND, "ADDED", adapter(version=10, status={"samples": 2}))
    one.event(KIND, None, adapter(version=9))
    assert one.cluster.get(KIND, "recht", "a")["status"] == {"samples": 2}


async def test_our_own_echo_without_a_difference_wakes_nobody(clock):
    one = intake(clock)
    one.event(KIND, "ADDED", adapter(version=10))
    one.queue.done(await one.queue.get())
    one.event(KIND, "MODIFIED", adapter(version=11))
    assert one.queue.depth == 0
    one.event(KIND, "MODIFIED", adapter(version=12, status={"x": 1}))
    assert one.queue.depth == 1


def test_the_late_deletion_of_an_earlier_object_of_the_name_does_not_remove_the_new_one(clock):
    one = intake(clock)
    one.event(KIND, "ADDED", adapter(uid="new"))
    one.event(KIND, "DELETED", adapter(uid="old"))
    assert known(one)


def test_progress_of_a_deleted_job_is_forgotten(clock):
    one = intake(clock)
    job = adapter() | {"kind": "TrainingJob"}
    one.event("TrainingJob", "ADDED", job)
    one.cluster.record_progress("recht", "a", 1, None)
    one.event("TrainingJob", "DELETED", job)
    assert one.cluster.progress("recht", "a", 1) == ()


async def test_a_sweep_forgets_what_the_list_does_not_hold_and_wakes_its_key(api, server, clock):
    one = intake(clock)
    kept = server.store(f"{PATH}/kept", adapter("kept"))
    one.event(KIND, "ADDED", kept)
    one.event(KIND, "ADDED", adapter("gone", version=50, uid="u2"))
    while one.queue.depth:
        one.queue.done(await one.queue.get())
    await Sweep(api, ["recht"], 60, one.vanish).sweep()
    assert known(one, "kept")
    assert not known(one, "gone")
    assert await one.queue.get() == Key(KIND, "recht", "gone")


async def test_a_sweep_keeps_what_came_after_its_list_was_read(api, server, clock):
    one = intake(clock)
    one.event(KIND, "ADDED", adapter("young", version=server.version + 1))
    await Sweep(api, ["recht"], 60, one.vanish).sweep()
    assert known(one, "young")


async def test_a_sweep_leaves_other_namespaces_alone(api, clock):
    one = intake(clock)
    one.event(KIND, "ADDED", adapter(version=1))
    await Sweep(api, ["finanzen"], 60, one.vanish).sweep()
    assert known(one)


async def test_a_list_longer_than_a_page_is_read_to_its_end(api, server, clock):
    one = intake(clock)
    for number in range(1001):
        one.event(KIND, "ADDED", server.store(f"{PATH}/a{number}", adapter(f"a{number}", uid=f"u{number}")))
    await Sweep(api, ["recht"], 60, one.vanish).sweep()
    assert sum(1 for _ in one.cluster.keys(KIND)) == 1001


async def test_the_caches_are_filled_when_nothing_listed_is_missing(api, server, clock):
    one, sweep = intake(clock), Sweep(api, ["recht"], 60, lambda *_: None)
    obj = server.store(f"{PATH}/a", adapter())
    assert await sweep.missing(one.cluster) == 1
    one.event(KIND, None, obj)
    assert await sweep.missing(one.cluster) == 0


def test_of_a_pod_only_what_is_read_is_kept():
    pod = {
        "metadata": {
            "name": "p",
            "namespace": "recht",
            "managedFields": [1],
            "annotations": {"clara.vcc.dev/run-digest": "d", "other/one": "x"},
        },
        "spec": {"nodeName": "n", "containers": [1]},
        "status": {"phase": "Running", "hostIP": "h", "podIP": "i"},
    }
    kept = project("Pod", pod)
    assert kept["metadata"] == {
        "name": "p",
        "namespace": "recht",
        "annotations": {"clara.vcc.dev/run-digest": "d"},
    }
    assert kept["spec"] == {"nodeName": "n"}
    assert kept["status"] == {"phase": "Running", "podIP": "i"}
