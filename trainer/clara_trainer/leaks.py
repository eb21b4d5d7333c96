"""Is a training row a sample of a golden dataset, or nearly one? Pure; called by curate.py and by the demo data's own test.

A golden sample that was trained on measures memory, not skill. A row leaks a sample when one of these holds:

    equal        a question of the row is the prompt, in any spelling of case, space and punctuation
    words        they share more than NEAR of their word 3-grams (Jaccard index: shared / all)
    characters   they share more than NEAR of their character 5-grams: finds changed endings and compounds
    within       a stretch of a longer text, as long as the prompt, shares more than NEAR of their character 5-grams
    answer       they share more than ALIKE of either, and the row's answer holds the whole reference, which is long and
                 belongs to this sample alone: an answer that many questions have gives none of them away

Every question of the user is compared, of plain text the text. Paraphrases pass: they are what a benchmark is for. So does
a text that lacks a number of the prompt: § 34 is not § 35, and other sums have other answers.

Only samples that can reach a threshold t are compared (prefix filtering, Chaudhuri et al. 2006, Bayardo et al. 2007): two
sets A, B with a Jaccard index of t share t / (1 + t) · (|A| + |B|) elements, so of any part of A only few can be missing in B.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, TypeVar

from clara_api.handoff.run import GoldenPrompts, GoldenSample

from clara_trainer.rows import Row, normalised

NEAR = 0.6
ALIKE = 0.5
SHORTEST_WITHIN = 6  # words; a shorter prompt can stand in a longer question and ask for something else
SHORTEST_REFERENCE = 8  # words; a shorter one ('§ 122 AO applies') is what many questions are answered with
LEAST_SHARED = 0.25  # of the prompt's word 3-grams, before stretches are compared
MOST_STRETCHES = 8  # places in one text that are compared with one prompt

Measure = Literal["equal", "words", "characters", "within", "answer"]
Gram = tuple[str, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Leak:
    """The sample that a row repeats, and by which measure; `value` is the share of equal n-grams, at most 1."""

    golden: str
    sample: str
    measure: Measure
    value: float

    @property
    def why(self) -> str:
        """The rest of a sentence that begins with the row's place."""
        how = "equal" if self.measure == "equal" else f"{self.measure} {self.value:.2f}"
        return f"repeats sample {self.sample} of GoldenDataset {self.golden} ({how})"


@dataclass(frozen=True, slots=True)
class _Sample:
    golden: str
    id: str
    plain: str
    words: tuple[str, ...]
    word_grams: frozenset[Gram]
    char_grams: frozenset[str]
    numbers: frozenset[str]
    reference: str

    @property
    def threshold(self) -> float:
        """Below this index no measure counts."""
        return ALIKE if self.reference else NEAR

    @property
    def sought(self) -> int:
        """How many of its rarest character grams are looked up: so many that every similar text has one of them."""
        return math.floor((1 - self.threshold) * len(self.char_grams)) + 1

    @property
    def least_met(self) -> tuple[float, float]:
        """(a, b): a text of n grams that meets fewer than a + b·n of those sought cannot reach the threshold."""
        share, size = self.threshold / (1 + self.threshold), len(self.char_grams)
        return self.sought - size + share * size, share

    def leak(self, measure: Measure, value: float) -> Leak:
        return Leak(self.golden, self.id, measure, value)


