"""The custom resource a pass is about, parsed. Called by the `reconcile` and `observe` of every kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from clara_api import reasons
from clara_api.lifecycle import Situation, top_conditions
from clara_api.meta import Condition, Model, merge_conditions
from pydantic import ValidationError

from clara_operator.cluster import Cluster
from clara_operator.plan import Event, Key, Manifest, Plan, StatusWrite
from clara_operator.settings import Settings

SpecT = TypeVar("SpecT", bound=Model)
StatusT = TypeVar("StatusT", bound=Model)
Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class Subject(Generic[SpecT, StatusT]):
    """One object of ours, as it was seen."""

    key: Key
    uid: str
    generation: int
    resource_version: str
    manifest: Manifest = field(hash=False)
    spec: SpecT
    status: StatusT


def reconciler(
    spec: type[SpecT],
    status: type[StatusT],
    observe: Callable[[Subject[SpecT, StatusT], Cluster], Seen],
    decide: Callable[[Seen, Settings, datetime], Plan],
) -> Callable[[Key, Cluster, Settings, datetime], Plan | None]:
    """Observe and decide for one kind. The result is None when the object is gone or going.

    An object that this version cannot read ends in a condition that names the field, never in silence.
    """

    def reconcile(key: Key, cluster: Cluster, settings: Settings, now: datetime) -> Plan | None:
        obj = cluster.get(key.kind, key.namespace, key.name)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return None
        now = now.replace(microsecond=0)
        try:
            subject = Subject(
                key=key,
                uid=obj["metadata"]["uid"],
                generation=obj["metadata"].get("generation", 1),
                resource_version=obj["metadata"]["resourceVersion"],
                manifest=obj,
                spec=spec.model_validate(obj["spec"]),
                status=status.model_validate(obj.get("status") or {}),
            )
        except ValidationError as error:
            return unreadable(key, obj, error, now)
        return decide(observe(subject, cluster), settings, now)

    return reconcile


def unreadable(key: Key, obj: Manifest, error: ValidationError, now: datetime) -> Plan:
    """Says which field cannot be read. What status holds beside the conditions stays: a newer version may have written it."""
    first = error.errors(include_url=False)[0]
    place = f"{error.title.removesuffix('Spec').removesuffix('Status')}: {'.'.join(map(str, first['loc']))}"
    message = (
        f"{place}: {first['msg']} ({error.error_count()} in all). Correct the field; "
        "if a newer version of Clara wrote it, upgrade this one"
    )
    generation = obj["metadata"].get("generation", 1)
    top = "Succeeded" if key.kind == "TrainingJob" else "Ready"
    conditions = top_conditions(top, Situation.FAILED, reasons.UNREADABLE, message, generation=generation)
    status: dict[str, Any] = obj.get("status") or {}
    merged = merge_conditions(_conditions(status), conditions, now=now)
    wanted = {**status, "observedGeneration": generation, "conditions": [c.wire() for c in merged]}
    if wanted == status:
        return Plan()
    event = Event("Warning", reasons.UNREADABLE, message)
    return Plan(status=StatusWrite(obj["metadata"]["resourceVersion"], wanted), events=(event,))


def _conditions(status: dict[str, Any]) -> list[Condition]:
    try:
        return [Condition.model_validate(c) for c in status.get("conditions") or []]
    except ValidationError:
        return []
