"""Engines die, and serving goes on: with the operator away, with one engine away, never with the base instead."""

from __future__ import annotations

import json
import time

import clara_chain as chain
import clara_install
import pytest
from clara_install import SYSTEM, kubectl
from conftest import RECHT

QUESTION = "Wann gilt ein Bescheid als bekannt gegeben?"


def engine_pods() -> list[str]:
    """Names of the live engine pods."""
    listed = json.loads(kubectl("get", "pods", "-n", RECHT, "-l", "app.kubernetes.io/component=engine", "-o", "json"))
    return [p["metadata"]["name"] for p in listed["items"] if not p["metadata"].get("deletionTimestamp")]


def keep_asking(seconds: float, family: str = "baurecht") -> list[str]:
    """Ask for a while; what went wrong."""
    faults, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = chain.ask(family, QUESTION, max_tokens=8)
        if answer.status != 200 or not str(answer.body["model"]).startswith(f"{family}-"):
            faults.append(f"{answer.status} {answer.body}")
        time.sleep(0.2)
    return faults


def verified(pod: str) -> bool:
    """Whether the engine is healthy and holds everything it should, verified."""
    engine = json.loads(kubectl("get", "engines.clara.vcc.dev", pod, "-n", RECHT, "-o", "json"))
    wanted = {a["engineName"] for a in engine["spec"].get("adapters", [])}
    status = engine.get("status", {})
    held = {a["engineName"] for a in status.get("adapters", []) if a["state"] == "Verified"}
    return bool(status.get("healthy")) and bool(wanted) and wanted <= held


def test_a_killed_engine_container_is_verified_again_and_nobody_notices(served: chain.Base):
    pod = engine_pods()[0]
    kubectl("exec", pod, "-n", RECHT, "-c", "engine", "--", "/bin/sh", "-c", "kill -9 -1 || true")
    assert keep_asking(15) == []
    chain.until(lambda: verified(pod) or None, f"{pod} verified again", 240)
    chain.wait_for("sdep", "verwaltung", RECHT, seconds=60)


def test_serving_goes_on_while_the_operator_is_away_and_the_gateway_restarts(served: chain.Base):
    kubectl("scale", "deployment", "clara-operator", "-n", SYSTEM, "--replicas=0")
    try:
        kubectl("rollout", "restart", "deployment/clara-gateway", "-n", SYSTEM)
        kubectl("rollout", "status", "deployment/clara-gateway", "-n", SYSTEM, "--timeout=90s")
        assert keep_asking(5) == []
    finally:
        kubectl("scale", "deployment", "clara-operator", "-n", SYSTEM, "--replicas=1")
        kubectl("rollout", "status", "deployment/clara-operator", "-n", SYSTEM, "--timeout=90s")


def test_an_agent_cannot_be_impersonated_and_an_edit_user_cannot_write_status(served: chain.Base):
    pod = engine_pods()[0]
    body = json.dumps({"status": {"healthy": False}})
    for kind, name in (("engines.clara.vcc.dev", pod), ("adp", "baurecht-1.0.0"), ("sdep", "verwaltung")):
        with pytest.raises(RuntimeError, match="only"):
            kubectl("patch", kind, name, "-n", RECHT, "--subresource=status", "--type=merge", "-p", body)
    assert clara_install.kubectl("get", "sdep", "verwaltung", "-n", RECHT)
