"""Engines die, freeze and go, and serving goes on: with the other engine, never with the base instead."""

from __future__ import annotations

import json
import signal
import time

import clara_chain as chain
import clara_install
import pytest
from clara_install import SYSTEM, kubectl
from conftest import RECHT
from engines import QUESTION, engine_pods, healthy, keep_asking, kill_engine, signal_engine, verified
from load import Load, plain, streamed
from operator_pod import away

VERIFY_SECONDS = 10  # from a healthy engine to everything verified again


def test_a_killed_engine_container_is_verified_again_and_nobody_notices(served: chain.Base):
    pod = engine_pods()[0]
    kill_engine(pod)
    assert keep_asking(15) == []
    chain.until(lambda: healthy(pod) or None, f"{pod} healthy again", 240)
    since = time.monotonic()
    chain.until(lambda: verified(pod) or None, f"{pod} verified again", 60)
    assert time.monotonic() - since <= VERIFY_SECONDS
    chain.wait_for("sdep", "verwaltung", RECHT, seconds=60)


def test_a_frozen_engine_is_left_alone_until_it_wakes(served: chain.Base):
    pod = engine_pods()[0]
    with Load((plain("baurecht", QUESTION, max_tokens=8), plain("steuerrecht", QUESTION, max_tokens=8))) as load:
        time.sleep(1)
        assert signal_engine(pod, signal.SIGSTOP) > 0
        try:
            chain.until(lambda: None if healthy(pod) else True, f"{pod} being called unhealthy", 30)
            time.sleep(5)
            served_meanwhile = sum(load.answers.values())
            time.sleep(5)
            assert sum(load.answers.values()) > served_meanwhile
        finally:
            signal_engine(pod, signal.SIGCONT)
        chain.until(lambda: verified(pod) or None, f"{pod} verified again", 60)
    assert load.faults == []
    chain.wait_for("sdep", "verwaltung", RECHT, seconds=60)


def test_a_deleted_engine_pod_ends_its_answers_and_is_replaced(served: chain.Base):
    before = set(engine_pods())
    gone = sorted(before)[0]
    with Load((plain("baurecht", QUESTION, max_tokens=8), streamed("steuerrecht", QUESTION))) as load:
        time.sleep(1)
        kubectl("delete", "pod", gone, "-n", RECHT, "--wait=false")
        new = chain.until(lambda: next(iter(set(engine_pods()) - before), None), "another engine pod", 60)
        chain.until(lambda: verified(new) or None, f"{new} verified", 300)
    assert load.faults == []
    chain.wait_for("sdep", "verwaltung", RECHT, seconds=120)


def test_serving_goes_on_while_the_operator_is_away_and_the_gateway_restarts(served: chain.Base):
    with away():
        kubectl("rollout", "restart", "deployment/clara-gateway", "-n", SYSTEM)
        kubectl("rollout", "status", "deployment/clara-gateway", "-n", SYSTEM, "--timeout=90s")
        assert keep_asking(5) == []


def test_an_agent_cannot_be_impersonated_and_an_edit_user_cannot_write_status(served: chain.Base):
    pod = engine_pods()[0]
    body = json.dumps({"status": {"healthy": False}})
    for kind, name in (("engines.clara.vcc.dev", pod), ("adp", "baurecht-1.0.0"), ("sdep", "verwaltung")):
        with pytest.raises(RuntimeError, match="only"):
            kubectl("patch", kind, name, "-n", RECHT, "--subresource=status", "--type=merge", "-p", body)
    assert clara_install.kubectl("get", "sdep", "verwaltung", "-n", RECHT)
