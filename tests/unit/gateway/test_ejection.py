"""Engines put out and taken back."""

from __future__ import annotations

import dataclasses

from clara_gateway.ejection import Ejections
from clara_gateway.routing.filters import EngineView

ENGINE = EngineView("amt-a", "e0", "verwaltung", "10.0.0.1:8000", "p1", True, False, {})


def test_an_engine_is_out_until_it_is_readmitted():
    out = Ejections()
    assert out.eject(ENGINE, "unreachable", now=100)
    assert not out.eject(ENGINE, "unreachable", now=100)
    assert ENGINE.key in out
    assert out.readmit(ENGINE.key)
    assert ENGINE.key not in out


def test_the_back_off_doubles_from_one_second_to_thirty():
    out, now, waits = Ejections(), 0.0, []
    out.eject(ENGINE, "unreachable", now=now)
    for _ in range(7):
        retry_at = out.get(ENGINE.key).retry_at
        assert not out.is_due(ENGINE, now=retry_at - 0.01)
        assert out.is_due(ENGINE, now=retry_at)
        waits.append(retry_at - now)
        now = retry_at
        out.failed_again(ENGINE, "probe: silent", now=now)
    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_an_engine_that_reports_something_new_is_probed_at_once():
    out = Ejections()
    out.eject(ENGINE, "unreachable", now=0)
    assert out.is_due(dataclasses.replace(ENGINE, verified={"a": "b"}), now=0)


def test_engines_that_are_gone_are_forgotten():
    out = Ejections()
    out.eject(ENGINE, "unreachable", now=0)
    out.keep_only(set())
    assert len(out) == 0
