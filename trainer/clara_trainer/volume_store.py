"""A mounted claim as a store: volume://CLAIM/PATH is ROOT/CLAIM/PATH. Writes are whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clara_api.uris import Place

from clara_trainer.objects import Copied, Entry, Missing, Temporary
from clara_trainer.outcome import Failure

CHUNK = 1 << 20
UNFINISHED = ".unfinished-"  # prefix of a file that is still being written; never listed


class VolumeStore:
    """Files below one root."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def list(self, folder: Place) -> list[Entry]:
        """Every file below, sorted by path."""
        with translated(folder):
            top = self._inside(folder)
            entries = []
            for directory, _, names in os.walk(top, onerror=_unless_missing):
                for name in names:
                    if not name.startswith(UNFINISHED):
                        path = (Path(directory) / name).relative_to(top).as_posix()
                        found = self._inside(folder.child(path)).stat()
                        entries.append(Entry(path, found.st_size, found.st_mtime))
            return sorted(entries)

    def size(self, place: Place) -> int:
        """Size of one regular file."""
        with translated(place):
            path = self._inside(place)
            if not path.is_file():
                raise Missing(f"{place} does not exist")
            return path.stat().st_size

    def download(self, place: Place, target: Path) -> Copied:
        """Copy and hash one regular file."""
        self.size(place)  # a folder or a device is no object
        sha, size = hashlib.sha256(), 0
        with translated(place), self._inside(place).open("rb") as source, target.open("wb") as file:
            while chunk := source.read(CHUNK):
                file.write(chunk)
                sha.update(chunk)
                size += len(chunk)
        return Copied(size, sha.hexdigest())

    def upload(self, source: Path, place: Place) -> None:
        """Write beside the target, then rename: a reader sees the old file, the new one, or none."""
        with translated(place):
            path = self._inside(place)
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f"{UNFINISHED}{os.getpid()}-{path.name}")
            try:
                with source.open("rb") as reading, unfinished.open("wb") as writing:
                    shutil.copyfileobj(reading, writing, CHUNK)
                    writing.flush()
                    os.fsync(writing.fileno())
                unfinished.rename(path)
            finally:
                unfinished.unlink(missing_ok=True)

    def delete(self, place: Place) -> None:
        """Unlink; empty folders stay."""
        path = self._inside(place)
        with translated(place):
            path.unlink(missing_ok=True)

    def _inside(self, place: Place) -> Path:
        """The real path; refused when a symbolic link leads out of the claim."""
        claim = self._root / place.root
        if not claim.is_dir():
            raise Failure("StoreUnreachable", f"the claim '{place.root}' of {place} is not mounted in this pod")
        path = (claim / place.key).resolve()
        if not path.is_relative_to(claim.resolve()):
            raise Failure("StoreUnreachable", f"{place} leads out of its claim through a symbolic link; it is not read")
        return path


@contextmanager
def translated(place: Place) -> Iterator[None]:
    """Turn the operating system's errors into ours."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise Missing(f"{place} does not exist") from error
    except PermissionError as error:
        message = f"user {os.getuid()} may not use {place}; give the claim's files to that user or its fsGroup"
        raise Failure("StoreUnreachable", message) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise Failure("StoreUnreachable", f"{place} cannot be written: {error.strerror}") from error
        raise Temporary(f"{place}: {error.strerror}") from error  # EIO, ESTALE: network file systems recover


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
