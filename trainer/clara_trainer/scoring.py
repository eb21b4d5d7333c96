"""Answers → sample results → summary. Pure: the judge's grades are handed in. Called by evaluate.py.

Without a judge a sample's score is 100 x the weighted mean of the local scorers; with one it is the judge's, and the local
scores stand beside it in the report.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from clara_api.golden_dataset import Sample, Scorer
from clara_api.handoff.eval_report import ConstraintFailure, JudgeRecord, ReportSummary, SampleResult

from clara_trainer.confidence import interval
from clara_trainer.constraints import broken_by
from clara_trainer.patterns import PatternError
from clara_trainer.scorers import score_all, weighted

FAILURES_TOLD = 5  # of the summary, which must fit into 3 KiB; the report holds all
FAILURE_CHARS = 100


@dataclass(frozen=True, slots=True)
class Grade:
    """What the judge gave one answer. `score` is None when no grade could be read; `error` says why."""

    score: float | None
    criteria: Mapping[str, float] = field(default_factory=dict)  # 0 to 100 each
    error: str | None = None


def result_of(sample: Sample, answer: str, scorers: Sequence[Scorer], grade: Grade | None) -> SampleResult:
    """One sample's result; unscored with an error when a pattern of its own cannot be used."""
    score: float | None = None
    scores: dict[str, float] = {}
    broken: list[ConstraintFailure] = []
    error = grade.error if grade else None
    try:
        broken = broken_by(sample, answer)
        scores = score_all(scorers, sample, answer)
        score = grade.score if grade else weighted(scorers, scores)
    except PatternError as problem:
        error = str(problem)
    return SampleResult(
        id=sample.id,
        group=sample.group or sample.id,
        prompt=sample.prompt,
        answer=answer,
        reference=sample.reference,
        difficulty=sample.difficulty,
        score=score,
        scores=scores | dict(grade.criteria if grade else {}),
        failed_constraints=broken,
        error=error,
    )


def summarize(
    results: Sequence[SampleResult],
    *,
    sample_pass: float,
    golden_digest: str,
    report_uri: str,
    judge: JudgeRecord | None,
) -> ReportSummary:
    """What the gate needs. The score is the mean over samples, its interval that of the mean over groups."""
    groups: dict[str, list[float]] = {}
    for result in results:
        if result.score is not None:
            groups.setdefault(result.group, []).append(result.score)
    scores = [score for group in groups.values() for score in group]
    bounds = interval(list(groups.values()))
    broken = [failure for result in results for failure in result.failed_constraints]
    return ReportSummary(
        score=math.fsum(scores) / len(scores) if scores else None,
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        pass_rate=sum(score >= sample_pass for score in scores) / len(scores) if scores else None,
        samples=len(results),
        groups=len({result.group for result in results}),
        unscored=len(results) - len(scores),
        failed_constraints=[_short(failure) for failure in broken[:FAILURES_TOLD]],
        failed_constraint_count=len(broken),
        golden_digest=golden_digest,
        report_uri=report_uri,
        judge_model=judge.model if judge else None,
        judge_prompt_digest=judge.prompt_digest if judge else None,
    )


def _short(failure: ConstraintFailure) -> ConstraintFailure:
    return failure.model_copy(update={"expected": failure.expected[:FAILURE_CHARS]})
