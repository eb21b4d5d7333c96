"""How failures, restarts and scrapes change what is known about an adapter."""

from __future__ import annotations

from datetime import UTC, datetime

from clara_agent.errors import NO_EFFECT, STORE_UNREACHABLE, Permanent, Temporary
from clara_agent.held import Held, state_of, tell

DIGEST = "sha256:" + "a" * 64
NEW = Held(DIGEST)
T0 = datetime(2026, 1, 1, tzinfo=UTC)
AWAY = Temporary(STORE_UNREACHABLE, "no answer")


def test_pauses_double_with_each_temporary_failure():
    first = NEW.failed(AWAY, 100)
    second = first.failed(AWAY, 100)
    assert (first.retry_at, second.retry_at) == (101, 102)


def test_a_temporary_failure_becomes_a_verdict_at_the_third_attempt_so_that_a_pod_can_become_ready():
    held = NEW.failed(AWAY, 0).failed(AWAY, 0)
    assert (state_of(held), held.has_verdict) == ("Pending", False)
    held = held.failed(AWAY, 0)
    assert (state_of(held), held.has_verdict) == ("Failed", True)
    assert not held.permanent


def test_a_pending_adapter_already_says_what_went_wrong():
    told = tell("a", NEW.failed(AWAY, 0))
    assert (told.state, told.reason, told.error) == ("Pending", "StoreUnreachable", "no answer")


def test_a_permanent_failure_is_a_verdict_at_once():
    assert state_of(NEW.failed(Permanent(NO_EFFECT, "nothing changed"), 0)) == "Failed"


def test_a_new_engine_process_voids_verdicts_and_failures_but_keeps_the_files():
    verified = Held(DIGEST, has_files=True, verified_at=T0, cosine=1.0, fetch_seconds=0.5)
    assert verified.forgotten_by_engine() == Held(DIGEST, has_files=True, fetch_seconds=0.5)
    assert NEW.failed(Permanent(NO_EFFECT, "x"), 0).forgotten_by_engine() == NEW


def test_quiet_looks_are_counted_and_activity_starts_over():
    held = NEW.scraped(active=False, leaving=True, now=5).scraped(active=False, leaving=True, now=6)
    assert (held.quiet_scrapes, held.draining_since) == (2, 5)
    assert held.scraped(active=True, leaving=True, now=7).quiet_scrapes == 0
    assert held.scraped(active=False, leaving=False, now=7).draining_since is None
