"""What is known about one benchmark. Pure; called by reconcile."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from clara_api import reasons
from clara_api.golden_dataset import GoldenDatasetDisplay, GoldenDatasetSpec, GoldenDatasetStatus
from clara_api.lifecycle import Situation, condition, top_conditions
from clara_api.meta import Condition, find_condition, merge_conditions

from clara_operator.golden_dataset.digest import golden_digest
from clara_operator.golden_dataset.observe import Seen
from clara_operator.plan import Event, Plan, StatusWrite
from clara_operator.settings import Settings

Check = Callable[[GoldenDatasetSpec], str | None]


def a_pattern_is_no_regular_expression(spec: GoldenDatasetSpec) -> str | None:
    """A pattern that cannot be compiled can never match."""
    for sample in spec.samples:
        constraints = sample.constraints
        patterns = [sample.pattern] if sample.pattern else []
        patterns += [*constraints.must_match, *constraints.must_not_match] if constraints else []
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                return f"sample {sample.id}: '{pattern}' is no regular expression ({error})"
    return None


def the_regex_scorer_has_no_pattern(spec: GoldenDatasetSpec) -> str | None:
    """The scorer 'regex' needs a pattern in every sample."""
    if all(s.name != "regex" for s in spec.scorers):
        return None
    missing = next((s.id for s in spec.samples if not s.pattern), None)
    return f"scorer 'regex' is used but sample {missing} has no 'pattern'" if missing else None


def sample_ids_repeat(spec: GoldenDatasetSpec) -> str | None:
    """The API server refuses it too; a set that came around it is not scored twice."""
    ids = [s.id for s in spec.samples]
    twice = next((i for i in ids if ids.count(i) > 1), None)
    return f"sample id {twice} is there twice" if twice else None


CHECKS: tuple[Check, ...] = (sample_ids_repeat, a_pattern_is_no_regular_expression, the_regex_scorer_has_no_pattern)


def decide(seen: Seen, settings: Settings, now: datetime) -> Plan:
    """Valid or not, how many samples and groups, and whether the judge answers."""
    spec, generation = seen.spec, seen.generation
    problem = next((p for check in CHECKS if (p := check(spec))), None)
    groups = len({s.group or s.id for s in spec.samples})
    message = f"{len(spec.samples)} samples in {groups} groups; mode raw: the plain mean decides"
    if problem:
        cure = f"{problem}; make a new GoldenDataset, this one is immutable"
        conditions = top_conditions("Ready", Situation.FAILED, reasons.SAMPLES_INVALID, cure, generation=generation)
        conditions.append(condition("Valid", "False", reasons.SAMPLES_INVALID, cure, generation=generation))
    else:
        conditions = top_conditions("Ready", Situation.DONE, reasons.VALID, message, generation=generation)
        conditions.append(condition("Valid", "True", reasons.VALID, message, generation=generation))
    conditions.append(_judge(seen))
    status = GoldenDatasetStatus(
        observed_generation=generation,
        conditions=merge_conditions(seen.status.conditions, conditions, now=now),
        digest=golden_digest(spec),
        samples=len(spec.samples),
        groups=groups,
        display=GoldenDatasetDisplay(
            approves_from=f"{spec.thresholds.approve:.1f}", judge=spec.judge.model if spec.judge else "local scorers"
        ),
    )
    if status == seen.status:
        return Plan()
    before = find_condition(seen.status.conditions, "Valid")
    events: tuple[Event, ...] = ()
    if problem and (before is None or before.status != "False"):
        events = (Event("Warning", reasons.SAMPLES_INVALID, problem),)
    return Plan(status=StatusWrite(seen.resource_version, status.wire()), events=events)


def _judge(seen: Seen) -> Condition:
    generation = seen.generation
    if seen.spec.judge is None:
        return condition("JudgeReachable", "Unknown", reasons.NO_JUDGE, "", generation=generation)
    if seen.judge_answered is None:
        return condition("JudgeReachable", "Unknown", reasons.JUDGE_NOT_ASKED, "", generation=generation)
    if seen.judge_answered:
        return condition("JudgeReachable", "True", reasons.JUDGE_REACHABLE, "", generation=generation)
    return condition("JudgeReachable", "False", reasons.JUDGE_UNREACHABLE, seen.judge_message, generation=generation)
