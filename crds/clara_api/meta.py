"""The parts every custom resource shares: base model class, conditions, references, resources.

Called by every module of this package. `crds/render.py` turns the classes into CRD schemas, so a description written here is
what `kubectl explain` prints, and a limit written here is what the API server enforces.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

GROUP = "clara.vcc.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

ConditionStatus = Literal["True", "False", "Unknown"]

DnsLabel = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)]
ObjectName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=253)
]
Family = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=40)]
SemVer = Annotated[
    str, StringConstraints(pattern=r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$", max_length=32)
]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
StoreUri = Annotated[
    str, StringConstraints(pattern=r"^(s3|volume)://[A-Za-z0-9][A-Za-z0-9._-]*(/[^\x00-\x20]*)?$", max_length=1024)
]
ShortText = Annotated[str, StringConstraints(max_length=256)]
Message = Annotated[str, StringConstraints(max_length=4096)]


class Model(BaseModel):
    """Immutable, camelCase on the wire; unknown fields are ignored because a newer server may send them."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    def wire(self) -> dict[str, Any]:
        """The JSON form: camelCase, no nulls (a null breaks merge patches and server-side apply)."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Condition(Model):
    """metav1.Condition. `reason` is one of the constants in `clara_api.reasons`."""

    type: Annotated[str, StringConstraints(max_length=64)]
    status: ConditionStatus
    reason: Annotated[str, StringConstraints(max_length=128, min_length=1)]
    message: Message = ""
    last_transition_time: datetime | None = None
    observed_generation: int = Field(default=0, ge=0)


class LocalRef(Model):
    """A reference to an object of the same namespace."""

    name: ObjectName


class ConfigMapKey(Model):
    """One key of a ConfigMap of the same namespace."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    key: Annotated[str, StringConstraints(min_length=1, max_length=253)] = Field(description="Key inside it.")


class BaseModelRef(Model):
    """The base model by name and content: two places with the same digest are the same base."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=63)] = (
        Field(description="Name under which requests and people know the base, for example 'tiny-de'.")
    )
    uri: StoreUri = Field(description="Folder with config, tokenizer and safetensors: s3://… or volume://….")
    digest: Digest = Field(
        description="sha256 over the sorted 'sha256 size path' lines of weights, config, tokenizer and chat template."
    )


class BaseModelIdentity(Model):
    """Which base an artifact belongs to, without saying where it lies."""

    name: Annotated[str, StringConstraints(max_length=63, min_length=1)] = Field(description="Name of the base model.")
    digest: Digest = Field(description="Content digest of the base model; an artifact fits no other.")


class Resources(Model):
    """core/v1 ResourceRequirements, the part that applies here."""

    requests: dict[str, str] = Field(default_factory=dict, max_length=16, description="For example {memory: 4Gi}.")
    limits: dict[str, str] = Field(
        default_factory=dict, max_length=16, description="For example {nvidia.com/gpu: '1'}."
    )


class Toleration(Model):
    """core/v1 Toleration."""

    key: ShortText | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: ShortText | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class Scheduling(Model):
    """Where pods may run; copied to the pod as it is."""

    node_selector: dict[str, str] = Field(default_factory=dict, max_length=16, description="core/v1 nodeSelector.")
    tolerations: list[Toleration] = Field(default_factory=list, max_length=16, description="core/v1 tolerations.")
    affinity: dict[str, Any] | None = Field(default=None, description="core/v1 affinity.")
    priority_class_name: ShortText | None = Field(default=None, description="Name of a PriorityClass.")
    runtime_class_name: ShortText | None = Field(default=None, description="Name of a RuntimeClass.")
    image_pull_secrets: list[LocalRef] = Field(
        default_factory=list, max_length=8, description="Secrets of this namespace that pull the images."
    )


class Status(Model):
    """What every status has. -1 says: no controller has looked yet."""

    observed_generation: int = Field(
        default=-1, description="The generation this status was decided on; -1 = none yet."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


def merge_conditions(old: Sequence[Condition], new: Sequence[Condition], *, now: datetime) -> list[Condition]:
    """Give each wanted condition its transition time: the old one while the status stays, `now` when it changes.

    Conditions not in `new` are dropped: a status apply always sends the whole status. Sorted by type, so that equal
    states are equal bytes.
    """
    before = {c.type: c for c in old}
    merged = []
    for c in sorted(new, key=lambda c: c.type):
        was = before.get(c.type)
        same = was is not None and was.status == c.status and was.last_transition_time is not None
        merged.append(c.model_copy(update={"last_transition_time": was.last_transition_time if same and was else now}))
    return merged


def find_condition(conditions: Sequence[Condition], type_: str) -> Condition | None:
    """The condition of that type, or None."""
    return next((c for c in conditions if c.type == type_), None)
