"""From read files to examples: which rows are learned from, which are held out, which are left out, and why.

    empty → repeated → golden samples → held out by group → repeated by weight → tokenized → too long

Called by train.py before the model is loaded. Every finding has a place and a reason; the data policy says whether it drops
the row or ends the run. All stages run before the verdict, so that a person learns of everything at once.
Deterministic: the result depends on the files' contents, the run and the tokenizer alone.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from typing import Any

from clara_api.handoff.run import TrainRun
from clara_api.training_job import DataPolicy, DataReport

from clara_trainer.data import CURE, MOST_PROBLEMS, DataProblems, ReadFile, Split, split
from clara_trainer.data_report import Finding, Observed, Reason, describe
from clara_trainer.leaks import GoldenIndex
from clara_trainer.rows import Row
from clara_trainer.tokens import Example, encode, nothing_left

FIELDS: Mapping[Reason, str] = {
    "empty": "emptyRows",
    "duplicate": "duplicateRows",
    "leak": "goldenLeaks",
    "long": "longRows",
    "cutOff": "longRows",
}
WORDS: Mapping[Reason, str] = {
    "empty": "empty",
    "duplicate": "equal to an earlier one",
    "leak": "golden samples",
    "long": "longer than maxLength",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Curated:
    """What is learned and what is held out, in the order of the files; `details` is what data_report.json holds."""

    training: tuple[Example, ...]
    validation: tuple[Example, ...]
    report: DataReport
    details: dict[str, Any]


def curate(files: Sequence[ReadFile], run: TrainRun, tokenizer: Any) -> Curated:
    """Sift, split and tokenize. DataProblems (DataInvalid) when the policy forbids what was found, or nothing is left."""
    policy, parameters = run.data_policy, run.hyperparameters
    kept, findings = sift(files, run)
    if len(fatal := _fatal(findings, policy)) > MOST_PROBLEMS:
        raise _problems(fatal)  # enough is known; tokenizing takes minutes
    halves = split(kept, fraction=run.validation_fraction, seed=parameters.seed)
    known, more = tokenized(halves, tokenizer, policy=policy, max_length=parameters.max_length)
    findings += more
    if fatal := _fatal(findings, policy):
        raise _problems(fatal)

    dropped = {row for row, example in known.items() if example.cut and policy.long_rows == "drop"}
    observed = Observed(
        files=files,
        findings=findings,
        training=[row for row in halves.training if row not in dropped],
        validation=[row for row in halves.validation if row not in dropped],
        examples=known,
    )
    if not observed.training:
        raise DataProblems([_nothing_to_learn(observed)], CURE)
    report, details = describe(observed, run, tokenizer)
    for note in details["notes"]:
        log.warning("%s", note)
    return Curated(
        training=tuple(known[row] for row in observed.training),
        validation=tuple(known[row] for row in observed.validation),
        report=report,
        details=details,
    )


def sift(files: Sequence[ReadFile], run: TrainRun) -> tuple[list[ReadFile], list[Finding]]:
    """The files without rows that are empty, repeated or golden samples, and what was taken out."""
    findings = [Finding("empty", file.source.name, line.line, line.why) for file in files for line in file.empty]
    kept = list(files)
    if run.data_policy.duplicate_rows != "keep":
        kept, found = _without(kept, "duplicate", _seen_before())
        findings += found
    golden = GoldenIndex(run.golden)
    kept, found = _without(kept, "leak", lambda row: leak.why if (leak := golden.leak(row)) else None)
    return kept, findings + found


def _without(
    files: Sequence[ReadFile], reason: Reason, why: Callable[[Row], str | None]
) -> tuple[list[ReadFile], list[Finding]]:
    kept, findings = [], []
    for file in files:
        rows = []
        for row in file.rows:
            if said := why(row):
                findings.append(Finding(reason, row.file, row.line, said))
            else:
                rows.append(row)
        kept.append(replace(file, rows=tuple(rows)))
    return kept, findings


def _seen_before() -> Callable[[Row], str | None]:
    """Says of which earlier row a row is a copy. The first stays, so no copy can be held out while it is learned."""
    first: dict[str, Row] = {}

    def why(row: Row) -> str | None:
        earlier = first.setdefault(row.digest, row)
        return None if earlier is row else f"is equal to {earlier.where}"

    return why


def tokenized(
    halves: Split, tokenizer: Any, *, policy: DataPolicy, max_length: int
) -> tuple[dict[Row, Example], list[Finding]]:
    """Every distinct row as the model sees it; rows that are too long or that leave nothing to learn are findings."""
    known: dict[Row, Example] = {}
    findings: list[Finding] = []
    unusable = 0
    for row in dict.fromkeys(chain(halves.training, halves.validation)):
        try:
            known[row] = example = encode(row, tokenizer, max_length=max_length)
            finding = _about(row, example, policy, max_length)
        except ValueError as error:
            finding = Finding("refused", row.file, row.line, str(error))
        if finding:
            findings.append(finding)
            unusable += finding.reason in ("cutOff", "refused")
        if unusable > MOST_PROBLEMS:
            break
    return known, findings


def _about(row: Row, example: Example, policy: DataPolicy, max_length: int) -> Finding | None:
    """A row without an answer is no example: training on it would be computing for nothing, dropping it a silent loss."""
    if not example.supervised and (not example.cut or policy.long_rows == "truncate"):
        return Finding("cutOff" if example.cut else "refused", row.file, row.line, nothing_left(example))
    if example.cut:
        why = f"has {len(example.ids) + example.cut} tokens, more than maxLength ({max_length})"
        return Finding("long", row.file, row.line, why)
    return None


def _fatal(findings: Sequence[Finding], policy: DataPolicy) -> list[Finding]:
    """What the policy does not drop."""
    verdicts = {
        "empty": policy.empty_rows,
        "duplicate": policy.duplicate_rows,
        "leak": policy.golden_leaks,
        "long": policy.long_rows,
    }
    return [finding for finding in findings if verdicts.get(finding.reason, "fail") == "fail"]


def _problems(fatal: Sequence[Finding]) -> DataProblems:
    """Some places of every kind: ten duplicates must not hide the one golden sample."""
    kinds = dict.fromkeys(finding.reason for finding in fatal)
    by_kind = ([f.sentence for f in fatal if f.reason == kind][:MOST_PROBLEMS] for kind in kinds)
    sentences = [sentence for turn in zip_longest(*by_kind) for sentence in turn if sentence]
    fields = dict.fromkeys(f"{FIELDS[kind]}: drop" for kind in kinds if kind in FIELDS)
    longer = ", raise hyperparameters.maxLength" if kinds.keys() & {"long", "cutOff"} else ""
    cure = (
        f"repair the file{longer}, or set spec.dataPolicy.{', '.join(fields)}; then raise spec.rerun"
        if fields
        else CURE
    )
    return DataProblems(sentences, cure, total=len(fatal))


def _nothing_to_learn(observed: Observed) -> str:
    counts = Counter(finding.reason for finding in observed.findings)
    parts = [f"{counts[reason]} {words}" for reason, words in WORDS.items() if counts[reason]]
    parts += [f"{len(observed.validation)} held out"] if observed.validation else []
    rows = sum(file.digest.rows for file in observed.files)
    return f"no row is left to learn from; of {rows} rows: {', '.join(parts) or 'none chosen by the weights'}"
