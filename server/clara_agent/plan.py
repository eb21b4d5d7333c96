"""What to do next about each adapter. Pure: `loop` observes, calls `plan`, and hands the actions to `work`.

    wanted (load, serve):  Fetch → Load → Verify            each adapter on its own, a bad one blocks no other
    leaving (retire, or no longer named):  quiet in two scrapes, or drain time over → Unload
                                           no longer listed and quiet → DeleteFiles → Forget

vLLM re-reads an evicted adapter from its path inside a batch and dies of a read error: so no more than maxCpuLoras are
registered, and files of a listed or running adapter are never touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clara_api.engine import WantedAdapter

from clara_agent.held import Held

QUIET_SCRAPES = 2  # one look may fall between two requests of a stream's life
SETTLE_SECONDS = 1.0  # the gateway learns of a retirement by its watch
PARALLEL = 4  # fetches, loads and verifications at once


@dataclass(frozen=True, slots=True)
class Fetch:
    """Download, check, seal."""

    name: str


@dataclass(frozen=True, slots=True)
class Load:
    """Register with vLLM."""

    name: str


@dataclass(frozen=True, slots=True)
class Verify:
    """Measure its effect."""

    name: str


@dataclass(frozen=True, slots=True)
class Unload:
    """Take it out of vLLM's list."""

    name: str


@dataclass(frozen=True, slots=True)
class DeleteFiles:
    """Remove its sealed folder."""

    name: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing of it is left."""

    name: str


Action = Fetch | Load | Verify | Unload | DeleteFiles | Forget
WORK = (Fetch, Load, Verify)


@dataclass(frozen=True, slots=True)
class Seen:
    """One look, begun at `begun`. `listed` is {name: path} of /v1/models, None while vLLM does not answer; an adapter's
    folder is `folder`/NAME."""

    wanted: tuple[WantedAdapter, ...]
    held: Mapping[str, Held]
    listed: Mapping[str, str] | None
    folder: str
    now: float
    max_cpu_loras: int = 16
    drain_seconds: float = 60.0
    begun: float = float("inf")

    def is_listed(self, name: str) -> bool:
        """Whether vLLM has it registered, as far as is known."""
        return self.listed is not None and name in self.listed

    def lists_elsewhere(self, name: str) -> bool:
        """Whether vLLM registered the name with another path than the sealed folder."""
        return self.listed is not None and self.listed.get(name, self.path(name)) != self.path(name)

    def is_busy(self, held: Held) -> bool:
        """Whether a step runs, or ended after this look began: what the look says about it may be from before."""
        return held.doing is not None or held.done_at > self.begun

    def path(self, name: str) -> str:
        """The adapter's sealed folder."""
        return f"{self.folder}/{name}"


def staying(wanted: tuple[WantedAdapter, ...], held: Mapping[str, Held]) -> dict[str, WantedAdapter]:
    """The adapters that should be held. One whose digest differs from the bytes held under its name must leave first."""
    return {
        w.engine_name: w
        for w in wanted
        if w.state != "retire" and (w.engine_name not in held or held[w.engine_name].digest == w.digest)
    }


def plan(seen: Seen) -> tuple[Action, ...]:
    """The actions that may start now, in the order the spec names the adapters; leaving ones first, they make room."""
    stay = staying(seen.wanted, seen.held)
    leaving = [act for name, held in seen.held.items() if name not in stay and (act := _leave(name, held, seen))]
    free = PARALLEL - sum(h.doing in ("Fetching", "Loading", "Verifying") for h in seen.held.values())
    room = seen.max_cpu_loras - _registered(seen)
    steps: list[Action] = []
    for name in stay:
        act = _bring(name, seen.held.get(name) or Held(stay[name].digest), seen, room=room)
        if isinstance(act, WORK) and len([s for s in steps if isinstance(s, WORK)]) >= free:
            continue
        room -= isinstance(act, Load)
        if act:
            steps.append(act)
    return (*leaving, *steps)


def waits_for_room(name: str, held: Held, seen: Seen) -> bool:
    """Whether nothing but a full engine keeps it from being loaded."""
    able = held.has_files and not held.permanent and not seen.is_busy(held)
    return able and seen.listed is not None and name not in seen.listed and _registered(seen) >= seen.max_cpu_loras


def _bring(name: str, held: Held, seen: Seen, *, room: int) -> Action | None:
    if seen.is_busy(held):
        return None
    if seen.lists_elsewhere(name) or (held.permanent and seen.is_listed(name)):
        return Unload(name) if held.quiet_scrapes >= QUIET_SCRAPES else None
    if held.permanent or held.verified_at or held.retry_at > seen.now:
        return None
    if not held.has_files:
        return Fetch(name)
    if seen.listed is None:
        return None
    if name in seen.listed:
        return Verify(name)
    return Load(name) if room > 0 else None


def _leave(name: str, held: Held, seen: Seen) -> Action | None:
    if seen.is_busy(held) or seen.listed is None or held.draining_since is None:
        return None
    quiet, since = held.quiet_scrapes >= QUIET_SCRAPES, seen.now - held.draining_since
    if name in seen.listed:
        may_go = (quiet and since >= SETTLE_SECONDS) or since >= seen.drain_seconds
        return Unload(name) if may_go and held.retry_at <= seen.now else None
    if not held.has_files:
        return Forget(name)
    return DeleteFiles(name) if quiet else None


def _registered(seen: Seen) -> int:
    listed = set(seen.listed or ())
    return len(listed | {name for name, held in seen.held.items() if held.doing == "Loading"})
