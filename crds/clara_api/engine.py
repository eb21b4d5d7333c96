"""Engine (internal): one per engine pod, named like it and owned by it. Handoffs 8 and 9.

The operator writes spec, only that pod's agent writes status: an admission policy compares the token's pod name with the
object's. The gateway reads both.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from clara_api.meta import BaseModelRef, Digest, LocalRef, Message, Model, ShortText, StoreUri

WantedState = Literal["load", "serve", "retire"]
HeldState = Literal["Pending", "Fetching", "Loading", "Verifying", "Verified", "Draining", "Failed"]


class WantedAdapter(Model):
    """What the engine should hold. load: fetch, check, load, prove. serve: the alias points here. retire: nothing new is
    sent; unload when nothing runs."""

    engine_name: Annotated[str, StringConstraints(max_length=253)]
    digest: Digest = Field(description="sha256 of the artifact's manifest.json.")
    uri: StoreUri
    state: WantedState


class HeldAdapter(Model):
    """What the engine holds, measured by its agent."""

    engine_name: Annotated[str, StringConstraints(max_length=253)]
    digest: Digest
    state: HeldState
    verified_at: datetime | None = Field(
        default=None, description="When the fingerprint last agreed on this engine process."
    )
    cosine: float | None = Field(default=None, description="Of measured and recorded fingerprint.")
    norm_ratio: float | None = Field(default=None, description="Measured norm over the engine's own repeat noise.")
    fetch_seconds: float | None = None
    load_seconds: float | None = None
    reason: ShortText | None = None
    error: Message | None = None


class EngineObjectSpec(Model):
    """Written by the operator only."""

    serving_deployment_ref: LocalRef
    base_model: BaseModelRef
    address: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        default=None, description="IP:PORT of the pod's vLLM, from the pod's status."
    )
    max_lora_rank: int = Field(default=64, ge=1, le=512)
    max_cpu_loras: int = Field(default=16, ge=1, le=4096)
    drain_seconds: int = Field(default=60, ge=1, le=3600)
    adapters: list[WantedAdapter] = Field(
        default_factory=list,
        max_length=4096,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["engineName"]},
    )


class EngineObjectStatus(Model):
    """Written by the agent beside the engine only."""

    observed_generation: int = Field(default=-1)
    healthy: bool = Field(default=False, description="vLLM answers /health and its model list.")
    draining: bool = Field(default=False, description="The pod is ending: send nothing new.")
    process: ShortText | None = Field(
        default=None,
        description="Identity of the vLLM process: changes when its container restarts, and every verdict with it.",
    )
    engine_version: ShortText | None = None
    noise: float | None = Field(default=None, description="Norm of the difference between two equal base measurements.")
    message: Message | None = None
    heartbeat: datetime | None = Field(default=None, description="Last change of this status.")
    adapters: list[HeldAdapter] = Field(
        default_factory=list,
        max_length=4096,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["engineName"]},
    )
