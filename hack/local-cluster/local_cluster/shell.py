"""Run other programs and ask local servers whether they are well."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from .steps import Problem


def run(
    *argv: str | Path, stdin: str | bytes | None = None, cure: str = "read the message above", **environ: str
) -> str:
    """Standard output of a program that must succeed."""
    words = [str(word) for word in argv]
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(words, input=data, capture_output=True, env=merged(environ), check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise Problem(f"`{' '.join(words[:6])}` ended with {done.returncode}: {said[-2000:]}", cure)
    return done.stdout.decode(errors="replace")


def attempt(*argv: str | Path, stdin: str | None = None, seconds: float = 60) -> bool:
    """True when the program succeeds; for questions, and for cleaning what may be gone already."""
    try:
        words = [str(word) for word in argv]
        data = stdin.encode() if stdin is not None else None
        return subprocess.run(words, input=data, capture_output=True, timeout=seconds, check=False).returncode == 0
    except (subprocess.TimeoutExpired, FileNotFoundError):
        return False


def merged(environ: Mapping[str, str]) -> dict[str, str] | None:
    """None lets the child inherit ours, which is the usual case."""
    return {**os.environ, **environ} if environ else None


def answers(url: str, ca: Path | None = None, *, verify: bool = True) -> bool:
    """A 200 from a local server; no proxy of the environment is asked."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if url.startswith("https:"):
        context = ssl.create_default_context(cafile=str(ca) if ca and ca.exists() else None)
        context.check_hostname = verify
        context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def accepts(path: Path) -> bool:
    """Somebody listens on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def found(program: str) -> bool:
    return shutil.which(program) is not None


def write_if_changed(file: Path, text: str, mode: int = 0o644) -> bool:
    """Keep the time stamp of what stays the same; True when it was written."""
    if file.exists() and file.read_text() == text:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=mode)
    file.chmod(mode)
    file.write_text(text)
    return True


def to_json(value: object) -> str:
    return json.dumps(value, indent=1) + "\n"
