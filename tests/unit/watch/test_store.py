"""A list replaces, events change, errors are told apart."""

from __future__ import annotations

from typing import Any

import pytest
from clara_watch.store import Expired, Store, WatchFailed


def thing(name: str, version: str = "1", **extra: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "amt", "name": name, "resourceVersion": version}, **extra}


def store_with(*names: str) -> Store:
    store = Store()
    store.replace([thing(name) for name in names], "10")
    return store


def test_a_list_forgets_what_vanished_while_the_watch_was_down():
    store = store_with("a", "b")
    store.replace([thing("b")], "20")
    assert set(store.objects) == {("amt", "b")}
    assert store.version == "20"


def test_events_add_change_and_remove():
    store = store_with("a")
    assert store.apply({"type": "ADDED", "object": thing("b", "11")})
    assert store.apply({"type": "MODIFIED", "object": thing("a", "12", spec=1)})
    assert store.apply({"type": "DELETED", "object": thing("b", "13")})
    assert store.objects[("amt", "a")]["spec"] == 1
    assert set(store.objects) == {("amt", "a")}
    assert store.version == "13"


def test_a_bookmark_moves_the_version_and_changes_nothing():
    store = store_with("a")
    assert not store.apply({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "99"}}})
    assert store.version == "99"
    assert set(store.objects) == {("amt", "a")}


def test_an_expired_version_is_told_apart_from_other_errors():
    store = store_with("a")
    with pytest.raises(Expired):
        store.apply({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}})
    with pytest.raises(WatchFailed, match="500"):
        store.apply({"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcd"}})


def test_managed_fields_are_not_kept():
    store = Store()
    store.replace([{"metadata": {"name": "a", "managedFields": [{}]}}], "1")
    assert "managedFields" not in store.objects[("", "a")]["metadata"]
