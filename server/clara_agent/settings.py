"""What the pod's environment says, read once by `__main__`. The limits that may change live in `Engine.spec` instead."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class AgentSettings(BaseSettings):
    """Environment of the sidecar `python -m clara_agent run`."""

    model_config = SettingsConfigDict(env_prefix="CLARA_", frozen=True)

    pod_name: str = Field(description="Also the name of this pod's Engine object.")
    namespace: str = Field(description="Namespace of both.")
    engine_url: str = Field(default="http://127.0.0.1:8000", description="vLLM on the pod's loopback.")
    engine_secret_dir: Path = Field(default=Path("/clara/guard"), description="Memory emptyDir shared with vLLM.")
    adapter_dir: Path = Field(
        default=Path("/clara/adapters"), description="emptyDir shared with vLLM, read-only there."
    )
    base_dir: Path = Field(default=Path("/clara/base"), description="The verified base model.")
    volume_root: Path = Field(
        default=Path("/clara/volumes"), description="volume://CLAIM/PATH lies at ROOT/CLAIM/PATH."
    )
    kubeconfig: Path | None = Field(default=None, description="Outside of a pod: instead of the ServiceAccount.")
    listen_host: str = Field(default="0.0.0.0", description="Where metrics and probes are answered.")  # noqa: S104
    listen_port: int = Field(default=9091, description="Port of /metrics, /healthz and /readyz.")
    poll_seconds: float = Field(default=0.7, gt=0, description="Between two looks at vLLM; a loss shows within two.")
    keys_seconds: float = Field(default=300, gt=0, description="Between two reads of the API server's signing keys.")
    max_adapter_bytes: int = Field(default=8 << 30, description="Largest adapter accepted, in bytes.")


class FetchBaseSettings(BaseSettings):
    """Environment of the init container `python -m clara_agent fetch-base`."""

    model_config = SettingsConfigDict(env_prefix="CLARA_", frozen=True)

    base_uri: str = Field(description="s3:// or volume:// folder of the base model.")
    base_digest: str = Field(description="Its content digest.")
    base_dir: Path = Field(default=Path("/clara/base"), description="Where it is put.")
    volume_root: Path = Field(
        default=Path("/clara/volumes"), description="volume://CLAIM/PATH lies at ROOT/CLAIM/PATH."
    )
    termination_log: Path = Field(default=Path("/dev/termination-log"), description="Where the failure is told.")


class DrainSettings(BaseSettings):
    """Environment of the preStop hook `python -m clara_agent drain`."""

    model_config = SettingsConfigDict(env_prefix="CLARA_", frozen=True)

    engine_secret_dir: Path = Field(default=Path("/clara/guard"), description="Holds the agent's socket.")
    drain_seconds: float = Field(default=60, gt=0, description="Longest time running answers get to end.")