class GoldenIndex:
    """All samples of some golden datasets, prepared once; `leak` then costs about a row's length."""

    def __init__(self, golden: Sequence[GoldenPrompts]) -> None:
        often = Counter(normalised(sample.reference) for of in golden for sample in of.samples)
        self._samples = [_prepared(of.name, sample, often) for of in golden for sample in of.samples]
        self._equal = {sample.plain: sample for sample in reversed(self._samples)}
        self._by_words = _postings([sample.word_grams for sample in self._samples])
        self._by_chars = _postings(_rarest(self._samples))
        self._least_met = [sample.least_met for sample in self._samples]
        self._longest = max((len(sample.plain) for sample in self._samples), default=0) / ALIKE

    def leak(self, row: Row) -> Leak | None:
        """The sample that the row repeats most of all; None when it repeats none."""
        if not self._samples:
            return None
        texts = [row.text] if row.text else [m.content for m in row.messages if m.role == "user"]
        found = [leak for text in texts for leak in self._leaks(normalised(text), row)]
        return max(found, key=lambda leak: leak.value, default=None)

    def _leaks(self, plain: str, row: Row) -> Iterable[Leak]:
        if sample := self._equal.get(plain):
            yield sample.leak("equal", 1.0)
            return
        words = tuple(plain.split())
        if not words:
            return
        for place, (by_words, by_chars, shared) in self._alike(plain, words).items():
            sample = self._samples[place]
            value = max(by_words, by_chars)
            if not sample.numbers.issubset(words):
                continue
            if value > NEAR:
                yield sample.leak("words" if by_words >= by_chars else "characters", value)
            elif shared > LEAST_SHARED and (stretch := _within(sample, words)) > NEAR:
                yield sample.leak("within", stretch)
            elif value > ALIKE and sample.reference and f" {sample.reference} " in _answers(row):
                yield sample.leak("answer", value)

    def _alike(self, plain: str, words: tuple[str, ...]) -> dict[int, tuple[float, float, float]]:
        """By sample: Jaccard index of words, of characters, and the share of the sample's word 3-grams."""
        grams = word_grams(words)
        shared = Counter([place for gram in grams if gram in self._by_words for place in self._by_words[gram]])
        by_chars = {}
        if len(plain) <= self._longest:
            chars = char_grams(plain)
            lists = [self._by_chars[gram] for gram in chars & self._by_chars.keys()]
            for place, met in Counter(chain.from_iterable(lists)).items():
                least, more = self._least_met[place]
                if met >= least + more * len(chars):
                    by_chars[place] = jaccard(self._samples[place].char_grams, chars)
        found = {}
        for place in sorted(shared.keys() | by_chars.keys()):
            size, both = len(self._samples[place].word_grams), shared[place]
            found[place] = (both / (size + len(grams) - both), by_chars.get(place, 0.0), both / size)
        return found


def _prepared(golden: str, sample: GoldenSample, often: Mapping[str, int]) -> _Sample:
    plain, answer = normalised(sample.prompt), normalised(sample.reference)
    words = tuple(plain.split())
    telling = often[answer] == 1 and answer.count(" ") + 1 >= SHORTEST_REFERENCE
    numbers = frozenset(word for word in words if any(letter.isdigit() for letter in word))
    grams = word_grams(words), char_grams(plain)
    return _Sample(golden, sample.id, plain, words, *grams, numbers, answer if telling else "")


def word_grams(words: tuple[str, ...]) -> frozenset[Gram]:
    """Every three words that follow each other; fewer words are one gram."""
    return frozenset(zip(words, words[1:], words[2:], strict=False)) or frozenset([words])


def char_grams(plain: str) -> frozenset[str]:
    """Every five characters that follow each other; fewer are one gram."""
    return frozenset([plain[i : i + 5] for i in range(max(1, len(plain) - 4))])


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Shared elements per element of either."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def _rarest(samples: Sequence[_Sample]) -> list[frozenset[str]]:
    """Of each sample's character grams those sought, and of them those that few samples have."""
    often = Counter(gram for sample in samples for gram in sample.char_grams)
    return [
        frozenset(sorted(sample.char_grams, key=lambda gram: (often[gram], gram))[: sample.sought])
        for sample in samples
    ]


def _postings(sets: Sequence[frozenset[T]]) -> Mapping[T, list[int]]:
    found: defaultdict[T, list[int]] = defaultdict(list)
    for place, grams in enumerate(sets):
        for gram in grams:
            found[gram].append(place)
    return dict(found)


def _within(sample: _Sample, words: tuple[str, ...]) -> float:
    """How much of the prompt the most similar stretch of its length holds; 0 when the text is not longer."""
    length = len(sample.words)
    if length < SHORTEST_WITHIN or len(words) <= length:
        return 0.0
    at = {gram: place for place, gram in enumerate(zip(sample.words, sample.words[1:], sample.words[2:], strict=False))}
    starts = Counter(
        max(0, place - at[gram])
        for place, gram in enumerate(zip(words, words[1:], words[2:], strict=False))
        if gram in at
    )
    stretches = (words[start : start + length] for start, _ in starts.most_common(MOST_STRETCHES))
    return max((jaccard(sample.char_grams, char_grams(" ".join(some))) for some in stretches), default=0.0)


def _answers(row: Row) -> str:
    """All that the assistant says, with a space around every word."""
    return " ".join(["", *(normalised(m.content) for m in row.messages if m.role == "assistant"), ""])
