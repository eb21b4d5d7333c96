"""A frozen engine keeps its verdicts, a dead one loses them."""

from __future__ import annotations

from clara_agent.process import Process

RUNNING = Process().looked("healthy", "100.0")


def test_an_engine_is_healthy_from_its_first_answer():
    assert RUNNING.healthy
    assert RUNNING.epoch == 0


def test_one_silent_look_is_forgiven_two_are_not():
    once = RUNNING.looked("silent", None)
    twice = once.looked("silent", None)
    assert (once.healthy, twice.healthy) == (True, False)


def test_a_frozen_engine_comes_back_as_the_same_process():
    back = RUNNING.looked("silent", None).looked("silent", None).looked("healthy", "100.0")
    assert (back.healthy, back.epoch, back.silent_looks) == (True, RUNNING.epoch, 0)


def test_a_dead_engine_is_unhealthy_at_once_and_its_epoch_is_over():
    gone = RUNNING.looked("gone", None)
    assert (gone.healthy, gone.identity, gone.epoch) == (False, None, 1)
    assert gone.looked("gone", None).epoch == 1
    assert gone.looked("healthy", "200.0").epoch == 1


def test_a_restart_between_two_looks_is_seen_by_the_start_time():
    assert RUNNING.looked("healthy", "200.0").epoch == 1


def test_waiting_for_the_first_start_is_no_loss():
    assert Process().looked("gone", None).epoch == 0
