"""Whether the vLLM process is well, and whether it is still the same one. Pure; `loop` feeds it.

A frozen engine is silent: unhealthy after two silent looks, and its verdicts come back with it, because its memory did. A dead
one is gone: unhealthy at once, and nothing it ever loaded counts any more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from clara_agent.vllm import Health

SILENT_LOOKS = 2
UNKNOWN = "unknown"  # an engine without process metrics: its death still shows as "gone"


@dataclass(frozen=True, slots=True)
class Process:
    """`epoch` counts process lives: a verdict of another epoch is void."""

    healthy: bool = False
    identity: str | None = None
    silent_looks: int = 0
    epoch: int = 0

    def looked(self, health: Health, identity: str | None) -> Process:
        """After one look; `identity` is the process start time when it answered."""
        if health == "silent":
            silent = self.silent_looks + 1
            return replace(self, silent_looks=silent, healthy=self.healthy and silent < SILENT_LOOKS)
        if health == "gone":
            lost = self.identity is not None or self.healthy
            return Process(epoch=self.epoch + lost)
        identity = identity or UNKNOWN
        changed = self.identity is not None and identity != self.identity
        return Process(healthy=True, identity=identity, epoch=self.epoch + changed)
