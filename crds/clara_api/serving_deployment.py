"""ServingDeployment (sdep): one base model on vLLM engines, and the families it serves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from clara_api.meta import (
    BaseModelRef,
    Digest,
    Family,
    Message,
    Model,
    Resources,
    Scheduling,
    SemVer,
    ShortText,
    Status,
)


class EngineSpec(Model):
    """The vLLM engines. Engine pods restart only when this changes (or by updatePolicy)."""

    replicas: int = Field(default=1, ge=0, le=64, description="Engine pods.")
    image: Annotated[str, StringConstraints(max_length=512)] | None = Field(
        default=None, description="Engine image; without it the installation's."
    )
    max_loras: int = Field(default=4, ge=1, le=512, description="Adapters active in one batch.")
    max_cpu_loras: int = Field(
        default=16, ge=2, le=4096, description="Adapters registered per engine; at least families + 1."
    )
    max_lora_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] = Field(
        default=64, description="Highest rank an adapter may have."
    )
    max_model_length: int = Field(
        default=4096, ge=16, le=1048576, description="Longest prompt and answer together, in tokens."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Weights' type; auto: the base's own on GPU, float32 on CPU."
    )
    drain_seconds: int = Field(default=60, ge=1, le=3600, description="Longest time running answers get to end.")
    resources: Resources = Field(default_factory=Resources, description="core/v1 resources of the engine container.")
    scheduling: Scheduling = Field(default_factory=Scheduling, description="Where engine pods may run.")
    update_policy: Literal["OnSpecChange", "OnOperatorUpgrade"] = Field(
        default="OnSpecChange",
        description="OnSpecChange: pods restart only when spec.engine changes. OnOperatorUpgrade: also with a new operator.",
    )
    extra_args: list[Annotated[str, StringConstraints(min_length=1, max_length=256)]] = Field(
        default_factory=list, max_length=32, description="Further vLLM flags, by allow-list."
    )


class FamilySelector(Model):
    """A family and which of its approved versions may be served: the newest in range with this base's digest."""

    name: Family = Field(description="The family.")
    versions: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        default="*", description="npm range, for example '>=1.0.0 <2.0.0'; a bare '1.1.0' pins."
    )
    min_engines: int = Field(
        default=1, ge=1, le=64, description="The alias moves when this many engines have verified it."
    )


class ServingDeploymentSpec(Model):
    """What is served where."""

    base_model: BaseModelRef = Field(description="The base; immutable.")
    engine: EngineSpec = Field(default_factory=EngineSpec, description="The vLLM engines.")
    families: list[FamilySelector] = Field(
        default_factory=list,
        max_length=512,
        description="The families served.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )


RouteState = Literal["Serving", "Loading", "Retired"]


class Route(Model):
    """One version of a family as the gateway sees it.

    Serving: the alias points here, or the exact name is answered. Loading: planned, a request waits a bounded time.
    Retired: answered with 404 that names the successor.
    """

    family: Family
    version: SemVer
    engine_name: ShortText
    digest: Digest
    state: RouteState
    weight: int = Field(
        default=0, ge=0, le=100, description="Share of the alias' traffic, in percent; 0: exact name only."
    )
    successor: SemVer | None = None


class Problem(Model):
    """Something a person should look at."""

    subject: ShortText
    reason: ShortText
    message: Message


class Count(Model):
    """Wanted and ready."""

    wanted: int = 0
    ready: int = 0


class ServingDeploymentDisplay(Model):
    """Composed strings for people."""

    engines: ShortText = ""
    adapters: ShortText = ""


class ServingDeploymentStatus(Status):
    """How serving stands."""

    engines: Count = Field(default_factory=Count)
    adapters: Count = Field(default_factory=Count)
    routes: list[Route] = Field(
        default_factory=list,
        max_length=2048,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["engineName"]},
    )
    problems: list[Problem] = Field(
        default_factory=list, max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    display: ServingDeploymentDisplay = Field(default_factory=ServingDeploymentDisplay)
