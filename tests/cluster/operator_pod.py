"""The operator as something that can be away, or die."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import clara_chain as chain
from clara_install import SYSTEM, kubectl
from node import signal_container

LABEL = "app.kubernetes.io/component=operator"


@contextmanager
def away() -> Iterator[None]:
    """No operator runs until the end of the block."""
    kubectl("scale", "deployment", "clara-operator", "-n", SYSTEM, "--replicas=0")
    chain.until(lambda: None if pods() else True, "the operator being gone", 60)
    try:
        yield
    finally:
        kubectl("scale", "deployment", "clara-operator", "-n", SYSTEM, "--replicas=1")
        kubectl("rollout", "status", "deployment/clara-operator", "-n", SYSTEM, "--timeout=90s")


def kill() -> None:
    """SIGKILL, so that the Lease is not given back; then another pod, for the kubelet would wait before it restarts this one."""
    for pod in pods():
        assert signal_container(pod, SYSTEM, "operator", signal.SIGKILL) > 0
    kubectl("delete", "pods", "-n", SYSTEM, "-l", LABEL, "--grace-period=0", "--force", "--wait=false")
    kubectl("rollout", "status", "deployment/clara-operator", "-n", SYSTEM, "--timeout=90s")


def pods() -> list[str]:
    """Names of the operator's pods, the ending ones too."""
    listed = json.loads(kubectl("get", "pods", "-n", SYSTEM, "-l", LABEL, "-o", "json"))["items"]
    return [p["metadata"]["name"] for p in listed]
