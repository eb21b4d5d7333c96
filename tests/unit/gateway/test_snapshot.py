"""Which engines count, and where an alias points."""

from __future__ import annotations

import pytest
from clara_gateway.routing.names import Caller, resolve
from unit.gateway.gateway_builders import deployment, digest_of, engine, engine_name, route, snapshot

HOME = Caller(home="amt-a")
V1, V2 = "steuerrecht-1.0.0", "steuerrecht-1.1.0"


def answering(*objects: dict, model: str = "steuerrecht") -> list[str]:
    return [p.engine.name for p in resolve(snapshot(*objects), model, HOME).placements]


@pytest.mark.parametrize(
    "bad",
    [
        engine("bad", V1, healthy=False),
        engine("bad", V1, draining=True),
        engine("bad", V1, address=None),
        engine("bad", V1, state="Loading"),
        engine("bad", V1, state="Draining"),
        engine("bad", V1, state="Failed"),
        engine("bad"),
        engine("bad", V1, deployment="another"),
        engine("bad", V1, namespace="amt-b"),
    ],
    ids=["unhealthy", "draining", "no address", "loading", "retiring", "failed", "empty", "other sdep", "other ns"],
)
def test_only_an_engine_that_has_verified_the_version_answers(bad: dict):
    assert answering(deployment(route(V1)), bad, engine("good", V1)) == ["good"]


def test_the_right_name_with_another_digest_is_not_the_version():
    other = engine("e0")
    other["status"]["adapters"] = [{"engineName": engine_name(V1), "digest": digest_of("x"), "state": "Verified"}]
    assert answering(deployment(route(V1)), other) == []


def test_an_unhealthy_engine_does_not_answer_for_the_base_either():
    assert answering(deployment(), engine("e0", healthy=False), engine("e1"), model="tiny-de") == ["e1"]


def test_the_alias_moves_when_enough_engines_have_verified_the_new_version():
    two = deployment(route(V1), route(V2), families={"steuerrecht": 2})
    before = snapshot(two, engine("e0", V1, V2), engine("e1", V1))
    after = snapshot(two, engine("e0", V1, V2), engine("e1", V1, V2))
    assert resolve(before, "steuerrecht", HOME).public_name == V1
    assert resolve(after, "steuerrecht", HOME).public_name == V2


def test_below_min_engines_everywhere_the_newest_that_anybody_holds_answers():
    two = deployment(route(V1), route(V2), families={"steuerrecht": 2})
    assert resolve(snapshot(two, engine("e0", V1)), "steuerrecht", HOME).public_name == V1


def test_versions_are_compared_as_numbers():
    nine, ten = "steuerrecht-1.9.0", "steuerrecht-1.10.0"
    seen = snapshot(deployment(route(ten), route(nine)), engine("e0", nine, ten))
    assert resolve(seen, "steuerrecht", HOME).public_name == ten


def test_weight_zero_is_reached_by_its_exact_name_only():
    seen = snapshot(deployment(route(V1), route(V2, weight=0)), engine("e0", V1, V2))
    assert resolve(seen, "steuerrecht", HOME).public_name == V1


def test_of_two_deployments_the_higher_version_verified_on_its_min_engines_wins():
    old = deployment(route(V1), name="old")
    new = deployment(route(V2), name="new", families={"steuerrecht": 2})
    o0 = engine("o0", V1, deployment="old")
    n0, n1 = engine("n0", V2, deployment="new"), engine("n1", V2, deployment="new")
    assert resolve(snapshot(old, new, o0, n0), "steuerrecht", HOME).public_name == V1
    assert resolve(snapshot(old, new, o0, n0, n1), "steuerrecht", HOME).public_name == V2


def test_engines_of_two_deployments_with_one_version_add_up():
    a, b = deployment(route(V1), name="a"), deployment(route(V1, "Loading"), name="b")
    c = deployment(route(V1), name="c")
    engines = [engine(f"{d}0", V1, deployment=d) for d in "abc"]
    assert answering(a, b, c, *engines) == ["a0", "c0"]


def test_a_retired_version_gets_nothing_new_although_engines_still_hold_it():
    seen = snapshot(deployment(route(V1, "Retired", successor="1.1.0"), route(V2)), engine("e0", V1, V2))
    assert resolve(seen, "steuerrecht", HOME).public_name == V2
    assert seen.namespaces["amt-a"].families["steuerrecht"].versions["1.0.0"].placements == ()
