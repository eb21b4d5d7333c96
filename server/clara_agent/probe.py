"""Loaded is not served: measure what an adapter changes on this engine and compare with what was recorded at training.

The engine's own repeat noise is measured once per process and set of prompts, by asking the base twice in different batches:
all prompts at once, then one by one. Used by `work`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clara_api.fingerprint import Comparison, Fingerprint, compare, l2

from clara_agent.errors import NO_EFFECT, PROBE_FAILED, WRONG_FINGERPRINT, Permanent, Temporary
from clara_agent.vllm import Vllm

MAX_PROMPTS = 32
MAX_TOKENS = 256
KEPT_BASELINES = 8

Prompts = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The base's log-probabilities on some prompts, and the norm by which they differ from themselves."""

    values: list[float]
    noise: float


class Probe:
    """Measurements of one vLLM process; make a new one when the process changes."""

    def __init__(self, vllm: Vllm, base: str) -> None:
        self._vllm = vllm
        self._base = base
        self._baselines: dict[Prompts, Baseline] = {}

    @property
    def noise(self) -> float | None:
        """The largest repeat noise seen, or None before the first measurement."""
        return max((b.noise for b in self._baselines.values()), default=None)

    async def verify(self, name: str, recorded: Fingerprint) -> Comparison:
        """Measure the adapter; Permanent(NoEffect or WrongFingerprint) when it is not what was trained."""
        prompts = probe_prompts(recorded)
        baseline = await self._baseline(prompts)
        measured = _flat(await self._vllm.log_probabilities(name, prompts))
        try:
            result = compare(
                recorded.vector(), [a - b for a, b in zip(measured, baseline.values, strict=True)], noise=baseline.noise
            )
        except ValueError as error:
            raise Permanent(WRONG_FINGERPRINT, f"the fingerprint cannot be compared: {error}") from error
        if not result.changes_output:
            raise Permanent(NO_EFFECT, result.explain())
        if not result.verified:
            raise Permanent(WRONG_FINGERPRINT, result.explain())
        return result

    async def _baseline(self, prompts: Prompts) -> Baseline:
        if prompts not in self._baselines:
            together = _flat(await self._vllm.log_probabilities(self._base, prompts))
            alone = _flat([(await self._vllm.log_probabilities(self._base, [p]))[0] for p in prompts])
            if len(together) != len(alone):
                raise Temporary(PROBE_FAILED, "two measurements of the base differ in length")
            while len(self._baselines) >= KEPT_BASELINES:
                self._baselines.pop(next(iter(self._baselines)))
            noise = l2([a - b for a, b in zip(together, alone, strict=True)])
            self._baselines[prompts] = Baseline(together, noise)
        return self._baselines[prompts]


def probe_prompts(recorded: Fingerprint) -> Prompts:
    """The prompts to send; Permanent(WrongFingerprint) when there are none, too many, or too long ones."""
    prompts = tuple(tuple(p) for p in recorded.prompts)
    if not prompts or len(prompts) > MAX_PROMPTS or any(not 2 <= len(p) <= MAX_TOKENS for p in prompts):
        raise Permanent(
            WRONG_FINGERPRINT,
            f"fingerprint.json must hold 1 to {MAX_PROMPTS} prompts of 2 to {MAX_TOKENS} token ids; re-record it",
        )
    return prompts


def _flat(rows: Sequence[Sequence[float]]) -> list[float]:
    return [value for row in rows for value in row]
