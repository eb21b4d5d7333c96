"""The status of an Adapter from what is known: conditions by the table of situations, strings for people. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from clara_api import reasons
from clara_api.adapter import AdapterDisplay, AdapterStatus, Decision, EngineCounts, Evaluation
from clara_api.lifecycle import Situation, condition, top_conditions
from clara_api.meta import Condition, find_condition, merge_conditions

from clara_operator.adapter.observe import Seen, Serving
from clara_operator.failures import Failure
from clara_operator.plan import Event, Plan, StatusWrite


@dataclass(frozen=True, slots=True)
class Facts:
    """What one pass found out."""

    refusal: Failure | None = None  # will not pass by itself
    waiting: Failure | None = None  # may pass
    running: str | None = None  # an evaluation is under way
    known: Evaluation | None = None
    weights_digest: str | None = None
    rank: int | None = None
    decision: Decision | None = None
    recorded: str | None = None


@dataclass(frozen=True, slots=True)
class Top:
    """The row of the table."""

    situation: Situation
    reason: str
    message: str


def with_status(seen: Seen, facts: Facts, now: datetime) -> Plan:
    """A plan that writes this status if it differs from what is there."""
    old, serving = seen.status, seen.serving
    top = _top(seen, facts)
    conditions = top_conditions("Ready", top.situation, top.reason, top.message, generation=seen.generation)
    conditions += [_verified(seen, facts), _evaluated(seen, facts), _approved(seen, facts), _serving(seen, facts)]
    if top.situation is Situation.SUPERSEDED:
        conditions.append(condition("Superseded", "True", reasons.SUPERSEDED, top.message, generation=seen.generation))
    status = AdapterStatus(
        observed_generation=seen.generation,
        conditions=merge_conditions(old.conditions, conditions, now=now),
        weights_digest=facts.weights_digest,
        engine_name=seen.engine_name,
        rank=facts.rank,
        evaluation=facts.known,
        decision=facts.decision,
        recorded_approval=facts.recorded,
        engines=EngineCounts(wanted=serving.wanted, verified=serving.verified, failed=len(serving.errors)),
        display=AdapterDisplay(
            score=_score(facts.known),
            decision=facts.decision.outcome if facts.decision else "",
            engines=f"{serving.verified}/{serving.wanted}",
        ),
    )
    if status == old:
        return Plan()
    return Plan(status=StatusWrite(seen.resource_version, status.wire()), events=_events(seen, top))


def _top(seen: Seen, facts: Facts) -> Top:
    if facts.refusal is not None:
        return Top(Situation.FAILED, facts.refusal.reason, facts.refusal.message)
    decision = facts.decision
    if decision is None:
        if facts.waiting is not None:
            return Top(Situation.IN_PROGRESS, facts.waiting.reason, facts.waiting.message)
        return Top(Situation.IN_PROGRESS, reasons.EVALUATING, facts.running or "")
    if decision.outcome == "Rejected":
        return Top(Situation.FAILED, reasons.REJECTED, decision.message)
    if decision.outcome == "NeedsReview":
        cure = f"; 'kubectl clara review {seen.key.name}' shows the answers, 'kubectl clara approve {seen.key.name}' decides"
        return Top(Situation.WAITS_PERSON, reasons.NEEDS_REVIEW, decision.message + cure)
    return _serving_top(seen, seen.serving)


def _serving_top(seen: Seen, serving: Serving) -> Top:
    if serving.successor is not None:
        return Top(
            Situation.SUPERSEDED, reasons.SUPERSEDED, f"{seen.spec.family}-{serving.successor} is served instead"
        )
    if not serving.asked_by:
        cure = "name the family in spec.families of a ServingDeployment of this base"
        return Top(
            Situation.WAITS_PERSON,
            reasons.NOT_SERVED,
            f"approved, but no ServingDeployment asks for this version; {cure}",
        )
    if serving.errors:
        return Top(Situation.DEGRADED, reasons.LOAD_FAILED, "; ".join(serving.errors)[:1024])
    if serving.verified >= serving.min_engines and serving.verified == serving.wanted:
        return Top(Situation.DONE, reasons.SERVED, f"verified on {serving.verified} of {serving.wanted} engines")
    return Top(Situation.IN_PROGRESS, reasons.LOADING, f"verified on {serving.verified} of {serving.wanted} engines")


def _verified(seen: Seen, facts: Facts) -> Condition:
    generation = seen.generation
    bad = (reasons.ARTIFACT_INVALID, reasons.BASE_MISMATCH, reasons.NOT_SERVABLE)
    if facts.refusal is not None and facts.refusal.reason in bad:
        return condition("Verified", "False", facts.refusal.reason, facts.refusal.message, generation=generation)
    if facts.weights_digest is not None:
        return condition("Verified", "True", reasons.ARTIFACT_VERIFIED, "", generation=generation)
    return condition("Verified", "Unknown", reasons.PENDING, facts.running or "", generation=generation)


def _evaluated(seen: Seen, facts: Facts) -> Condition:
    generation, known = seen.generation, facts.known
    if facts.waiting is not None:
        return condition("Evaluated", "Unknown", facts.waiting.reason, facts.waiting.message, generation=generation)
    if facts.running is not None:
        return condition("Evaluated", "Unknown", reasons.EVALUATING, facts.running, generation=generation)
    if facts.refusal is not None:
        return condition("Evaluated", "False", facts.refusal.reason, facts.refusal.message, generation=generation)
    if known is None:
        return condition("Evaluated", "False", reasons.NOT_EVALUATED, "", generation=generation)
    how = "found in the store, not repeated" if known.adopted else "measured"
    message = (
        f"score {known.score:.1f} on {known.samples} samples of {known.golden_dataset} ({how})"
        if known.score is not None
        else how
    )
    return condition("Evaluated", "True", reasons.EVALUATED, message, generation=generation)


def _approved(seen: Seen, facts: Facts) -> Condition:
    decision = facts.decision
    if decision is None:
        return condition("Approved", "Unknown", reasons.PENDING, "", generation=seen.generation)
    status = {"Approved": "True", "NeedsReview": "Unknown", "Rejected": "False"}[decision.outcome]
    return condition("Approved", status, decision.reason, decision.message, generation=seen.generation)


def _serving(seen: Seen, facts: Facts) -> Condition:
    serving, generation = seen.serving, seen.generation
    message = f"verified on {serving.verified} of {serving.wanted} engines"
    if serving.errors:
        return condition(
            "Serving", "False", reasons.LOAD_FAILED, "; ".join(serving.errors)[:1024], generation=generation
        )
    if not serving.asked_by:
        return condition("Serving", "False", reasons.NOT_SERVED, "", generation=generation)
    if serving.verified >= serving.min_engines:
        return condition("Serving", "True", reasons.SERVED, message, generation=generation)
    return condition("Serving", "Unknown", reasons.LOADING, message, generation=generation)


def _score(known: Evaluation | None) -> str:
    """'91.2 [83.0, 99.4]'."""
    if known is None or known.score is None:
        return ""
    if known.low is None or known.high is None:
        return f"{known.score:.1f}"
    return f"{known.score:.1f} [{known.low:.1f}, {known.high:.1f}]"


def _events(seen: Seen, top: Top) -> tuple[Event, ...]:
    before = find_condition(seen.status.conditions, "Ready")
    if before is not None and before.reason == top.reason:
        return ()
    warns = top.situation in (Situation.FAILED, Situation.DEGRADED)
    return (Event("Warning" if warns else "Normal", top.reason, top.message),)
