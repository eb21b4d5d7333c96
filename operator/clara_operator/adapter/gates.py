"""The gate: report → Approved / NeedsReview / Rejected, a chain of named facts. Pure.

mode raw: the plain mean decides, and the message says so. 85 / 70 stay the user's words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from clara_api import reasons
from clara_api.golden_dataset import Thresholds
from clara_api.handoff.eval_report import ReportSummary


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the gate knows."""

    report: ReportSummary | None
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class Ruling:
    """A decision and the fact it rests on."""

    outcome: Literal["Approved", "NeedsReview", "Rejected"]
    reason: str
    message: str


Gate = Callable[[Candidate], Ruling | None]
RAW = "mode raw: the plain mean decides, without its uncertainty"


def nothing_was_measured(c: Candidate) -> Ruling | None:
    """No golden dataset is named."""
    if c.report is not None:
        return None
    return Ruling(
        "NeedsReview", reasons.NOT_EVALUATED, "no GoldenDataset is named in spec.evaluation, so a person must decide"
    )


def some_answers_were_not_scored(c: Candidate) -> Ruling | None:
    """A mean over what happened to be scored is no score."""
    report = c.report
    if report is None or (report.unscored == 0 and report.score is not None):
        return None
    return Ruling(
        "NeedsReview",
        reasons.UNSCORED_ANSWERS,
        f"{report.unscored} of {report.samples} answers could not be scored; see the report, then decide",
    )


def the_score_is_below_review(c: Candidate) -> Ruling | None:
    """Rejected, whatever the constraints say."""
    if c.report is None or c.report.score is None or c.report.score >= c.thresholds.review:
        return None
    return Ruling(
        "Rejected",
        reasons.SCORE_BELOW_REVIEW,
        f"score {c.report.score:.1f} is below thresholds.review {c.thresholds.review:g} ({RAW})",
    )


def a_hard_constraint_is_broken(c: Candidate) -> Ruling | None:
    """One wrong norm outweighs a good mean."""
    if c.report is None or c.report.failed_constraint_count == 0:
        return None
    shown = "; ".join(f"sample {f.sample}: {f.kind} '{f.expected}'" for f in c.report.failed_constraints[:3])
    return Ruling(
        "NeedsReview",
        reasons.HARD_CONSTRAINT_FAILED,
        f"score {c.report.score:.1f}, but {c.report.failed_constraint_count} hard constraints were broken ({shown})",
    )


def the_score_is_below_approve(c: Candidate) -> Ruling | None:
    """Between the thresholds a person decides."""
    if c.report is None or c.report.score is None or c.report.score >= c.thresholds.approve:
        return None
    return Ruling(
        "NeedsReview",
        reasons.SCORE_BETWEEN,
        f"score {c.report.score:.1f} lies between review {c.thresholds.review:g} and approve {c.thresholds.approve:g} ({RAW})",
    )


GATES: tuple[Gate, ...] = (
    nothing_was_measured,
    some_answers_were_not_scored,
    the_score_is_below_review,
    a_hard_constraint_is_broken,
    the_score_is_below_approve,
)  # nothing found: Approved


def rule(candidate: Candidate) -> Ruling:
    """The first fact that speaks against approval, or Approved."""
    found = next((ruling for gate in GATES if (ruling := gate(candidate))), None)
    if found is not None:
        return found
    assert candidate.report is not None
    assert candidate.report.score is not None
    return Ruling(
        "Approved",
        reasons.SCORE_ABOVE_APPROVE,
        f"score {candidate.report.score:.1f} reached thresholds.approve {candidate.thresholds.approve:g} ({RAW})",
    )
