"""Everything `decide` looks at for one GoldenDataset, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from clara_api import reasons
from clara_api.golden_dataset import GoldenDatasetSpec, GoldenDatasetStatus

from clara_operator.cluster import Cluster
from clara_operator.plan import Key
from clara_operator.subject import Subject


@dataclass(frozen=True, slots=True)
class Seen:
    """One GoldenDataset, and what the last evaluation that asked its judge said."""

    key: Key
    generation: int
    resource_version: str
    spec: GoldenDatasetSpec
    status: GoldenDatasetStatus
    judge_answered: bool | None = None
    judge_message: str = ""


def observe(subject: Subject[GoldenDatasetSpec, GoldenDatasetStatus], cluster: Cluster) -> Seen:
    """The GoldenDataset with the news of its judge."""
    answered, message = _judge(cluster, subject.key)
    return Seen(
        key=subject.key,
        generation=subject.generation,
        resource_version=subject.resource_version,
        spec=subject.spec,
        status=subject.status,
        judge_answered=answered,
        judge_message=message,
    )


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
