"""Everything that can be set from outside, read once by `__main__.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SecurityMode = Literal["production", "development"]


class Settings(BaseSettings):
    """Environment variables are the field names in capitals after CLARA_GATEWAY_, unless a field says otherwise."""

    model_config = SettingsConfigDict(env_prefix="CLARA_GATEWAY_", frozen=True, populate_by_name=True)

    host: str = Field(default="0.0.0.0", description="Address to listen on; a pod must listen on all.")  # noqa: S104
    port: int = Field(default=8080, ge=0, le=65535, description="Port of the OpenAI API.")
    metrics_port: int = Field(default=9090, ge=0, le=65535, description="Port of /metrics, apart from the clients'.")
    security_mode: SecurityMode = Field(
        default="production",
        validation_alias=AliasChoices("CLARA_SECURITY_MODE", "CLARA_GATEWAY_SECURITY_MODE"),
        description="CLARA_SECURITY_MODE: production needs keys; development answers anybody.",
    )
    keys_dir: Path | None = Field(default=None, description="Mounted Secret: one file per API key, named after its id.")
    default_namespace: str | None = Field(
        default=None, min_length=1, description="Where plain names live for callers whose key names no namespace."
    )
    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Comma list of namespaces to watch; empty: the whole cluster."
    )
    kubeconfig: Path | None = Field(default=None, description="For running outside a cluster; empty: in-cluster.")
    engine_token_file: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("CLARA_ENGINE_TOKEN_FILE", "CLARA_GATEWAY_ENGINE_TOKEN_FILE"),
        description="CLARA_ENGINE_TOKEN_FILE: projected token (audience clara-engine) sent to engines as Bearer.",
    )
    wait_seconds: float = Field(
        default=10, ge=0, le=300, description="Longest wait for a planned load or a returning engine, then 503."
    )
    body_limit: int = Field(
        default=4 * 2**20, ge=1024, description="Bytes of a request body; it is kept until the first byte is answered."
    )
    max_in_flight: int = Field(
        default=2048, ge=1, description="Requests at a time; with body_limit this bounds the memory. More get 503."
    )
    connect_seconds: float = Field(default=2, gt=0, description="Longest TCP connect to an engine, then it is ejected.")
    probe_every_seconds: float = Field(default=2, gt=0, description="Time between two GET /health of an engine.")
    probe_timeout_seconds: float = Field(default=1, gt=0, description="An engine that takes longer is suspect.")
    lame_duck_seconds: float = Field(
        default=3, ge=0, description="After SIGTERM: still accepting while endpoints forget this pod, /ready is 503."
    )
    drain_seconds: float = Field(default=60, gt=0, description="After that: longest time running answers get to end.")

    @field_validator("watch_namespaces", mode="before")
    @classmethod
    def _comma_list(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("default_namespace", "keys_dir", "kubeconfig", "engine_token_file", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value
