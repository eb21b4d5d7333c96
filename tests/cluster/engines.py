"""Engine pods of recht: which there are, what they hold, and how to hurt them."""

from __future__ import annotations

import json
import signal
import time

import clara_chain as chain
from clara_install import kubectl
from conftest import RECHT
from node import signal_container

QUESTION = "Wann gilt ein Bescheid als bekannt gegeben?"
Object = chain.Object


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


def status_of(pod: str) -> tuple[Object, Object]:
    """Spec and status of a pod's Engine; both empty while there is none."""
    engine = chain.get("engines.clara.vcc.dev", pod, RECHT) or {}
    return engine.get("spec") or {}, engine.get("status") or {}


def healthy(pod: str) -> bool:
    """Whether its vLLM answers."""
    return bool(status_of(pod)[1].get("healthy"))


def verified(pod: str) -> bool:
    """Whether the engine is healthy and holds everything it should, verified."""
    spec, status = status_of(pod)
    wanted = {a["engineName"] for a in spec.get("adapters", [])}
    held = {a["engineName"] for a in status.get("adapters", []) if a["state"] == "Verified"}
    return bool(status.get("healthy")) and bool(wanted) and wanted <= held


def kill_engine(pod: str) -> None:
    """SIGKILL for every process of the engine container; its agent stays."""
    kubectl("exec", pod, "-n", RECHT, "-c", "engine", "--", "/bin/sh", "-c", "kill -9 -1 || true")


def signal_engine(pod: str, number: signal.Signals) -> int:
    """Send a signal to every process of the engine container, PID 1 too: only its node can. How many got it."""
    return signal_container(pod, RECHT, "engine", number)
