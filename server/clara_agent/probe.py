"""Loaded is not served: measure what an adapter changes on this engine and compare with what was recorded at training.

Of the recorded positions at most MEASURED are asked again, evenly spread: one short request each. The engine's own repeat noise
is measured once per process and set of prompts, by asking the base twice in different batches: all together, then some of
them one by one. Used by `work`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

from clara_api.fingerprint import Comparison, Fingerprint, compare, l2

from clara_agent.errors import NO_EFFECT, WRONG_FINGERPRINT, Permanent
from clara_agent.vllm import Vllm

MEASURED = 16  # each a request; a wrong adapter's cosine at 16 positions is 0 ± 0.25, far from 0.9
ALONE = 8  # of these; noise is scaled up as its square root
MAX_TOKENS = 256
KEPT_BASELINES = 8


@dataclass(frozen=True, slots=True)
class Position:
    """Token `token` after the tokens `context`."""

    context: tuple[int, ...]
    token: int


Positions = tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The base's log-probabilities at some positions, and the norm by which they differ from themselves."""

    values: list[float]
    noise: float


class Probe:
    """Measurements of one vLLM process; make a new one when the process changes."""

    def __init__(self, vllm: Vllm, base: str) -> None:
        self._vllm = vllm
        self._base = base
        self._baselines: dict[Positions, Baseline] = {}
        self._measuring = asyncio.Lock()

    @property
    def noise(self) -> float | None:
        """The largest repeat noise seen, or None before the first measurement."""
        return max((b.noise for b in self._baselines.values()), default=None)

    async def verify(self, name: str, recorded: Fingerprint) -> Comparison:
        """Measure the adapter; Permanent(NoEffect or WrongFingerprint) when it is not what was trained."""
        positions, expected = select(recorded)
        baseline = await self._baseline(positions)
        measured = await self._together(name, positions)
        result = judge(expected, measured, baseline)
        if not result.changes_output:
            raise Permanent(NO_EFFECT, result.explain())
        if not result.verified:
            raise Permanent(WRONG_FINGERPRINT, result.explain())
        return result

    async def _baseline(self, positions: Positions) -> Baseline:
        async with self._measuring:  # several adapters share their prompts: measure once
            if positions not in self._baselines:
                together = await self._together(self._base, positions)
                some = range(0, len(positions), max(1, len(positions) // ALONE))
                alone = [await self._alone(positions[i]) for i in some]
                while len(self._baselines) >= KEPT_BASELINES:
                    self._baselines.pop(next(iter(self._baselines)))
                noise = l2(_minus([together[i] for i in some], alone)) * math.sqrt(len(positions) / len(some))
                self._baselines[positions] = Baseline(together, noise)
            return self._baselines[positions]

    async def _alone(self, position: Position) -> float:
        return await self._vllm.log_probability(self._base, position.context, position.token)

    async def _together(self, model: str, positions: Positions) -> list[float]:
        asked = (self._vllm.log_probability(model, p.context, p.token) for p in positions)
        return list(await asyncio.gather(*asked))


def select(recorded: Fingerprint) -> tuple[Positions, list[float]]:
    """The positions to measure and what was recorded there; Permanent(WrongFingerprint) when the record is unusable."""
    if any(len(ids) > MAX_TOKENS for ids in recorded.prompts):
        raise Permanent(WRONG_FINGERPRINT, f"fingerprint.json holds a prompt of more than {MAX_TOKENS} tokens")
    if [len(ids) - 1 for ids in recorded.prompts] != [len(row) for row in recorded.differences]:
        raise Permanent(WRONG_FINGERPRINT, "fingerprint.json must hold one difference per token but the first")
    everything = [
        (Position(tuple(ids[: j + 1]), ids[j + 1]), difference)
        for ids, row in zip(recorded.prompts, recorded.differences, strict=True)
        for j, difference in enumerate(row)
    ]
    if not everything:
        raise Permanent(WRONG_FINGERPRINT, "fingerprint.json holds no position; record it again")
    count = min(MEASURED, len(everything))
    chosen = [everything[i * len(everything) // count] for i in range(count)]
    return tuple(position for position, _ in chosen), [difference for _, difference in chosen]


def judge(expected: Sequence[float], measured: Sequence[float], baseline: Baseline) -> Comparison:
    """Compare the measured effect with the recorded one; Permanent(WrongFingerprint) when a value is not finite."""
    try:
        return compare(expected, _minus(measured, baseline.values), noise=baseline.noise)
    except ValueError as error:
        raise Permanent(WRONG_FINGERPRINT, f"the fingerprint cannot be compared: {error}") from error


def _minus(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [x - y for x, y in zip(a, b, strict=True)]
