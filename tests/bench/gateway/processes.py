"""Processes of a measurement: started on one core, counted with all their threads and children, ended."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

MEASURED_CORE = max(os.sched_getaffinity(0))


def leave_the_measured_core() -> None:
    """Keep this process, and what it starts from now on, on the other cores; on a machine with one core it stays."""
    if others := os.sched_getaffinity(0) - {MEASURED_CORE}:
        os.sched_setaffinity(0, others)


def started(command: Sequence[str], log: Path, *, measured: bool, variables: dict[str, str] | None = None) -> int:
    """Start a process with its output in a file; its pid."""
    pinned = ("taskset", "--cpu-list", str(MEASURED_CORE)) if measured else ()
    with log.open("wb") as output:
        process = subprocess.Popen(
            (*pinned, *command), stdout=output, stderr=subprocess.STDOUT, env=os.environ | (variables or {})
        )
    _processes.append(process)
    return process.pid


_processes: list[subprocess.Popen[bytes]] = []


def end_all() -> None:
    """Ask every started process to end, and end those that do not."""
    for process in _processes:
        process.terminate()
    for process in _processes:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _processes.clear()


def printed_port(log: Path) -> str:
    """The port a process prints before anything else that is no JSON."""
    for _ in range(200):
        if lines := [line for line in log.read_text().splitlines() if line.isdigit()]:
            return lines[0]
        time.sleep(0.05)
    raise SystemExit(f"no port was printed: {log.read_text()[-2000:]}")


def family_of(pid: int) -> list[int]:
    """The process and its children, their children and so on."""
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [pid, *(member for child in children for member in family_of(child))]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all its threads and children.

    The kernel's clock of the process is what utime and stime of /proc/PID/stat are made from, without their rounding to
    10 ms, which is a tenth of what nginx uses in one measurement.
    """
    return sum(time.clock_gettime(~member << 3 | 2) for member in family_of(pid))


def resident_mib(pid: int) -> float:
    """Memory of a process and its children, each with its share of what they share."""
    rollups = [Path(f"/proc/{member}/smaps_rollup").read_text() for member in family_of(pid)]
    shares = [line.split()[1] for rollup in rollups for line in rollup.splitlines() if line.startswith("Pss:")]
    return sum(map(int, shares)) / 1024
