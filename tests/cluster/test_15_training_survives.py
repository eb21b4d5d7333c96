"""What clusters do to pods costs a run time, never its result: it ends in the same bits as one nobody disturbed."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import clara_chain as chain
import node
import pytest
import training
from clara_install import kubectl
from conftest import RECHT
from node import signal_container


@pytest.fixture(scope="module")
def undisturbed(clara: chain.Base) -> Iterator[str]:
    """The weights of the run that all others here repeat."""
    chain.apply(training.job("ruhe", clara))
    yield training.succeeded("ruhe")["weightsDigest"]
    training.forget("ruhe")


@pytest.fixture
def run(clara: chain.Base, request: pytest.FixtureRequest) -> Iterator[str]:
    """The same recipe and rows under the test's own name."""
    name = request.node.name.removeprefix("test_").split("_")[1].replace("ü", "ue")[:20] + "-lauf"
    chain.apply(training.job(name, clara, data=[{"uri": training.put_rows("ruhe", training.rows())}]))
    yield name
    training.forget(name)


def test_an_evicted_run_goes_on_from_its_checkpoint_and_ends_in_the_same_bits(run: str, undisturbed: str):
    training.wait_for_step(run, 12)
    [pod] = training.pods(run)
    training.evict(pod)
    done = training.succeeded(run)
    assert done["weightsDigest"] == undisturbed
    assert done["progress"]["resumedFromStep"] >= 12
    assert done["progress"]["interruptions"] == 1
    assert [a["reason"] for a in done["attempts"]] == ["Succeeded"], "an eviction is nobody's failed attempt"
    events = kubectl("get", "events", "-n", RECHT, "--field-selector", f"involvedObject.name={run}", "-o", "wide")
    assert "Resumed" in events


def test_a_step_is_in_the_status_within_five_seconds(run: str):
    training.wait_for_step(run, 2)
    [pod] = training.pods(run)
    looks = []
    for _ in range(8):
        looks.append((training.step(run), datetime.now(UTC)))
        time.sleep(1)
    taken = training.step_times(pod)
    for shown, at in looks:
        newer = [when for step, when in taken.items() if step > shown and when < at]
        late = max(((at - when).total_seconds() for when in newer), default=0)
        assert late <= 5 + 1, f"status said step {shown} {late:.0f} s after a later one (log times are whole seconds)"
    assert len({shown for shown, _ in looks}) > 1


def test_a_killed_run_is_tried_again_and_ends_in_the_same_bits(run: str, undisturbed: str):
    """SIGKILL at random moments, perhaps during an upload: nobody can say goodbye."""
    for _ in range(2):
        before = training.step(run)
        training.wait_for_step(run, before + 6)
        time.sleep(random.random())
        [pod] = training.pods(run)
        assert signal_container(pod, RECHT, "trainer", signal.SIGKILL) > 0
        chain.until(lambda p=pod: True if p not in training.pods(run) else None, f"the end of {pod}", 30)
        chain.until(lambda: training.pods(run) or None, "another pod", 90, lambda: chain.describe("tj", run, RECHT))
    done = training.succeeded(run)
    assert done["weightsDigest"] == undisturbed
    assert [a["reason"] for a in done["attempts"]] == ["PodLost", "PodLost", "Succeeded"]
    assert done["progress"]["resumedFromStep"] > 0


def test_a_suspended_run_saves_stops_and_goes_on(run: str, undisturbed: str):
    training.wait_for_step(run, 7)
    training.patch(run, {"suspend": True})
    chain.wait_for_reason("tj", run, RECHT, "Succeeded", "Suspended", seconds=60)
    chain.until(lambda: True if not training.pods(run) else None, "no pod", 60)
    assert training.status(run)["progress"]["checkpointStep"] >= 7
    training.patch(run, {"suspend": False})
    done = training.succeeded(run)
    assert done["weightsDigest"] == undisturbed
    assert done["progress"]["resumedFromStep"] >= 7


def test_a_run_that_processes_share_survives_an_eviction_too(clara: chain.Base):
    """One process per GPU; on this CPU two."""
    limits = {"requests": {"cpu": "250m"}, "limits": {"cpu": "2"}}
    chain.apply(training.job("geteilt", clara, profile="multi-gpu", resources=limits))
    training.wait_for_step("geteilt", 12)
    [pod] = training.pods("geteilt")
    training.evict(pod)
    done = training.succeeded("geteilt")
    assert done["progress"]["memory"]["processes"] == 2
    assert done["progress"]["resumedFromStep"] >= 12
    assert done["effective"]["learningRate"] == training.SLOW["learningRate"], "what is written wins over the profile"
    training.forget("geteilt")


def test_a_run_whose_node_vanishes_goes_on_elsewhere(clara: chain.Base):
    """A second node that is only an API object takes the pod and is then gone: nobody can tell the pod to stop."""
    prefers = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 100, "preference": {"matchExpressions": [{"key": "test", "operator": "In", "values": [node.GHOST]}]}}
    ]}}  # fmt: skip
    with node.ghost():
        chain.apply(training.job("knoten", clara, scheduling={"affinity": prefers}))
        chain.until(
            lambda: True if training.nodes("knoten") == [node.GHOST] else None,
            "the pod on that node", 60, lambda: chain.describe("tj", "knoten", RECHT),
        )  # fmt: skip
    done = training.succeeded("knoten", seconds=400)
    assert [a["reason"] for a in done["attempts"]] == ["Succeeded"], "a lost node is nobody's failed attempt"
    assert done["attempts"][-1]["node"] != node.GHOST
    training.forget("knoten")


def test_a_deleted_pod_is_replaced_while_the_operator_is_away(run: str, undisturbed: str):
    from operator_pod import away

    training.wait_for_step(run, 10)
    with away():
        [pod] = training.pods(run)
        kubectl("delete", "pod", pod, "-n", RECHT, "--wait=true", "--timeout=90s")
        chain.until(lambda: training.pods(run) or None, "another pod, made by the Job controller", 60)
    assert training.succeeded(run)["weightsDigest"] == undisturbed
