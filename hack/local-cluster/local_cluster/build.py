"""Build the programs from pinned Go modules, once per machine.

The cache lies outside the checkout, and each file's name carries the digest of what made it: a
second clone starts in seconds, and a changed version never meets an old binary.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from .settings import GO_PROGRAMS, KUBERNETES_VERSION, Settings
from .shell import run

# Static binaries: a dynamic one does not start in an image made from scratch.
GO_ENVIRON = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
STRIP = "-s -w"
LINKS = ("kubectl", "helm", "versitygw")  # what people and tests call by name


def version_flags() -> str:
    """Without them the API server calls itself v0.0.0, and clients refuse to talk to it."""
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    values = {"gitVersion": KUBERNETES_VERSION, "gitMajor": major, "gitMinor": minor}
    return " ".join([STRIP, *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in values.items())])


def digest(parts: Iterable[str | bytes]) -> str:
    """Twelve hex digits over parts whose borders count."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "big") + data)
    return sha.hexdigest()[:12]


@cache
def go_toolchain() -> str:
    return run("go", "env", "GOVERSION").strip()


def kubernetes_binary(settings: Settings) -> Path:
    sources = sorted([*settings.source.glob("*.go"), settings.source / "go.mod", settings.source / "go.sum"])
    key = digest([go_toolchain(), version_flags(), *(file.read_bytes() for file in sources)])
    return settings.cache / "bin" / f"kubernetes-{key}"


def pause_binary(settings: Settings) -> Path:
    key = digest([go_toolchain(), (settings.source / "pause" / "main.go").read_bytes()])
    return settings.cache / "bin" / f"pause-{key}"


def program_binary(settings: Settings, name: str) -> Path:
    return settings.cache / "bin" / f"{name}-{digest([go_toolchain(), GO_PROGRAMS[name]])}"


def build_here(settings: Settings, package: str, target: Path, flags: str) -> None:
    """Build a package of our own module; the rename makes a half-written file impossible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_suffix(f".{os.getpid()}")
    run(
        "go", "-C", settings.source, "build", "-trimpath", "-ldflags", flags, "-o", new, package,
        cure=NO_MODULES, **GO_ENVIRON,
    )  # fmt: skip
    new.replace(target)


def build_program(settings: Settings, name: str) -> None:
    """`go install` at an exact version; its go.sum is checked against Go's checksum database."""
    target = program_binary(settings, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        run(
            "go", "-C", folder, "install", "-trimpath", "-ldflags", STRIP, GO_PROGRAMS[name],
            cure=NO_MODULES, GOBIN=folder, **GO_ENVIRON,
        )  # fmt: skip
        (Path(folder) / name).replace(target)


def link_programs(settings: Settings) -> None:
    """Put names people know into .cluster/bin: the kubectl of a machine may be another program's."""
    settings.bin.mkdir(parents=True, exist_ok=True)
    for name, target in links(settings).items():
        new = settings.bin / f"{name}.new"
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        new.replace(settings.bin / name)


def links_are_there(settings: Settings) -> bool:
    return all(
        (settings.bin / name).is_symlink() and (settings.bin / name).readlink() == target
        for name, target in links(settings).items()
    )


def links(settings: Settings) -> dict[str, Path]:
    kubernetes = kubernetes_binary(settings)
    return {name: kubernetes if name == "kubectl" else program_binary(settings, name) for name in LINKS}


NO_MODULES = "read the compiler's message; if modules could not be fetched, set GOPROXY to one this machine reaches"
