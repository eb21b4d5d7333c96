"""Compose `Engine.status` and readiness from what is known. Pure; called by `loop` at every look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clara_api.engine import EngineObjectSpec, EngineObjectStatus, WantedAdapter

from clara_agent.held import Held, tell
from clara_agent.process import Process


@dataclass(frozen=True, slots=True)
class Desired:
    """What the Engine object asks for, and which generation of it."""

    spec: EngineObjectSpec
    generation: int
    uid: str


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What is known about the engine besides its adapters."""

    process: Process
    draining: bool = False
    version: str | None = None
    noise: float | None = None
    message: str | None = None


def compose(desired: Desired, facts: EngineFacts, held: Mapping[str, Held]) -> EngineObjectStatus:
    """The whole status but its heartbeat; adapters sorted, so that equal states are equal."""
    return EngineObjectStatus(
        observed_generation=desired.generation,
        healthy=facts.process.healthy,
        draining=facts.draining,
        process=facts.process.identity,
        engine_version=facts.version,
        noise=facts.noise,
        message=facts.message,
        adapters=[tell(name, held[name]) for name in sorted(held)],
    )


def all_have_verdicts(wanted: tuple[WantedAdapter, ...], held: Mapping[str, Held]) -> bool:
    """Whether every adapter that should be held is verified or has failed."""
    names = [w.engine_name for w in wanted if w.state != "retire"]
    return all(name in held and held[name].has_verdict for name in names)
