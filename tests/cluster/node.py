"""What only the node itself can do to a container. The tests run on it: the local cluster has one node, this machine."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import clara_chain as chain


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
