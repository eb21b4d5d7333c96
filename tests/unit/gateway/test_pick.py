"""Filter, score, pick."""

from __future__ import annotations

import dataclasses

from clara_gateway.routing.filters import EngineView, Moment, Placement
from clara_gateway.routing.pick import pick


def placed(name: str, **fields: object) -> Placement:
    engine = EngineView("amt-a", name, "verwaltung", "10.0.0.1:8000", "p1", True, False, {})
    return Placement(dataclasses.replace(engine, **fields), "steuerrecht-1.0.0-abc")


A, B, C = placed("a"), placed("b"), placed("c")


def test_nothing_to_pick_from_is_none():
    assert pick((), Moment(), turn=0) is None


def test_the_least_busy_engine_wins():
    moment = Moment(in_flight={A.engine.key: 2, B.engine.key: 1, C.engine.key: 2})
    assert [pick((A, B, C), moment, turn=t) for t in range(3)] == [B, B, B]


def test_equals_take_turns():
    assert [pick((A, B, C), Moment(), turn=t) for t in range(4)] == [A, B, C, A]


def test_among_equally_busy_engines_the_one_running_the_adapter_wins():
    moment = Moment(in_flight={A.engine.key: 1, B.engine.key: 1}, running={(B.engine.key, B.served_name): 1})
    assert [pick((A, B), moment, turn=t) for t in range(3)] == [B, B, B]


def test_affinity_never_beats_a_less_busy_engine():
    moment = Moment(in_flight={B.engine.key: 1}, running={(B.engine.key, B.served_name): 1})
    assert pick((A, B), moment, turn=1) == A


def test_an_ejected_engine_gets_nothing():
    assert pick((A, B), Moment(ejected={A.engine.key}), turn=0) == B
    assert pick((A,), Moment(ejected={A.engine.key}), turn=0) is None


def test_a_restarted_process_is_not_ejected_with_its_predecessor():
    again = placed("a", process="p2")
    assert pick((again,), Moment(ejected={A.engine.key}), turn=0) == again


def test_an_engine_that_refused_this_request_is_not_asked_twice():
    assert pick((A, B), Moment(refused={A.engine.key: A.engine}), turn=0) == B


def test_an_engine_that_refused_is_asked_again_after_it_reported_something_new():
    news = placed("a", verified={"steuerrecht-1.0.0-abc": "sha256:…"})
    assert pick((news,), Moment(refused={A.engine.key: A.engine}), turn=0) == news
