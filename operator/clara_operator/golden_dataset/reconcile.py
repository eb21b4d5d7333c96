"""Observe and decide one GoldenDataset."""

from __future__ import annotations

from datetime import datetime

from clara_api import reasons
from clara_api.golden_dataset import GoldenDatasetSpec, GoldenDatasetStatus
from pydantic import ValidationError

from clara_operator.cluster import Cluster
from clara_operator.golden_dataset.decide import Seen, decide
from clara_operator.plan import Key, Plan
from clara_operator.settings import Settings


def reconcile(key: Key, cluster: Cluster, settings: Settings, now: datetime) -> Plan | None:
    """None when there is nothing to look at."""
    obj = cluster.get("GoldenDataset", key.namespace, key.name)
    if obj is None or obj["metadata"].get("deletionTimestamp"):
        return None
    try:
        spec = GoldenDatasetSpec.model_validate(obj["spec"])
        status = GoldenDatasetStatus.model_validate(obj.get("status") or {})
    except ValidationError:
        return None
    answered, message = _judge(cluster, key)
    seen = Seen(
        key=key,
        generation=obj["metadata"].get("generation", 1),
        resource_version=obj["metadata"]["resourceVersion"],
        spec=spec,
        status=status,
        judge_answered=answered,
        judge_message=message,
    )
    return decide(seen, now.replace(microsecond=0))


def _judge(cluster: Cluster, key: Key) -> tuple[bool | None, str]:
    """What the Adapters that name this set say of its judge: any that cannot reach it now, else any that was answered."""
    answered: bool | None = None
    for adapter in cluster.all("Adapter", key.namespace):
        named = (adapter["spec"].get("evaluation") or {}).get("goldenDatasetRef", {}).get("name")
        if named != key.name:
            continue
        conditions = (adapter.get("status") or {}).get("conditions") or []
        evaluated = next((c for c in conditions if c["type"] == "Evaluated"), None)
        if evaluated is None:
            continue
        if evaluated["reason"] == reasons.JUDGE_UNREACHABLE:
            return False, evaluated.get("message", "")
        if evaluated["status"] == "True":
            answered = True
    return answered, ""
