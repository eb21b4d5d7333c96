"""Watch events in, keys out: project, cache, ask the triggers, queue. Called by kopf's handlers and by the sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clara_operator.cluster import Cluster
from clara_operator.plan import Key, Manifest
from clara_operator.projection import project
from clara_operator.runtime.queue import WorkQueue

Triggers = Callable[[str, Manifest | None, Manifest | None, Cluster], set[Key]]


@dataclass(slots=True)
class Intake:
    """The only feeder of the cache."""

    cluster: Cluster
    queue: WorkQueue
    triggers: Triggers

    def event(self, kind: str, type_: str | None, body: Mapping[str, Any]) -> None:
        """One watch event; `type_` None is an item of a list."""
        meta = body["metadata"]
        if type_ == "DELETED":
            self._forget(kind, meta["namespace"], meta["name"], meta.get("uid"))
            return
        old = self.cluster.get(kind, meta["namespace"], meta["name"])
        if old is not None and old["metadata"]["uid"] == meta["uid"] and _older(meta, old["metadata"]):
            return
        new = project(kind, {"kind": kind, **body})
        self.cluster.put(kind, new)
        if old is not None and old["metadata"]["uid"] == meta["uid"] and _same(old, new):
            return
        self._fire(kind, old, new)

    def vanish(self, kind: str, namespace: str, uids: set[str], as_of: str) -> None:
        """A list as of that resourceVersion holds only these uids; what is newer than the list is kept."""
        for ns, name in list(self.cluster.keys(kind)):
            obj = self.cluster.get(kind, ns, name)
            if ns != namespace or obj is None or obj["metadata"]["uid"] in uids:
                continue
            if not _older({"resourceVersion": as_of}, obj["metadata"]):
                self._forget(kind, ns, name, obj["metadata"]["uid"])

    def resync(self) -> None:
        """Every custom resource is looked at."""
        for kind in ("TrainingJob", "Adapter", "GoldenDataset", "ServingDeployment"):
            for namespace, name in self.cluster.keys(kind):
                self.queue.add(Key(kind, namespace, name))

    def _forget(self, kind: str, namespace: str, name: str, uid: str | None) -> None:
        old = self.cluster.get(kind, namespace, name)
        if old is None or (uid is not None and old["metadata"]["uid"] != uid):
            return
        self.cluster.forget(kind, namespace, name)
        if kind == "TrainingJob":
            self.cluster.forget_progress(namespace, name)
        self._fire(kind, old, None)

    def _fire(self, kind: str, old: Manifest | None, new: Manifest | None) -> None:
        for key in self.triggers(kind, old, new, self.cluster):
            self.queue.add(key)


def _older(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """resourceVersions are numbers in practice; when one is not, nothing is known and the event counts."""
    try:
        return int(new["resourceVersion"]) < int(old["resourceVersion"])
    except ValueError:
        return False


def _same(old: Manifest, new: Manifest) -> bool:
    """Equal but for the resourceVersion: a heartbeat nobody reads."""
    if old["metadata"]["resourceVersion"] == new["metadata"]["resourceVersion"]:
        return True
    strip = ("resourceVersion",)
    same_meta = {k: v for k, v in old["metadata"].items() if k not in strip} == {
        k: v for k, v in new["metadata"].items() if k not in strip
    }
    return same_meta and old.get("spec") == new.get("spec") and old.get("status") == new.get("status")
