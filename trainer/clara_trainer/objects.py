"""The store as the runs see it: list, read, download, write, by URI, whatever keeps the bytes.

Temporary errors are retried with exponential back-off within a fixed patience, then they are `StoreUnreachable`.
`s3_store.py` and `volume_store.py` translate their world's errors into `Temporary`, `Missing` and `Failure`.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from clara_api.uris import Place, parse

from clara_trainer.outcome import Failure

FIRST_DELAY = 0.5  # seconds; doubled up to LONGEST_DELAY
LONGEST_DELAY = 20.0

T = TypeVar("T")
log = logging.getLogger(__name__)


class Temporary(Exception):
    """The store may answer if asked again."""


class Missing(Exception):
    """There is no such object."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """An object below a folder: its path relative to the folder, its size in bytes, when it was written (Unix time)."""

    path: str
    size: int
    written: float


@dataclass(frozen=True, slots=True)
class Copied:
    """What a download wrote."""

    size: int
    sha256: str


class Store(Protocol):
    """One kind of store. Methods raise Temporary, Missing or Failure, nothing else of their own."""

    def list(self, folder: Place) -> list[Entry]:
        """Everything below, sorted by path; empty when there is nothing."""

    def size(self, place: Place) -> int:
        """Size of one object in bytes."""

    def download(self, place: Place, target: Path) -> Copied:
        """Stream one object into a file."""

    def upload(self, source: Path, place: Place) -> None:
        """Write one object, all or nothing."""

    def delete(self, place: Place) -> None:
        """Remove one object; one that is not there is removed already."""


class Objects:
    """All stores behind one door; picks by the URI's scheme."""

    def __init__(
        self,
        volume_root: Path,
        *,
        patience: float = 120,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._volume_root = volume_root
        self._patience = patience
        self._sleep = sleep
        self._clock = clock
        self._opened: dict[str, Store] = {}
        self.on_wait: Callable[[str], None] = lambda uri: None  # told when the store makes the run wait

    def list(self, uri: str) -> list[Entry]:
        """Objects below a folder, sorted by path."""
        place = parse(uri)
        return self._patiently(lambda: self._store(place).list(place), uri)

    def size(self, uri: str) -> int | None:
        """Size of one object; None when there is none."""
        place = parse(uri)
        try:
            return self._patiently(lambda: self._store(place).size(place), uri)
        except Missing:
            return None

    def download(self, uri: str, target: Path) -> Copied:
        """Copy one object to a file; Missing when there is none."""
        place = parse(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        return self._patiently(lambda: self._store(place).download(place, target), uri)

    def upload(self, source: Path, uri: str) -> None:
        """Copy a file to the store, all or nothing."""
        place = parse(uri)
        self._patiently(lambda: self._store(place).upload(source, place), uri)

    def delete(self, uri: str) -> None:
        """Remove one object. Only a run's own state is ever removed: artifacts are sealed."""
        place = parse(uri)
        self._patiently(lambda: self._store(place).delete(place), uri)

    def read(self, uri: str, *, limit: int) -> bytes | None:
        """A small object's bytes; None when there is none. ValueError above `limit` bytes: nothing huge is parsed."""
        size = self.size(uri)
        if size is None:
            return None
        if size > limit:
            raise ValueError(f"{uri} has {size} bytes, more than {limit}")
        with tempfile.TemporaryDirectory() as folder:
            self.download(uri, target := Path(folder) / "object")
            return target.read_bytes()

    def write(self, data: bytes, uri: str) -> None:
        """Write a small object, all or nothing."""
        with tempfile.TemporaryDirectory() as folder:
            (source := Path(folder) / "object").write_bytes(data)
            self.upload(source, uri)

    def _store(self, place: Place) -> Store:
        if place.scheme not in self._opened:
            self._opened[place.scheme] = self._open(place)
        return self._opened[place.scheme]

    def _open(self, place: Place) -> Store:
        if place.scheme == "s3":
            from clara_trainer.s3_store import S3Store  # noqa: PLC0415 - boto3 takes a quarter of a second

            return S3Store.from_env()
        from clara_trainer.volume_store import VolumeStore  # noqa: PLC0415

        return VolumeStore(self._volume_root)

    def _patiently(self, ask: Callable[[], T], uri: str) -> T:
        deadline = self._clock() + self._patience
        delay = FIRST_DELAY
        while True:
            try:
                return ask()
            except Temporary as error:
                if self._clock() + delay > deadline:
                    message = f"the store did not serve {uri} within {self._patience:.0f} s: {error}"
                    raise Failure("StoreUnreachable", message) from error
                log.warning("the store did not serve %s (%s); asking again in %.1f s", uri, error, delay)
                self.on_wait(uri)
            self._sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY)
