"""Where things lie: s3://BUCKET/KEY and volume://CLAIM/PATH, and which of them a namespace may use. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Place:
    """A parsed store URI. `root` is the bucket or the claim; `key` has no leading slash."""

    scheme: Literal["s3", "volume"]
    root: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.root}/{self.key}"

    def child(self, *parts: str) -> Place:
        """The place below this one."""
        return Place(self.scheme, self.root, posixpath.join(self.key, *parts) if self.key else posixpath.join(*parts))


def parse(uri: str) -> Place:
    """Read a store URI; ValueError says what is wrong with it.

    '..', '.' and empty path segments are refused, also percent-encoded: a prefix check must mean what it says.
    """
    scheme, sep, rest = uri.partition("://")
    if not sep or scheme not in ("s3", "volume"):
        raise ValueError(f"'{uri}' is no store URI; write s3://BUCKET/KEY or volume://CLAIM/PATH")
    root, _, key = rest.partition("/")
    if not root:
        raise ValueError(f"'{uri}' names no {'bucket' if scheme == 's3' else 'claim'}")
    decoded = unquote(key)
    segments = decoded.rstrip("/").split("/") if decoded.rstrip("/") else []
    if any(s in ("", ".", "..") for s in segments) or "\\" in decoded or any(ord(c) < 32 for c in decoded):
        raise ValueError(f"'{uri}' holds an empty, '.' or '..' path segment")
    return Place("s3" if scheme == "s3" else "volume", root, key.rstrip("/"))


def is_allowed(uri: str, prefixes: Sequence[str], *, namespace: str) -> bool:
    """Whether `uri` lies under one of `prefixes`. '{namespace}' in a prefix stands for the namespace's name.

    A prefix matches whole path segments: s3://b/models covers s3://b/models/x, not s3://b/models-of-others.
    """
    try:
        place = str(parse(uri))
    except ValueError:
        return False
    for prefix in prefixes:
        wanted = prefix.replace("{namespace}", namespace).rstrip("/")
        if place.rstrip("/") == wanted or place.startswith(wanted + "/"):
            return True
    return False
