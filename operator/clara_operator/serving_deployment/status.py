"""The status of a ServingDeployment from what is known: counts, routes, problems, conditions. Pure; called by decide."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from clara_api import reasons
from clara_api.lifecycle import Situation, condition, top_conditions
from clara_api.meta import Condition, find_condition, merge_conditions
from clara_api.serving_deployment import Count, Problem, Route, ServingDeploymentDisplay, ServingDeploymentStatus

from clara_operator.plan import Event, Plan, StatusWrite
from clara_operator.serving_deployment.observe import EnginePod, Seen
from clara_operator.serving_deployment.rollout import FamilyPlan

MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing can be done until the spec changes."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What one pass found out."""

    routes: list[Route]
    families: list[FamilyPlan] = field(default_factory=list)
    update_pending: bool = False
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Top:
    """The row of the table of situations."""

    situation: Situation
    reason: str
    message: str


def with_status(seen: Seen, facts: Facts, now: datetime) -> Plan:
    """A plan that writes this status if it differs from what is there."""
    old = seen.status
    engines = Count(wanted=seen.spec.engine.replicas, ready=sum(p.healthy for p in seen.live))
    ready = sum(f.settled or f.moves for f in facts.families if f.verified >= f.selector.min_engines)
    adapters = Count(wanted=len(seen.spec.families), ready=ready)
    problems = _problems(seen, facts)
    top = _top(seen, facts, engines, adapters, problems)
    conditions = top_conditions("Ready", top.situation, top.reason, top.message, generation=seen.generation)
    conditions += [
        _engines_ready(seen, engines),
        _adapters_verified(seen, facts, adapters, problems),
        _up_to_date(seen, facts),
    ]
    status = ServingDeploymentStatus(
        observed_generation=seen.generation,
        conditions=merge_conditions(old.conditions, conditions, now=now),
        engines=engines,
        adapters=adapters,
        routes=facts.routes,
        problems=problems,
        display=ServingDeploymentDisplay(
            engines=f"{engines.ready}/{engines.wanted}", adapters=f"{adapters.ready}/{adapters.wanted}"
        ),
    )
    if status == old:
        return Plan()
    return Plan(status=StatusWrite(seen.resource_version, status.wire()), events=_events(seen, facts, top))


def _problems(seen: Seen, facts: Facts) -> list[Problem]:
    found = [p for pod in seen.pods for p in _pod_problems(pod)]
    for family in facts.families:
        if family.wanted is None:
            waiting = [name for name in seen.waiting_review if name.startswith(f"{family.selector.name}-")]
            hint = f"; waiting for a person: {', '.join(waiting)}" if waiting else ""
            message = f"no approved version in '{family.selector.versions}' for base {seen.spec.base_model.name}{hint}"
            found.append(Problem(subject=family.selector.name, reason=reasons.NO_APPROVED_VERSION, message=message))
    return sorted(found, key=lambda p: (p.subject, p.reason))[:MOST_PROBLEMS]


def _pod_problems(pod: EnginePod) -> list[Problem]:
    problems = []
    stuck = pod.facts.waiting or pod.facts.unschedulable
    if stuck:
        problems.append(Problem(subject=pod.name, reason=reasons.ENGINES_FAILING, message=stuck[:1024]))
    wanted = {a.engine_name for a in pod.spec.adapters if a.state != "retire"} if pod.spec else set()
    for held in pod.status.adapters if pod.status else []:
        if held.state == "Failed" and held.engine_name in wanted:
            why = ": ".join(part for part in (held.reason, held.error) if part)
            message = f"{pod.name}: {why or 'failed'}"[:1024]
            problems.append(Problem(subject=held.engine_name, reason=reasons.LOAD_FAILED, message=message))
    return problems


