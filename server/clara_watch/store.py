"""What a watch has seen so far. Pure; `reflector.Reflector` feeds it.

A list replaces everything: what vanished while the watch was down is forgotten, which events alone would never tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Key = tuple[str, str]
Object = dict[str, Any]


class Expired(Exception):
    """The watch's resourceVersion is too old: list again."""


class WatchFailed(Exception):
    """The watch carried an error other than expiry."""


class Store:
    """Objects by (namespace, name), and the resourceVersion they are from. `objects` is a new dict after each list."""

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self.version: str | None = None

    def replace(self, items: Iterable[Object], version: str) -> None:
        """A complete list arrived."""
        self.objects = {key_of(item): _slim(item) for item in items}
        self.version = version

    def apply(self, event: Object) -> bool:
        """One watch event; True when objects changed, False for a bookmark. Expired or WatchFailed for an error."""
        kind, item = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            raise _error_of(item)
        self.version = (item.get("metadata") or {}).get("resourceVersion") or self.version
        if kind in ("ADDED", "MODIFIED"):
            self.objects[key_of(item)] = _slim(item)
            return True
        if kind == "DELETED":
            return self.objects.pop(key_of(item), None) is not None
        return False


def key_of(item: Object) -> Key:
    """(namespace, name); the namespace of cluster-wide objects is ''."""
    metadata = item["metadata"]
    return (metadata.get("namespace", ""), metadata["name"])


def _slim(item: Object) -> Object:
    """Without managedFields, which are most of an object's bytes and nobody here reads them."""
    item["metadata"].pop("managedFields", None)
    return item


def _error_of(status: Object) -> Exception:
    if status.get("code") == 410 or status.get("reason") in ("Expired", "Gone"):
        return Expired(status.get("message", "resourceVersion expired"))
    return WatchFailed(f"watch error {status.get('code')}: {status.get('message')}")
