"""What the installation decides, read once from the environment the chart sets, frozen, handed down.

Every field says its unit and reason. Bad values stop the operator at its start with the variable's name.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

CommaList = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """Environment variables CLARA_*."""

    model_config = SettingsConfigDict(env_prefix="CLARA_", frozen=True)

    namespace: str = Field(description="Namespace of the operator: its Lease, its progress Service and Secret.")
    pod_name: str = Field(description="This pod's name: identity in the Lease.")
    pod_ip: str = Field(
        default="", description="This pod's address, put into the progress EndpointSlice by the leader."
    )
    watch_namespaces: CommaList = Field(description="Namespaces served, comma-separated; Roles exist only there.")
    trainer_image: str = Field(description="Image of training, evaluation and record Jobs.")
    engine_image: str = Field(description="Image of vLLM and the agent.")
    image_pull_policy: str = Field(default="IfNotPresent", description="Pull policy of all pods made.")
    artifact_prefix: str = Field(
        description="Store URI under which artifacts are published: s3://BUCKET[/PATH] or volume://clara-artifacts[/PATH]."
    )
    allowed_prefixes: CommaList = Field(description="URIs a namespace may name; '{namespace}' stands for its name.")
    store_secret: str = Field(
        default="clara-store", description="Secret per namespace with AWS_* variables; ignored for volumes."
    )
    volume_claim: str = Field(default="clara-artifacts", description="Claim per namespace for volume:// URIs.")
    gateway_identity: str = Field(
        default="system:serviceaccount:clara-system:clara-gateway",
        description="Token subject the engine guard accepts.",
    )
    service_account_issuer: str = Field(
        default="https://kubernetes.default.svc.cluster.local",
        description="Issuer of ServiceAccount tokens, checked by the engine guard.",
    )
    engine_port: int = Field(default=8000, description="Port of vLLM.")
    cpu_engines: bool = Field(default=False, description="True: engines run vLLM's CPU build (development, demo).")
    kv_cache_gib: int = Field(default=1, ge=1, description="CPU engines: size of the KV cache, GiB.")
    max_running_jobs: int = Field(
        default=2,
        ge=1,
        description="TrainingJobs that train at the same time in a namespace; the others wait their turn.",
    )
    workers: int = Field(default=8, ge=1, le=64, description="Reconciles at once; keys are serial in themselves.")
    resync_seconds: float = Field(
        default=600, gt=0, description="Every key is looked at this often, even if nothing happens."
    )
    sweep_seconds: float = Field(
        default=180, gt=0, description="Own metadata list per kind: finds what vanished while a watch was down."
    )
    lease_seconds: int = Field(default=15, ge=3, description="A leader silent for so long has lost.")
    progress_port: int = Field(default=8443, description="HTTPS endpoint of arrow 2.")
    metrics_port: int = Field(default=9090, description="/metrics, /healthz, /readyz.")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING.")

    @field_validator("watch_namespaces", "allowed_prefixes", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("watch_namespaces")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one namespace in CLARA_WATCH_NAMESPACES (chart value watchNamespaces)")
        return value
