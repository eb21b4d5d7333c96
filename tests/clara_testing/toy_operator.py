"""The real runtime with a toy in place of Clara's decisions: it says in each GoldenDataset's status who saw which label.

Run as a process by the cluster tests: `python toy_operator.py`, CLARA_* as for the operator; TOY_RESTLESS=1 writes without end.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from datetime import datetime, timedelta

from clara_operator.cluster import Cluster
from clara_operator.main import run
from clara_operator.plan import Key, Manifest, Plan, StatusWrite
from clara_operator.runtime import logs
from clara_operator.settings import Settings

KIND = "GoldenDataset"
RESTLESS = os.environ.get("TOY_RESTLESS") == "1"
log = logging.getLogger("toy")


def reconcile(key: Key, cluster: Cluster, settings: Settings, now: datetime) -> Plan | None:
    """Status says 'POD saw LABEL', with a time when restless."""
    obj = cluster.get(key.kind, key.namespace, key.name)
    if obj is None:
        log.info("gone %s", key.name)
        return None
    label = (obj["metadata"].get("labels") or {}).get("ask", "")
    message = f"{settings.pod_name} saw {label}" + (f" at {now.isoformat()}" if RESTLESS else "")
    conditions = (obj.get("status") or {}).get("conditions") or [{}]
    again = timedelta(seconds=0.05) if RESTLESS else None
    if conditions[0].get("message") == message:
        return Plan(again_after=again)
    condition = {
        "type": "Ready",
        "status": "Unknown",
        "reason": "Pending",
        "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": obj["metadata"]["generation"],
    }
    status = {"observedGeneration": obj["metadata"]["generation"], "conditions": [condition]}
    return Plan(status=StatusWrite(obj["metadata"]["resourceVersion"], status), again_after=again)


def keys_for(kind: str, old: Manifest | None, new: Manifest | None, cluster: Cluster) -> set[Key]:
    """A GoldenDataset is its own key; nothing else is looked at."""
    obj = new or old
    if kind != KIND or obj is None:
        return set()
    return {Key(KIND, obj["metadata"]["namespace"], obj["metadata"]["name"])}


if __name__ == "__main__":
    logs.set_up("INFO")
    sys.exit(asyncio.run(run(Settings(), {KIND: reconcile}, keys_for)))
