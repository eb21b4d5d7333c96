"""What loading an adapter must change: per-token log-probability differences adapter − base on fixed prompts. Pure.

Recorded by the trainer when an adapter is made, measured again by the agent after each load. vLLM has answered 200 OK with
adapters that changed nothing; a difference cannot be faked by a status code. Differences, not absolute values: what two
runtimes disagree about on the base cancels out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from clara_api.meta import Model, ShortText

MIN_COSINE = 0.9  # calibrated per dtype; fp32 engines measure above 0.999
NOISE_FACTOR = 3.0  # the difference must stand out of the engine's own repeat noise
NOISE_FLOOR = 1e-3  # norm; a noiseless engine must not make every rounding error a proof

PROMPTS: tuple[str, ...] = (
    "Wann gilt ein schriftlicher Verwaltungsakt als bekannt gegeben, wenn er mit der Post übermittelt wird?",
    "Die Behörde hat den Antrag geprüft und teilt dem Antragsteller das Ergebnis der Entscheidung mit.",
    "Gegen diesen Bescheid kann innerhalb eines Monats nach Bekanntgabe Einspruch eingelegt werden.",
    "Der Vorhabenträger hat die Unterlagen vollständig und fristgerecht bei der Gemeinde eingereicht.",
    "Fasse den folgenden Text in zwei Sätzen zusammen und nenne die maßgebliche Vorschrift.",
    "The quick brown fox jumps over the lazy dog while the committee reads the minutes.",
)
MAX_TOKENS_PER_PROMPT = 48


class Fingerprint(Model):
    """fingerprint.json. `differences[i][j]` belongs to token j+1 of prompt i: the first token has no probability."""

    schema_: str = Field(default="clara.vcc.dev/fingerprint/v1", alias="schema")
    prompts: list[list[int]] = Field(description="Token ids under the base's tokenizer, without added special tokens.")
    differences: list[list[float]]
    dtype: ShortText = "float32"

    def vector(self) -> list[float]:
        """All differences in one row."""
        return [d for row in self.differences for d in row]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a measurement compares with what was recorded."""

    cosine: float
    norm: float
    recorded_norm: float
    noise: float

    @property
    def threshold(self) -> float:
        """The norm a real change must exceed."""
        return max(NOISE_FLOOR, NOISE_FACTOR * self.noise)

    @property
    def changes_output(self) -> bool:
        """Whether the adapter changed anything at all."""
        return self.norm > self.threshold

    @property
    def verified(self) -> bool:
        """Whether the engine computes with these weights."""
        return self.changes_output and self.cosine > MIN_COSINE

    def explain(self) -> str:
        """One sentence with the numbers."""
        if not self.changes_output:
            return (
                f"the loaded adapter changes nothing: the log-probabilities moved by {self.norm:.2g}, "
                f"this engine's own noise needs more than {self.threshold:.2g}"
            )
        if not self.verified:
            return (
                f"the loaded adapter is another one: its effect agrees with the recorded one only to "
                f"{self.cosine:.3f} (needs {MIN_COSINE})"
            )
        return (
            f"effect agrees with the recorded one to {self.cosine:.4f}, {self.norm / self.threshold:.1f} x above noise"
        )


def compare(recorded: Sequence[float], measured: Sequence[float], *, noise: float) -> Comparison:
    """Compare two difference vectors of equal length; ValueError when lengths differ or a value is not finite."""
    if len(recorded) != len(measured):
        raise ValueError(f"{len(measured)} values measured, {len(recorded)} recorded")
    if not all(math.isfinite(x) for x in (*recorded, *measured, noise)):
        raise ValueError("a log-probability is not finite")
    dot = math.fsum(a * b for a, b in zip(recorded, measured, strict=True))
    recorded_norm, norm = l2(recorded), l2(measured)
    cosine = dot / (recorded_norm * norm) if recorded_norm > 0 and norm > 0 else 0.0
    return Comparison(cosine=cosine, norm=norm, recorded_norm=recorded_norm, noise=noise)


def l2(values: Sequence[float]) -> float:
    """Euclidean norm."""
    return math.sqrt(math.fsum(x * x for x in values))
