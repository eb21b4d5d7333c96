"""The digest of a benchmark: all that decides a score, and nothing else. Pure.

judge.endpoint and judge.secretRef may change without a new benchmark: the judge's identity is its model and prompt.
"""

from __future__ import annotations

from clara_api.digests import json_digest
from clara_api.golden_dataset import GoldenDatasetSpec


def golden_digest(spec: GoldenDatasetSpec) -> str:
    """sha256 over the canonical JSON of family, language, samples, scorers, judge model, mode and answer length."""
    wire = spec.wire()
    judge = {"model": spec.judge.model} if spec.judge else None
    kept = {k: wire.get(k) for k in ("family", "language", "samples", "scorers", "mode", "maxNewTokens")}
    return json_digest({**kept, "judge": judge, "samplePass": spec.thresholds.sample_pass})
