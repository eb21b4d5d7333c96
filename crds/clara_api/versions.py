"""SemVer of families: which version comes next, and which one a range picks. Pure.

patch = same recipe, more rows of the same sources; minor = recipe or sources changed; major = base, tokenizer or template
changed. Ranges are npm's (space is "and", a bare 1.1.0 pins).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from semantic_version import NpmSpec, Version

Bump = Literal["patch", "minor", "major"]
FIRST = "1.0.0"


def next_version(existing: Iterable[str], bump: Bump) -> str:
    """The version after the highest of `existing`; 1.0.0 for a new family."""
    taken = [Version(v) for v in existing]
    if not taken:
        return FIRST
    newest = max(taken)
    return str({"patch": newest.next_patch, "minor": newest.next_minor, "major": newest.next_major}[bump]())


def newest_in_range(versions: Iterable[str], range_: str) -> str | None:
    """The highest of `versions` inside the npm range, or None."""
    spec = NpmSpec(range_)
    matching = [Version(v) for v in versions if Version(v) in spec]
    return str(max(matching)) if matching else None


def range_error(range_: str) -> str | None:
    """Why `range_` is no npm range, or None when it is one."""
    try:
        NpmSpec(range_)
    except ValueError as error:
        return f"'{range_}' is no version range ({error}); write for example '>=1.0.0 <2.0.0', '1.1.0' or '*'"
    return None


def version_key(version: str) -> tuple[int, int, int]:
    """Sort key of X.Y.Z."""
    v = Version(version)
    return (v.major, v.minor, v.patch)
