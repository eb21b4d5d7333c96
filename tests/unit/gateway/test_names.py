"""What a model name means."""

from __future__ import annotations

from clara_gateway.routing.names import Caller, Loading, Refused, Target, resolve
from unit.gateway.gateway_builders import deployment, engine, route, snapshot

HOME = Caller(home="amt-a")
V1, V2 = "steuerrecht-1.0.0", "steuerrecht-1.1.0"


def engines_of(found: object) -> set[str]:
    assert isinstance(found, Target), found
    return {p.engine.name for p in found.placements}


def refusal(found: object) -> tuple[int, str]:
    assert isinstance(found, Refused), found
    return found.status, found.code


def test_a_family_is_the_alias_of_the_version_in_service():
    seen = snapshot(deployment(route(V1)), engine("e0", V1))
    found = resolve(seen, "steuerrecht", HOME)
    assert isinstance(found, Target)
    assert (found.public_name, found.family, found.version) == (V1, "steuerrecht", "1.0.0")
    assert [p.served_name for p in found.placements] == [route(V1)["engineName"]]


def test_an_exact_version_is_answered_although_the_alias_points_elsewhere():
    seen = snapshot(deployment(route(V1, weight=0), route(V2)), engine("e0", V1, V2))
    assert resolve(seen, V1, HOME).public_name == V1
    assert resolve(seen, "steuerrecht", HOME).public_name == V2


def test_a_base_is_known_by_its_name_and_needs_no_adapter():
    seen = snapshot(deployment(), engine("e0"))
    found = resolve(seen, "tiny-de", HOME)
    assert engines_of(found) == {"e0"}
    assert found.version is None
    assert found.placements[0].served_name == "tiny-de"


def test_a_base_with_a_dotted_version_in_its_name_is_found():
    seen = snapshot(deployment(base="llama-3.1.0"), engine("e0"))
    assert resolve(seen, "llama-3.1.0", HOME).public_name == "llama-3.1.0"


def test_a_namespaced_name_reaches_another_namespace_for_a_key_without_one():
    seen = snapshot(
        deployment(route(V1)),
        deployment(route(V2), namespace="amt-b"),
        engine("b0", V2, namespace="amt-b"),
    )
    assert resolve(seen, "amt-b/steuerrecht", HOME).public_name == V2
    assert resolve(seen, f"amt-b/{V2}", HOME).namespace == "amt-b"


def test_a_key_of_one_namespace_does_not_learn_what_another_serves():
    seen = snapshot(deployment(route(V1), namespace="amt-b"), engine("b0", V1, namespace="amt-b"))
    assert refusal(resolve(seen, "amt-b/steuerrecht", Caller(bound="amt-a"))) == (404, "model_not_found")
    assert refusal(resolve(seen, "steuerrecht", Caller(bound="amt-a"))) == (404, "model_not_found")


def test_the_key_s_namespace_comes_before_the_default_one():
    seen = snapshot(deployment(route(V1)), deployment(route(V2), namespace="amt-b"))
    assert resolve(seen, "steuerrecht", Caller(bound="amt-b", home="amt-a")).public_name == V2


def test_without_any_namespace_a_name_known_in_one_place_is_clear():
    seen = snapshot(deployment(route(V1)), deployment(namespace="amt-b"))
    assert resolve(seen, "steuerrecht", Caller()).namespace == "amt-a"


def test_without_any_namespace_a_name_known_in_two_places_is_ambiguous():
    seen = snapshot(deployment(route(V1)), deployment(route(V1), namespace="amt-b"))
    found = resolve(seen, "steuerrecht", Caller())
    assert refusal(found) == (400, "ambiguous_model")
    assert "amt-a/steuerrecht" in found.message


def test_a_name_of_both_a_base_and_a_family_is_ambiguous():
    seen = snapshot(deployment(route("tiny-de-1.0.0")), engine("e0", "tiny-de-1.0.0"))
    assert refusal(resolve(seen, "tiny-de", HOME)) == (400, "ambiguous_model")
    assert resolve(seen, "tiny-de-1.0.0", HOME).public_name == "tiny-de-1.0.0"


def test_an_unknown_name_says_where_the_valid_ones_are():
    found = resolve(snapshot(deployment(route(V1))), "strafrecht", HOME)
    assert refusal(found) == (404, "model_not_found")
    assert "GET /v1/models" in found.message


def test_an_unknown_version_of_a_known_family_is_unknown():
    assert refusal(resolve(snapshot(deployment(route(V1))), "steuerrecht-9.9.9", HOME)) == (404, "model_not_found")


def test_the_engine_s_own_name_is_not_a_public_name():
    seen = snapshot(deployment(route(V1)), engine("e0", V1))
    assert refusal(resolve(seen, route(V1)["engineName"], HOME)) == (404, "model_not_found")


def test_a_superseded_version_names_its_successor():
    seen = snapshot(deployment(route(V1, "Retired", successor="1.1.0"), route(V2)), engine("e0", V1, V2))
    found = resolve(seen, V1, HOME)
    assert refusal(found) == (404, "model_superseded")
    assert V2 in found.message


def test_a_retired_version_without_successor_is_not_found():
    assert refusal(resolve(snapshot(deployment(route(V1, "Retired"))), V1, HOME)) == (404, "model_not_found")


def test_a_planned_load_is_worth_waiting_for():
    seen = snapshot(deployment(route(V1, "Loading")), engine("e0"))
    assert isinstance(resolve(seen, V1, HOME), Loading)
    assert isinstance(resolve(seen, "steuerrecht", HOME), Loading)


def test_while_the_next_version_loads_the_alias_stays():
    seen = snapshot(deployment(route(V1), route(V2, "Loading")), engine("e0", V1))
    assert resolve(seen, "steuerrecht", HOME).public_name == V1


def test_a_declared_family_without_versions_is_not_found():
    seen = snapshot(deployment(families={"steuerrecht": 1}))
    found = resolve(seen, "steuerrecht", HOME)
    assert refusal(found) == (404, "model_not_found")
    assert "no version in service" in found.message


def test_known_without_an_engine_is_a_target_without_placements():
    assert engines_of(resolve(snapshot(deployment(route(V1))), "steuerrecht", HOME)) == set()


def test_a_key_limited_to_families_has_neither_others_nor_the_base():
    seen = snapshot(deployment(route(V1), route("baurecht-1.0.0")), engine("e0", V1, "baurecht-1.0.0"))
    limited = Caller(bound="amt-a", families=frozenset({"baurecht"}))
    assert resolve(seen, "baurecht", limited).public_name == "baurecht-1.0.0"
    for forbidden in ("steuerrecht", V1, "tiny-de"):
        assert refusal(resolve(seen, forbidden, limited)) == (404, "model_not_found")


def test_two_slashes_are_no_name():
    assert refusal(resolve(snapshot(deployment(route(V1))), "a/amt-a/steuerrecht", HOME)) == (404, "model_not_found")
