"""Hard constraints: what an answer must or must not hold, whatever its score. Pure; called by scoring.py."""

from __future__ import annotations

from clara_api.golden_dataset import Sample
from clara_api.handoff.eval_report import ConstraintFailure

from clara_trainer.norms import norms_in
from clara_trainer.patterns import found_in


def broken_by(sample: Sample, answer: str) -> list[ConstraintFailure]:
    """The constraints this answer breaks; PatternError when a pattern cannot be used."""
    wanted = sample.constraints
    if wanted is None:
        return []
    broken = [
        ConstraintFailure(sample=sample.id, kind="mustCite", expected=norm)
        for norm in wanted.must_cite
        if not is_cited(norm, answer)
    ]
    broken += [
        ConstraintFailure(sample=sample.id, kind="mustMatch", expected=pattern)
        for pattern in wanted.must_match
        if not found_in(pattern, answer)
    ]
    broken += [
        ConstraintFailure(sample=sample.id, kind="mustNotMatch", expected=pattern)
        for pattern in wanted.must_not_match
        if found_in(pattern, answer)
    ]
    return broken


def is_cited(norm: str, answer: str) -> bool:
    """Whether all norms named are among those the answer cites; what cannot be read as a norm is looked for as text."""
    wanted = norms_in(norm)
    return wanted <= norms_in(answer) if wanted else norm in answer
