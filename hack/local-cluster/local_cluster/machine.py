"""Which checkout's cluster owns this machine: the marker in the run folder, and the lock around up and down.

There is room for one cluster: addresses, ports, rules and cgroups belong to the machine. The marker
outlives a kill -9, so that whoever comes next knows what to clean.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

LOCK = Path("/run/lock/clara-local-cluster.lock")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Marker:
    """Whose cluster it is, since which boot, and what the kernel's switches were before."""

    state: str  # the checkout's .cluster folder
    boot: str
    switches: Mapping[str, str] = field(default_factory=dict)

    @property
    def checkout(self) -> Path:
        return Path(self.state).parent

    def of_this_boot(self) -> bool:
        return self.boot == boot_id()


def boot_id() -> str:
    return BOOT_ID.read_text().strip()


def read_marker(run: Path) -> Marker | None:
    """None when no cluster was started, or when what is there cannot be read."""
    try:
        return Marker(**json.loads((run / "cluster.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_marker(run: Path, marker: Marker) -> None:
    """Replace it in one go: half a marker would hide a whole cluster."""
    run.mkdir(parents=True, exist_ok=True)
    run.chmod(0o700)
    new = run / "cluster.json.new"
    new.write_text(json.dumps(asdict(marker), indent=1))
    new.replace(run / "cluster.json")


@contextmanager
def only_one(lock: Path = LOCK) -> Iterator[None]:
    """Let one `up` or `down` at a time change the machine; the second waits and then finds the work done."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        held = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another `up` or `down` is at work on this machine: waiting for it", flush=True)
            fcntl.flock(held, fcntl.LOCK_EX)
        if lock.exists() and os.fstat(held).st_ino == lock.stat().st_ino:
            break
        os.close(held)  # its holder removed the file while we waited: take the new one
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(held)