def _top(seen: Seen, facts: Facts, engines: Count, adapters: Count, problems: list[Problem]) -> Top:
    if facts.refusal is not None:
        return Top(Situation.FAILED, facts.refusal.reason, facts.refusal.message)
    failed = next((p for p in problems if p.reason == reasons.LOAD_FAILED), None)
    if failed is not None:
        return Top(Situation.DEGRADED, reasons.ADAPTERS_FAILING, f"{failed.subject}: {failed.message}")
    stuck = next((p for p in problems if p.reason == reasons.ENGINES_FAILING), None)
    if stuck is not None:
        return Top(Situation.DEGRADED, reasons.ENGINES_FAILING, f"{stuck.subject}: {stuck.message}")
    if engines.ready < engines.wanted:
        lost = find_condition(seen.status.conditions, "EnginesReady")
        message = f"{engines.ready} of {engines.wanted} engines are healthy"
        if lost is not None and lost.reason in (reasons.ENGINES_READY, reasons.ENGINES_FAILING) and engines.ready:
            return Top(Situation.DEGRADED, reasons.ENGINES_FAILING, message)
        return Top(Situation.IN_PROGRESS, reasons.ENGINES_STARTING, message)
    missing = next((p for p in problems if p.reason == reasons.NO_APPROVED_VERSION), None)
    if missing is not None:
        return Top(Situation.IN_PROGRESS, reasons.NO_APPROVED_VERSION, f"{missing.subject}: {missing.message}")
    if adapters.ready < adapters.wanted:
        return Top(
            Situation.IN_PROGRESS,
            reasons.ADAPTERS_LOADING,
            f"{adapters.ready} of {adapters.wanted} families are verified",
        )
    return Top(Situation.DONE, reasons.ALL_VERIFIED, f"{adapters.ready} families verified on {engines.ready} engines")


def _engines_ready(seen: Seen, engines: Count) -> Condition:
    message = f"{engines.ready} of {engines.wanted} engines are healthy"
    if engines.ready >= engines.wanted:
        return condition("EnginesReady", "True", reasons.ENGINES_READY, message, generation=seen.generation)
    before = find_condition(seen.status.conditions, "EnginesReady")
    started = before is not None and before.reason in (reasons.ENGINES_READY, reasons.ENGINES_FAILING)
    reason = reasons.ENGINES_FAILING if started else reasons.ENGINES_STARTING
    return condition("EnginesReady", "False" if started else "Unknown", reason, message, generation=seen.generation)


def _adapters_verified(seen: Seen, facts: Facts, adapters: Count, problems: list[Problem]) -> Condition:
    generation = seen.generation
    failed = [p for p in problems if p.reason == reasons.LOAD_FAILED]
    if failed:
        message = "; ".join(f"{p.subject}: {p.message}" for p in failed)[:1024]
        return condition("AdaptersVerified", "False", reasons.ADAPTERS_FAILING, message, generation=generation)
    message = f"{adapters.ready} of {adapters.wanted} families are verified"
    if facts.families and adapters.ready >= adapters.wanted:
        return condition("AdaptersVerified", "True", reasons.ALL_VERIFIED, message, generation=generation)
    return condition("AdaptersVerified", "Unknown", reasons.ADAPTERS_LOADING, message, generation=generation)


def _up_to_date(seen: Seen, facts: Facts) -> Condition:
    if facts.update_pending:
        return condition("UpToDate", "False", reasons.UPDATE_PENDING, "", generation=seen.generation)
    return condition("UpToDate", "True", reasons.UP_TO_DATE, "", generation=seen.generation)


def _events(seen: Seen, facts: Facts, top: Top) -> tuple[Event, ...]:
    events = [
        Event("Normal", "AliasMoved", f"{f.selector.name} → {f.wanted.version} (verified on {f.verified} engines)")
        for f in facts.families
        if f.moves and f.wanted is not None
    ]
    before = find_condition(seen.status.conditions, "Ready")
    if before is None or before.reason != top.reason:
        warns = top.situation in (Situation.FAILED, Situation.DEGRADED)
        events.append(Event("Warning" if warns else "Normal", top.reason, top.message))
    return tuple(events)
