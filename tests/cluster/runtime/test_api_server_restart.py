"""The API server is killed and started anew while objects are deleted. Needs the local cluster: it stops its API server."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

LOCAL_CLUSTER = Path(__file__).parents[3] / "hack" / "local-cluster"


async def restart_api_server() -> None:
    command = [sys.executable, str(LOCAL_CLUSTER), "restart-apiserver"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"run `make cluster-up` first; this test restarts its API server: {done.stderr or done.stdout}")


async def test_objects_deleted_around_a_restart_of_the_api_server_are_forgotten_within_one_relist(kube, replica):
    for name in ("kept", "gone-1", "gone-2"):
        await kube.add(name)
    operator = replica("a", CLARA_LEASE_SECONDS="60", CLARA_SWEEP_SECONDS="100000", CLARA_RESYNC_SECONDS="100000")

    async def all_seen():
        return [await kube.said(n) for n in ("kept", "gone-1", "gone-2")] == ["a saw one"] * 3

    await kube.until("the operator saw them", all_seen, 60)
    operator.process.send_signal(signal.SIGSTOP)  # it must not see the deletions before the server is gone
    await kube.delete("gone-1")
    await kube.delete("gone-2")
    await restart_api_server()
    operator.process.send_signal(signal.SIGCONT)

    async def told():
        return "gone gone-1" in operator.log() and "gone gone-2" in operator.log()

    await kube.until("the operator forgot both", told, 30)
    assert operator.process.poll() is None, operator.log()
    await kube.label("kept", "two")

    async def goes_on():
        return await kube.said("kept") == "a saw two"

    await kube.until("the operator goes on with what is left", goes_on, 30)
