"""Observe and decide one Adapter."""

from __future__ import annotations

from datetime import datetime

from clara_operator.adapter.decide import decide
from clara_operator.adapter.observe import observe
from clara_operator.cluster import Cluster
from clara_operator.plan import Key, Plan
from clara_operator.settings import Settings


def reconcile(key: Key, cluster: Cluster, settings: Settings, now: datetime) -> Plan | None:
    """None when there is nothing to look at."""
    seen = observe(key, cluster)
    return decide(seen, settings, now.replace(microsecond=0)) if seen is not None else None
