"""What the Engine's status says, and when the pod is ready."""

from __future__ import annotations

from datetime import UTC, datetime

from clara_agent.engine_object import read
from clara_agent.held import Held
from clara_agent.process import Process
from clara_agent.status import Desired, EngineFacts, all_have_verdicts, compose
from clara_api.engine import WantedAdapter
from unit.agent.agent_store import spec

DIGEST = "sha256:" + "a" * 64
T0 = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING = Process().looked("healthy", "100.0")


def wanted(name: str, state: str = "serve") -> WantedAdapter:
    return WantedAdapter(engine_name=name, digest=DIGEST, uri="s3://clara/a", state=state)


def test_equal_knowledge_gives_equal_statuses_so_that_nothing_is_written():
    desired, facts = Desired(spec(DIGEST), 3, "u"), EngineFacts(RUNNING)
    a, b = Held(DIGEST, verified_at=T0), Held(DIGEST)
    assert compose(desired, facts, {"a": a, "b": b}) == compose(desired, facts, {"b": b, "a": a})


def test_the_status_names_generation_process_and_every_adapter():
    status = compose(Desired(spec(DIGEST), 3, "u"), EngineFacts(RUNNING, noise=0.01), {"a": Held(DIGEST)}).wire()
    assert status == {
        "observedGeneration": 3,
        "healthy": True,
        "draining": False,
        "process": "100.0",
        "noise": 0.01,
        "adapters": [{"engineName": "a", "digest": DIGEST, "state": "Pending"}],
    }


def test_verdicts_of_retired_adapters_are_not_waited_for():
    verified, failed = Held(DIGEST, verified_at=T0), Held(DIGEST, permanent=True)
    assert all_have_verdicts((wanted("a"), wanted("b"), wanted("c", "retire")), {"a": verified, "b": failed})
    assert not all_have_verdicts((wanted("a"), wanted("b")), {"a": verified, "b": Held(DIGEST)})
    assert not all_have_verdicts((wanted("a"),), {})
    assert all_have_verdicts((), {})


def test_an_engine_object_that_cannot_be_read_is_no_spec():
    assert read({"metadata": {"name": "e"}, "spec": {"adapters": "many"}}) is None
    good = read({"metadata": {"name": "e", "uid": "u", "generation": 2}, "spec": spec(DIGEST).wire()})
    assert good is not None
    assert (good.uid, good.generation) == ("u", 2)
