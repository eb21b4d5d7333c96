"""Start, recognise and stop the cluster's background processes.

Each runs in a session of its own with its own log, so it survives the shell that called `up`. A
record in the run folder keeps pid and start time: a pid alone may belong to somebody else by now.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .steps import Problem, wait_until


@dataclass(frozen=True, slots=True)
class Process:
    """What shall run. A change of `argv` or of a file in `reads` restarts it at the next `up`."""

    name: str
    argv: tuple[str, ...]
    healthy: Callable[[], bool]
    environ: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[Path, ...] = ()
    start_seconds: float = 60

    def fingerprint(self) -> str:
        digest = hashlib.sha256(json.dumps([self.argv, sorted(self.environ.items())]).encode())
        for file in self.reads:
            digest.update(file.read_bytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Record:
    """What was started: enough to find it again, or to see that it is gone."""

    name: str
    pid: int
    started: int  # clock ticks after boot, field 22 of /proc/PID/stat
    fingerprint: str

    def alive(self) -> bool:
        return start_time(self.pid) == self.started


class Processes:
    """All background processes of the machine's one cluster, recorded under `run/processes`."""

    def __init__(self, run: Path, logs: Path) -> None:
        self.records = run / "processes"
        self.logs = logs

    def record(self, name: str) -> Record | None:
        return read_record(self.records / f"{name}.json")

    def all(self) -> list[Record]:
        found = (read_record(file) for file in sorted(self.records.glob("*.json")))
        return [record for record in found if record]

    def up_to_date(self, process: Process) -> bool:
        """Runs, answers, and was started with what we would start it with today."""
        record = self.record(process.name)
        return bool(record and record.alive() and record.fingerprint == process.fingerprint() and process.healthy())

    def ensure(self, *processes: Process) -> None:
        """Start those that do not run as wanted, all at once, and wait until the last one is healthy."""
        for process in processes:
            record = self.record(process.name)
            if not (record and record.alive() and record.fingerprint == process.fingerprint()):
                self.stop(process.name)
                self._start(process)
        for process in processes:
            self._wait_for(process)

    def _wait_for(self, process: Process) -> None:
        log = self.logs / f"{process.name}.log"

        def healthy() -> bool:
            now = self.record(process.name)
            if not (now and now.alive()):
                raise Problem(f"{process.name} ended at once:\n{last_lines(log)}", f"read {log}")
            return process.healthy()

        wait_until(f"{process.name} becoming healthy", healthy, process.start_seconds, f"read {log}")

    def _start(self, process: Process) -> None:
        self.records.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{process.name}.log").open("ab") as log:
            child = subprocess.Popen(
                process.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**os.environ, **process.environ},
                start_new_session=True,
            )
        record = Record(process.name, child.pid, start_time(child.pid) or 0, process.fingerprint())
        (self.records / f"{process.name}.json").write_text(
            json.dumps({name: getattr(record, name) for name in Record.__slots__})
        )

    def stop(self, name: str, *, first: signal.Signals = signal.SIGTERM, patience: float = 5) -> None:
        """Ask, wait, then kill. Silent when it is gone already."""
        record = self.record(name)
        if record and record.alive():
            stop_all([record], first, patience)
        (self.records / f"{name}.json").unlink(missing_ok=True)


def stop_all(records: list[Record], first: signal.Signals, patience: float) -> None:
    """Stop several at once: the slowest decides how long it takes."""
    for number, seconds in ((first, patience), (signal.SIGKILL, 5.0)):
        for record in records:
            if record.alive():
                os.kill(record.pid, number)
        deadline = time.monotonic() + seconds
        while any(record.alive() for record in records) and time.monotonic() < deadline:
            time.sleep(0.02)


def read_record(file: Path) -> Record | None:
    """None when there is none, or when the machine lost power while it was written."""
    try:
        return Record(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def start_time(pid: int) -> int | None:
    """When the process began; None when it is gone or only a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *rest = text[text.rindex(")") + 2 :].split()  # the name before may hold blanks
    return None if state in "ZX" else int(rest[18])


def last_lines(file: Path, count: int = 15) -> str:
    try:
        return "\n".join(file.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return "(no log)"
