"""The programs that do the work: buildah with storage of its own, the pinned uv, apt-get for what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

CACHE = Path(
    os.environ.get("CLARA_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clara"
)
STORE = CACHE / "images"
UV_VERSION = "0.13.8"


class Problem(Exception):
    """Something a person has to put right; the text names the cure."""


def prerequisites(programs: tuple[str, ...]) -> None:
    """Install missing programs (Debian packages of the same name) when we may; Problem otherwise."""
    missing = [p for p in programs if not shutil.which(p)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Problem(f"missing: {' '.join(missing)}\n  cure: as root: apt-get install {' '.join(missing)}")
    run("apt-get", "update", "-qq")
    run("apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing, DEBIAN_FRONTEND="noninteractive")


def work() -> Path:
    """Scratch space beside the layers; /tmp may be small."""
    folder = STORE / "work"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def uv() -> Path:
    """The pinned uv, the one the Makefile uses too."""
    program = CACHE / f"uv-{UV_VERSION}" / "bin" / "uv"
    if not program.exists():
        run(sys.executable, "-m", "venv", program.parent.parent)
        run(program.parent / "pip", "install", "--quiet", f"uv=={UV_VERSION}")
    return program


def buildah(*arguments: object) -> str:
    """buildah with storage of its own: no other tool's images are touched."""
    flags = ("--root", STORE / "root", "--runroot", STORE / "run", "--storage-driver", "overlay")
    return run("buildah", *flags, *arguments, BUILDAH_ISOLATION="chroot")


def buildah_build(containerfile: Path, context: Path, tag: str, **arguments: str) -> None:
    """One build; the machine's certificates and uv's cache are lent to it, not kept in it."""
    uv_cache = Path.home() / ".cache" / "uv"
    uv_cache.mkdir(parents=True, exist_ok=True)
    lend = ("--volume", "/etc/ssl/certs:/etc/ssl/certs:ro", "--volume", f"{uv_cache}:/root/.cache/uv")
    build_arguments = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    buildah("build", "--quiet", "--layers", *lend, *build_arguments, "-f", containerfile, "-t", tag, context)


def is_built(tag: str) -> bool:
    """Whether the local storage has the image."""
    try:
        buildah("inspect", "--type", "image", "--format", "{{.FromImageID}}", tag)
    except Problem:
        return False
    return True


def step(name: str, work: Callable[[], object], done: Callable[[], bool]) -> None:
    """Do it unless it is done, and say what it took."""
    start = time.monotonic()
    if done():
        print(f"  {name:<26} there already", file=sys.stderr, flush=True)
        return
    print(f"  {name:<26} …", file=sys.stderr, flush=True)
    work()
    print(f"  {name:<26} {time.monotonic() - start:6.1f} s", file=sys.stderr, flush=True)


def run(*command: object, cwd: Path | None = None, **environ: str) -> str:
    """Run a program and return what it printed; Problem with its own last words on failure."""
    words = [str(w) for w in command]
    done = subprocess.run(words, cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise Problem(f"{' '.join(words[:8])} … ended with {done.returncode}:\n{(done.stderr or done.stdout)[-2000:]}")
    return done.stdout
