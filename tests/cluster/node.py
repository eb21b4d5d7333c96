"""What only the node itself can do to a container, and a node that vanishes. The tests run on the one node there is."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import clara_chain as chain
from clara_install import kubectl

GHOST = "geisterknoten"


def signal_container(pod: str, namespace: str, container: str, number: signal.Signals) -> int:
    """Send a signal to every process of a container, PID 1 too. How many got it; 0 when the pod runs elsewhere."""
    found = chain.get("pod", pod, namespace)
    assert found is not None
    [state] = [c for c in found["status"]["containerStatuses"] if c["name"] == container]
    name = state["containerID"].rpartition("/")[2]
    entries = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
    pids = [int(entry.name) for entry in entries if name in _cgroup(entry / "cgroup")]
    for pid in pids:
        os.kill(pid, number)
    return len(pids)


def _cgroup(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process ended
        return ""


@contextmanager
def ghost() -> Iterator[None]:
    """A Ready node without a kubelet, for as long as this lasts; afterwards it is gone, as a machine that lost its power."""
    sizes = {"cpu": "4", "memory": "16Gi", "ephemeral-storage": "50Gi", "pods": "10"}
    chain.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": GHOST, "labels": {"test": GHOST}}})
    ready = {"type": "Ready", "status": "True", "reason": "Test", "message": "", "lastHeartbeatTime": _now()}
    status = {"capacity": sizes, "allocatable": sizes, "conditions": [ready]}
    try:
        patch = json.dumps({"status": status})
        kubectl("patch", "node", GHOST, "--subresource=status", "--type=merge", "-p", patch)
        chain.until(lambda: True if not _taints(GHOST) else None, "the node without taints", 30)
        yield
    finally:
        kubectl("delete", "node", GHOST, "--wait=false")


def _taints(name: str) -> list[Any]:
    found = json.loads(kubectl("get", "node", name, "-o", "json"))
    return list(found["spec"].get("taints") or [])


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
