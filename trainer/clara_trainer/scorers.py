"""Local scorers: how close an answer comes to the reference, 0 to 1 each. Pure; called by scoring.py.

exact      the same text, apart from case, surrounding spaces and runs of spaces
tokenF1    F1 of shared words (SQuAD; Rajpurkar et al. 2016, §6.1), lower-cased, without English article removal
citation   F1 of the sets of cited norms; a reference without norms wants none
regex      the sample's pattern is found in the answer
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from clara_api.golden_dataset import Sample, Scorer

from clara_trainer.norms import norms_in
from clara_trainer.patterns import found_in

WORD = re.compile(r"\w+")


def exact(sample: Sample, answer: str) -> float:
    """1 when equal after folding case and spaces."""
    return float(_folded(answer) == _folded(sample.reference))


def token_f1(sample: Sample, answer: str) -> float:
    """Harmonic mean of precision and recall over words, counted with repetition."""
    wanted = Counter(WORD.findall(sample.reference.lower()))
    given = Counter(WORD.findall(answer.lower()))
    return _f1((wanted & given).total(), wanted.total(), given.total())


def citation(sample: Sample, answer: str) -> float:
    """F1 of the norms cited."""
    wanted, given = norms_in(sample.reference), norms_in(answer)
    if not wanted:
        return float(not given)
    return _f1(len(wanted & given), len(wanted), len(given))


def regex(sample: Sample, answer: str) -> float:
    """1 when the pattern is found; a sample without a pattern asks for nothing."""
    return 1.0 if sample.pattern is None else float(found_in(sample.pattern, answer))


SCORERS: Mapping[str, Callable[[Sample, str], float]] = {
    "exact": exact,
    "tokenF1": token_f1,
    "citation": citation,
    "regex": regex,
}


def score_all(scorers: Sequence[Scorer], sample: Sample, answer: str) -> dict[str, float]:
    """Scorer → 0 to 100."""
    return {scorer.name: 100 * SCORERS[scorer.name](sample, answer) for scorer in scorers}


def weighted(scorers: Sequence[Scorer], scores: Mapping[str, float]) -> float | None:
    """The weighted mean; None without scorers."""
    total = sum(scorer.weight for scorer in scorers)
    return sum(scores[scorer.name] * scorer.weight for scorer in scorers) / total if total else None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _f1(shared: int, wanted: int, given: int) -> float:
    return 2 * shared / (wanted + given) if wanted + given else 1.0
