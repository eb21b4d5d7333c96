"""What was found in the data, for people: the summary in status and the whole of data_report.json. Pure; called by curate.py.

Nothing in it depends on the time or on how batches are cut. Counts of rows are of distinct lines; what is learned counts
after weights, as often as an epoch sees it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from clara_api.handoff.run import TrainRun
from clara_api.training_job import DataReport

from clara_trainer.data import ReadFile
from clara_trainer.recorded_data import digest_of
from clara_trainer.rows import Row
from clara_trainer.tokens import IGNORED, Example

LISTED_ROWS = 1000  # per reason; the count is of all
SHOWN_ROWS = 3
SHOWN_CHARACTERS = 4000  # of each part of a row that is shown
BARS = 24
PERCENTILES = (5, 25, 50, 75, 95, 99)

Reason = Literal["empty", "duplicate", "leak", "long", "cutOff", "refused"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A row that should not be learned from; `why` is the rest of a sentence that begins with its place."""

    reason: Reason
    file: str
    line: int
    why: str

    @property
    def sentence(self) -> str:
        """For messages to people."""
        return f"line {self.line} of {self.file} {self.why}"


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that curating learned."""

    files: Sequence[ReadFile]  # as they were read
    findings: Sequence[Finding]
    training: Sequence[Row]  # after weights
    validation: Sequence[Row]
    examples: Mapping[Row, Example]  # also those that are left out because they are long


def describe(seen: Observed, run: TrainRun, tokenizer: Any) -> tuple[DataReport, dict[str, Any]]:
    """The summary and the details; the rows that were cut or dropped are told by run.data_policy."""
    learned = [seen.examples[row] for row in seen.training]
    lengths = sorted(len(example.ids) for example in learned)
    counts = Counter(finding.reason for finding in seen.findings)
    truncating = run.data_policy.long_rows == "truncate"
    report = DataReport(
        rows=sum(file.digest.rows for file in seen.files),
        training_rows=len(seen.training),
        validation_rows=len(seen.validation),
        tokens=sum(lengths),
        supervised_tokens=sum(example.supervised for example in learned),
        truncated_rows=counts["long"] if truncating else 0,
        dropped_empty=counts["empty"],
        dropped_duplicates=counts["duplicate"],
        dropped_long=0 if truncating else counts["long"],
        dropped_leaks=counts["leak"],
        golden_unchecked=run.golden_left_out[:32],
        median_tokens=percentile(lengths, 50),
        longest_tokens=lengths[-1],
        digest=digest_of(seen.files),
    )
    written = sorted(len(example.ids) + example.cut for example in seen.examples.values())
    dropped = [f for f in seen.findings if not (truncating and f.reason == "long")]
    details = {
        "sources": _sources(seen, dropped),
        "dropped": _listed(dropped),
        "truncated": _listed(f for f in seen.findings if truncating and f.reason == "long").get("long"),
        "tokenLengths": {"asWritten": _percentiles(written), "learned": _percentiles(lengths)},
        "maxLength": run.hyperparameters.max_length,
        "histogram": histogram(written),
        "supervisedShare": round(report.supervised_tokens / report.tokens, 4),
        "groups": {"training": _groups(seen.training), "validation": _groups(seen.validation)},
        "golden": [{"name": golden.name, "samples": len(golden.samples)} for golden in run.golden],
        "policy": run.data_policy.wire(),
        "examples": _shown(seen, run.hyperparameters.seed, tokenizer),
        "notes": _notes(seen, run),
    }
    return report, details


def percentile(ordered: Sequence[int], percent: float) -> int:
    """The smallest value that at least `percent` of the values do not exceed (nearest rank); 0 of none.

    >>> percentile([1, 2, 3, 4], 50), percentile([1, 2, 3, 4], 99), percentile([], 50)
    (2, 4, 0)
    """
    if not ordered:
        return 0
    return ordered[max(0, -int(-percent * len(ordered) // 100) - 1)]


def _percentiles(ordered: Sequence[int]) -> dict[str, int]:
    found = {f"p{percent}": percentile(ordered, percent) for percent in PERCENTILES}
    return found | {"max": ordered[-1] if ordered else 0}


def histogram(ordered: Sequence[int]) -> list[dict[str, int]]:
    """Rows by length in at most BARS bars of equal width: from (included) to (excluded) in tokens."""
    width = next(w for w in _round_widths() if ordered[-1] // w < BARS)
    rows = Counter(length // width for length in ordered)
    return [
        {"from": bar * width, "to": (bar + 1) * width, "rows": rows[bar]} for bar in range(ordered[-1] // width + 1)
    ]


def _round_widths() -> Iterable[int]:
    """4, 8, 16, …: bounds that people who think in context lengths know."""
    width = 4
    while True:
        yield width
        width *= 2


def _sources(seen: Observed, dropped: Iterable[Finding]) -> list[dict[str, Any]]:
    by_file: dict[str, Counter[str]] = {}
    for finding in dropped:
        by_file.setdefault(finding.file, Counter())[finding.reason] += 1
    examples = Counter(row.file for row in seen.training)
    learned = Counter(row.file for row in dict.fromkeys(seen.training))
    held_out = Counter(row.file for row in seen.validation)
    found = []
    for file in seen.files:
        name, lost = file.digest.name, by_file.get(file.digest.name, Counter())
        kept = learned[name] + held_out[name]
        found.append(
            {
                "name": name,
                "sha256": file.digest.sha256,
                "weight": file.source.weight,
                "rows": file.digest.rows,
                "kept": kept,
                "training": learned[name],
                "validation": held_out[name],
                "examples": examples[name],
                "dropped": dict(sorted(lost.items())),
                "notChosen": file.digest.rows - kept - lost.total(),  # by a weight below 1
            }
        )
    return found


def _listed(findings: Iterable[Finding]) -> dict[str, Any]:
    by_reason: dict[str, list[Finding]] = {}
    for finding in findings:
        by_reason.setdefault(finding.reason, []).append(finding)
    return {
        reason: {
            "count": len(found),
            "rows": [{"file": f.file, "line": f.line, "why": f.why} for f in found[:LISTED_ROWS]],
        }
        for reason, found in sorted(by_reason.items())
    }


def _groups(rows: Iterable[Row]) -> int:
    return len({row.group_key for row in rows})


def _shown(seen: Observed, seed: int, tokenizer: Any) -> list[dict[str, Any]]:
    """Rows as the model sees them, chosen by hash among those that are learned; every file shows one before any shows two."""
    order = sorted(
        dict.fromkeys(seen.training), key=lambda row: hashlib.sha256(f"{seed}\n{row.digest}".encode()).digest()
    )
    turns: Counter[str] = Counter()
    ranked = []
    for row in order:
        ranked.append((turns[row.file], row))
        turns[row.file] += 1
    chosen = [row for _, row in sorted(ranked, key=lambda pair: pair[0])[:SHOWN_ROWS]]
    return [
        {
            "file": row.file,
            "line": row.line,
            "tokens": len(seen.examples[row].ids),
            "cut": seen.examples[row].cut,
            "parts": _parts(seen.examples[row], tokenizer),
        }
        for row in chosen
    ]


def _parts(example: Example, tokenizer: Any) -> list[dict[str, Any]]:
    pairs = zip(example.ids, example.labels, strict=True)
    parts = []
    for learned, run in groupby(pairs, key=lambda pair: pair[1] != IGNORED):
        text = tokenizer.decode([token for token, _ in run])
        parts.append({"text": text[:SHOWN_CHARACTERS] + "…" * (len(text) > SHOWN_CHARACTERS), "learned": learned})
    return parts


def _notes(seen: Observed, run: TrainRun) -> list[str]:
    """What a person should know and no rule forbids."""
    notes = [
        f"the rows were not compared with GoldenDataset {name}: it did not fit into the run, or could not be read"
        for name in run.golden_left_out
    ]
    wanted = round(run.validation_fraction * (len(set(seen.training)) + len(seen.validation)))
    if wanted and len(seen.validation) < wanted / 2:
        groups = _groups([*seen.training, *seen.validation])
        notes.append(
            f"{len(seen.validation)} rows are held out instead of {wanted}: the rows form {groups} groups, and a group is "
            "held out as a whole or not at all; make groups smaller, or leave 'group' out"
        )
    return notes
