"""The pod's surroundings, read once from the environment by `__main__` and handed down.

Every path has the place the operator's pod template mounts as its default; tests hand in their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from clara_api.handoff import run as places


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things lie in this pod."""

    termination_log: Path  # what the kubelet copies into the pod's status
    volume_root: Path  # volume://CLAIM/PATH is volume_root/CLAIM/PATH
    scratch: Path  # the only writable folder besides the store
    judge_token_file: Path  # from the judge's Secret; absent when the judge asks for none
    store_patience: float  # seconds in which temporary errors of the store are retried
    scratch_bytes: int | None = None  # what may lie in scratch; above it the pod would be evicted

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read the environment; ValueError when a number is none."""
        return cls(
            termination_log=Path(env.get("CLARA_TERMINATION_LOG", places.TERMINATION_LOG)),
            volume_root=Path(env.get("CLARA_VOLUME_ROOT", places.VOLUME_ROOT)),
            scratch=Path(env.get("CLARA_SCRATCH_DIR", places.SCRATCH_DIR)),
            judge_token_file=Path(env.get("CLARA_JUDGE_TOKEN_FILE", places.JUDGE_TOKEN_FILE)),
            store_patience=float(env.get("CLARA_STORE_PATIENCE_SECONDS", "120")),
            scratch_bytes=int(env[places.ENV_SCRATCH_BYTES]) if env.get(places.ENV_SCRATCH_BYTES) else None,
        )

    def prepare_process(self, env: MutableMapping[str, str]) -> None:
        """Point every library's caches at scratch (the root file system is read-only) and forbid downloads.

        Must run before torch or transformers is imported: they read these variables at import.
        """
        self.scratch.mkdir(parents=True, exist_ok=True)
        for name, folder in (("HF_HOME", "hf"), ("TORCHINDUCTOR_CACHE_DIR", "inductor"), ("TMPDIR", "tmp")):
            (self.scratch / folder).mkdir(exist_ok=True)
            env[name] = str(self.scratch / folder)
        env["HF_HUB_OFFLINE"] = "1"
        env["HF_HUB_DISABLE_TELEMETRY"] = "1"
        env["TOKENIZERS_PARALLELISM"] = "false"
        env["TQDM_DISABLE"] = "1"  # progress bars are no JSON lines
        env.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with a fixed workspace


def from_process() -> Settings:
    """The settings of this process."""
    return Settings.from_env(os.environ)
