"""What the agent does next, from every state an adapter can be in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from clara_agent.held import Held
from clara_agent.plan import DeleteFiles, Fetch, Forget, Load, Seen, Unload, Verify, plan, waits_for_room
from clara_api.engine import WantedAdapter

NOW = 1000.0
T0 = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
QUIET = 2


def wanted(name: str, state: str = "serve", digest: str = DIGEST) -> WantedAdapter:
    return WantedAdapter(engine_name=name, digest=digest, uri=f"s3://clara/{name}", state=state)


def sealed(**more: Any) -> Held:
    return Held(DIGEST, **({"has_files": True, "quiet_scrapes": QUIET} | more))


def verified(**more: Any) -> Held:
    return sealed(verified_at=T0, **more)


def leaving(seconds: float, **more: Any) -> Held:
    return verified(draining_since=NOW - seconds, **more)


def seen(*adapters: WantedAdapter, listed: tuple[str, ...] | None = (), **more: Any) -> Seen:
    held = more.pop("held", {})
    paths = None if listed is None else {name: f"/adapters/{name}" for name in listed}
    return Seen(wanted=adapters, held=held, listed=paths, folder="/adapters", now=NOW, **more)


def test_a_new_adapter_is_fetched_then_loaded_then_verified_then_left_alone():
    a = wanted("a")
    assert plan(seen(a, held={"a": Held(DIGEST)})) == (Fetch("a"),)
    assert plan(seen(a, held={"a": sealed()})) == (Load("a"),)
    assert plan(seen(a, held={"a": sealed()}, listed=("a",))) == (Verify("a"),)
    assert plan(seen(a, held={"a": verified()}, listed=("a",))) == ()


def test_an_adapter_that_is_being_worked_on_gets_no_second_action():
    for doing in ("Fetching", "Loading", "Verifying", "Unloading", "Deleting"):
        assert plan(seen(wanted("a"), held={"a": sealed(doing=doing)})) == ()


def test_files_are_fetched_while_vllm_is_not_up_and_nothing_is_loaded():
    assert plan(seen(wanted("a"), held={"a": Held(DIGEST)}, listed=None)) == (Fetch("a"),)
    assert plan(seen(wanted("a"), held={"a": sealed()}, listed=None)) == ()


def test_a_failed_adapter_does_not_hold_up_its_neighbours():
    bad = Held(DIGEST, permanent=True, attempts=1)
    later = Held(DIGEST, attempts=2, retry_at=NOW + 5)
    held = {"bad": bad, "later": later, "good": sealed()}
    assert plan(seen(wanted("bad"), wanted("later"), wanted("good"), held=held)) == (Load("good"),)


def test_a_temporary_failure_is_tried_again_when_its_pause_is_over():
    assert plan(seen(wanted("a"), held={"a": Held(DIGEST, attempts=5, retry_at=NOW)})) == (Fetch("a"),)


def test_a_proven_failure_is_taken_out_of_the_engine_when_it_is_quiet():
    bad = sealed(permanent=True)
    assert plan(seen(wanted("a"), held={"a": bad}, listed=("a",))) == (Unload("a"),)
    assert plan(seen(wanted("a"), held={"a": replace(bad, quiet_scrapes=1)}, listed=("a",))) == ()


def test_no_more_than_max_cpu_loras_are_registered_counting_those_being_loaded():
    held = {"a": verified(), "b": sealed(doing="Loading"), "c": sealed(), "d": sealed()}
    adapters = tuple(wanted(n) for n in "abcd")
    assert plan(seen(*adapters, held=held, listed=("a",), max_cpu_loras=3)) == (Load("c"),)
    full = seen(*adapters, held=held, listed=("a",), max_cpu_loras=2)
    assert plan(full) == ()
    assert waits_for_room("c", held["c"], full)
    assert not waits_for_room("a", held["a"], full)


def test_four_adapters_are_worked_on_at_once():
    adapters = tuple(wanted(n) for n in "abcdef")
    held = {n: Held(DIGEST) for n in "abcdef"} | {"a": Held(DIGEST, doing="Fetching")}
    assert plan(seen(*adapters, held=held)) == (Fetch("b"), Fetch("c"), Fetch("d"))


def test_a_retired_adapter_stays_while_it_is_active_and_leaves_when_quiet_in_two_scrapes():
    a = wanted("a", "retire")
    assert plan(seen(a, held={"a": leaving(5, quiet_scrapes=0)}, listed=("a",))) == ()
    assert plan(seen(a, held={"a": leaving(5, quiet_scrapes=1)}, listed=("a",))) == ()
    assert plan(seen(a, held={"a": leaving(5)}, listed=("a",))) == (Unload("a"),)


def test_a_retirement_is_given_a_moment_to_reach_the_gateway():
    assert plan(seen(wanted("a", "retire"), held={"a": leaving(0.1)}, listed=("a",))) == ()


def test_after_the_drain_time_it_is_unloaded_but_its_files_stay_while_it_runs():
    a, busy = wanted("a", "retire"), leaving(61, quiet_scrapes=0)
    assert plan(seen(a, held={"a": busy}, listed=("a",), drain_seconds=60)) == (Unload("a"),)
    assert plan(seen(a, held={"a": busy}, drain_seconds=60)) == ()


def test_files_are_deleted_only_when_vllm_says_that_it_no_longer_lists_the_name():
    a, held = wanted("a", "retire"), {"a": leaving(5)}
    assert plan(seen(a, held=held, listed=("a",))) == (Unload("a"),)
    assert plan(seen(a, held=held, listed=None)) == ()
    assert plan(seen(a, held=held)) == (DeleteFiles("a"),)
    assert plan(seen(a, held={"a": leaving(5, has_files=False)})) == (Forget("a"),)


def test_an_adapter_no_longer_named_leaves_like_a_retired_one_and_makes_room_first():
    held = {"old": leaving(5), "new": sealed()}
    assert plan(seen(wanted("new"), held=held, listed=("old",), max_cpu_loras=1)) == (Unload("old"),)


def test_an_adapter_wanted_again_while_leaving_is_simply_kept():
    assert plan(seen(wanted("a"), held={"a": verified()}, listed=("a",))) == ()


def test_other_bytes_under_the_same_name_leave_before_the_wanted_ones_come():
    a = wanted("a", digest=OTHER)
    assert plan(seen(a, held={"a": leaving(5)}, listed=("a",))) == (Unload("a"),)
    assert plan(seen(a, held={"a": leaving(5)})) == (DeleteFiles("a"),)


def test_a_name_registered_from_another_path_is_taken_out():
    look = seen(wanted("a"), held={"a": sealed()})
    assert plan(replace(look, listed={"a": "/tmp/elsewhere"})) == (Unload("a"),)


def test_a_step_that_ended_while_the_look_was_under_way_is_judged_by_the_next_look():
    just_loaded = leaving(5, done_at=NOW - 0.1)  # listed by now, but this look's list is from before
    look = seen(wanted("a", "retire"), held={"a": just_loaded}, begun=NOW - 0.2)
    assert plan(look) == ()
    assert plan(replace(look, begun=NOW)) == (DeleteFiles("a"),)
