"""What to do for one Adapter. Pure; called by reconcile with a frozen snapshot.

    artifact ──verify──▶ Verified ──golden prompts──▶ Evaluated ──gates──▶ decision (latched) ──▶ Serving ──▶ Superseded
                                                                 ▲ a person, by spec.approval

A decision is latched with the digests it rests on. It changes by approval, by its withdrawal, or by a new evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from clara_api import labels, reasons
from clara_api.adapter import Decision, Evaluation, JudgeIdentity
from clara_api.golden_dataset import Thresholds
from clara_api.handoff.eval_report import ReportSummary
from clara_api.handoff.outcome import Outcome

from clara_operator.adapter import build, gates
from clara_operator.adapter.observe import Seen
from clara_operator.adapter.status import Facts, with_status
from clara_operator.failures import Failure, failure_of
from clara_operator.plan import Create, Plan, Ref
from clara_operator.pod_facts import JobFacts
from clara_operator.settings import Settings
from clara_operator.uri_policy import uri_refusal

FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(minutes=5)
MAY_PASS = frozenset(
    {
        reasons.JUDGE_UNREACHABLE,
        reasons.STORE_UNREACHABLE,
        reasons.POD_LOST,
        reasons.PREEMPTED,
        reasons.BASE_MODEL_UNAVAILABLE,
    }
)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What is known of the evaluation the spec asks for."""

    evaluation: Evaluation | None
    weights_digest: str | None
    rank: int | None
    summary: ReportSummary | None = None
    recorded: dict[str, str] | None = None


def decide(seen: Seen, settings: Settings, now: datetime) -> Plan:
    """One pass."""
    refused = _refusal(seen, settings)
    if refused is not None:
        return with_status(seen, Facts(refusal=refused), now)
    known = _known(seen)
    plan = Plan()
    facts = Facts()
    if known is None:
        plan, facts = _evaluate(seen, settings, now)
        known = _keep(seen)  # the old verdict holds until the new evaluation is there
        if known is None:
            return _merge(plan, with_status(seen, facts, now))
    decision = _decision(seen, known, now)
    facts = replace(
        facts, known=known.evaluation, weights_digest=known.weights_digest, rank=known.rank, decision=decision
    )
    record, facts = _record(seen, facts, settings)
    return _merge(plan, record, with_status(seen, facts, now))


def _merge(*plans: Plan) -> Plan:
    again = [p.again_after for p in plans if p.again_after]
    return Plan(
        create=tuple(c for p in plans for c in p.create),
        delete=tuple(d for p in plans for d in p.delete),
        status=next((p.status for p in plans if p.status), None),
        events=tuple(e for p in plans for e in p.events),
        again_after=min(again) if again else None,
    )


def _refusal(seen: Seen, settings: Settings) -> Failure | None:
    message = uri_refusal("spec.artifact.uri", seen.spec.artifact.uri, seen.key.namespace, settings)
    return Failure(reasons.URI_NOT_ALLOWED, message) if message else None


def _known(seen: Seen) -> Evaluated | None:
    """The evaluation the spec asks for, if status or a finished Job holds it."""
    status, wanted = seen.status, build.evaluation_target(seen.golden)
    if seen.golden_wanted is not None and seen.golden is None:
        return None
    recorded_for = status.evaluation.golden_dataset_digest if status.evaluation else None
    if status.weights_digest is not None and (recorded_for or "verify") == wanted:
        return Evaluated(status.evaluation, status.weights_digest, status.rank)
    job = _job(seen)
    outcome = job.outcome if job else None
    if outcome is None or outcome.result != "Succeeded":
        return None
    return _from_outcome(seen, outcome)


def _keep(seen: Seen) -> Evaluated | None:
    status = seen.status
    if status.decision is None or status.weights_digest is None:
        return None
    return Evaluated(status.evaluation, status.weights_digest, status.rank)


def _from_outcome(seen: Seen, outcome: Outcome) -> Evaluated:
    summary = outcome.report
    evaluation = None
    if summary is not None and seen.golden is not None:
        judge = None
        if summary.judge_model:
            judge = JudgeIdentity(model=summary.judge_model, prompt_digest=summary.judge_prompt_digest or "")
        evaluation = Evaluation(
            score=summary.score,
            low=summary.low,
            high=summary.high,
            pass_rate=summary.pass_rate,
            samples=summary.samples,
            unscored=summary.unscored,
            failed_constraints=summary.failed_constraint_count,
            report_uri=summary.report_uri,
            report_digest=summary.report_digest,
            golden_dataset_digest=summary.golden_digest,
            golden_dataset=seen.golden.name,
            judge=judge,
            adopted=summary.adopted,
        )
    return Evaluated(evaluation, outcome.weights_digest, outcome.rank, summary, outcome.recorded_decision)


def _job(seen: Seen) -> JobFacts | None:
    """The newest evaluation Job for what the spec asks now."""
    wanted = build.evaluation_target(seen.golden)
    mine = [j for j in seen.jobs if j.purpose == labels.PURPOSE_EVALUATE and j.golden_digest == wanted]
    return max(mine, key=lambda j: j.attempt) if mine else None


def _evaluate(seen: Seen, settings: Settings, now: datetime) -> tuple[Plan, Facts]:
    if seen.golden_wanted is not None and seen.golden is None:
        return Plan(), Facts(waiting=Failure(reasons.GOLDEN_DATASET_MISSING, seen.golden_problem))
    if seen.base is None:
        message = (
            f"no ServingDeployment or TrainingJob of namespace {seen.key.namespace} says where the base with digest "
            f"{seen.spec.base_model.digest[:19]}… lies; apply the ServingDeployment first"
        )
        return Plan(), Facts(waiting=Failure(reasons.BASE_MODEL_UNAVAILABLE, message))
    job = _job(seen)
    if job is None:
        create = build.build_evaluation(seen, seen.base, 1, settings)
        return Plan(create=create), Facts(
            running="the artifact is verified" if seen.golden is None else "the golden prompts are answered"
        )
    if job.finished is None and (job.outcome is None or job.outcome.result != "Failed"):
        return Plan(), Facts(running=_running(job))
    failure = failure_of(job) or Failure(reasons.POD_LOST, "the evaluation pod vanished without an outcome")
    if failure.reason not in MAY_PASS:
        return Plan(), Facts(refusal=replace(failure, message=failure.sentence))
    return _try_again(seen, job, failure, settings, now)


def _running(job: JobFacts) -> str:
    pod = job.pod
    if pod is None:
        return f"Job {job.name} waits for its pod"
    if pod.waiting or pod.unschedulable:
        return f"pod {pod.name}: {pod.waiting or pod.unschedulable}"
    return f"pod {pod.name} verifies the artifact and answers the golden prompts"


def _try_again(seen: Seen, job: JobFacts, failure: Failure, settings: Settings, now: datetime) -> tuple[Plan, Facts]:
    assert seen.base is not None
    delay = min(LONGEST_RETRY, FIRST_RETRY * int(2 ** min(job.attempt - 1, 6)))
    due = (job.ended_at or now) + delay
    waiting = Facts(waiting=replace(failure, message=f"{failure.message}; tried again at {due:%H:%M:%S} UTC"))
    if now < due:
        return Plan(again_after=due - now), waiting
    create: tuple[Create, ...] = build.build_evaluation(seen, seen.base, job.attempt + 1, settings)
    old = Ref("batch/v1", "Job", seen.key.namespace, job.name, job.uid)
    return Plan(create=create, delete=(old,)), waiting


def _decision(seen: Seen, known: Evaluated, now: datetime) -> Decision:
    """The latched decision, a person's, or the gate's."""
    evaluation, old = known.evaluation, seen.status.decision
    golden = evaluation.golden_dataset_digest if evaluation else None
    report = evaluation.report_digest if evaluation else None

    def made(outcome: str, reason: str, message: str, by: str | None, *, adopted: bool = False) -> Decision:
        new = Decision(
            outcome=outcome, reason=reason, message=message[:1024], by=by, at=now,
            artifact_digest=seen.spec.artifact.digest, golden_dataset_digest=golden, report_digest=report,
            adopted=adopted,
        )  # fmt: skip
        if old is None or old.at is None:
            return new
        if old.model_copy(update={"at": now}) == new:
            return old
        # The newest word counts wherever it is read: a clock that is behind must not make it older than what it answers.
        return new.model_copy(update={"at": max(now, old.at + timedelta(seconds=1))})

    approval = seen.spec.approval
    if approval is not None:
        reason = reasons.APPROVED_BY_PERSON if approval.decision == "Approved" else reasons.REJECTED_BY_PERSON
        return made(approval.decision, reason, f"{approval.by}: {approval.reason}", approval.by)
    withdrawn = old is not None and old.by is not None and not old.adopted
    if old is not None and old.golden_dataset_digest == golden and not withdrawn:
        return old
    found = known.recorded
    if found is not None and found.get("decision") in ("Approved", "Rejected"):
        reason = reasons.APPROVED_BY_PERSON if found["decision"] == "Approved" else reasons.REJECTED_BY_PERSON
        message = f"{found.get('by', '')}: {found.get('reason', '')} (found beside the artifact)"
        return made(found["decision"], reason, message, found.get("by"), adopted=True)
    ruling = gates.rule(gates.Candidate(known.summary or _summary(evaluation), _thresholds(seen)))
    return made(ruling.outcome, ruling.reason, ruling.message, None)


def _summary(evaluation: Evaluation | None) -> ReportSummary | None:
    """The summary again from status, when a withdrawn approval makes the gate speak once more."""
    if evaluation is None or evaluation.golden_dataset_digest is None or evaluation.report_uri is None:
        return None
    return ReportSummary(
        score=evaluation.score,
        low=evaluation.low,
        high=evaluation.high,
        pass_rate=evaluation.pass_rate,
        samples=evaluation.samples,
        groups=0,
        unscored=evaluation.unscored,
        failed_constraint_count=evaluation.failed_constraints,
        golden_digest=evaluation.golden_dataset_digest,
        report_uri=evaluation.report_uri,
        report_digest=evaluation.report_digest,
    )


def _thresholds(seen: Seen) -> Thresholds:
    return seen.golden.spec.thresholds if seen.golden else Thresholds()


def _record(seen: Seen, facts: Facts, settings: Settings) -> tuple[Plan, Facts]:
    """A person's decision, or its withdrawal, is written beside the artifact once."""
    approval, recorded = seen.spec.approval, seen.status.recorded_approval
    mine = [j for j in seen.jobs if j.purpose == labels.PURPOSE_RECORD]
    keep = replace(facts, recorded=recorded)
    if approval is None and recorded is None and not mine:
        return Plan(), keep  # nobody ever decided here
    if facts.decision is None or facts.decision != seen.status.decision:
        return Plan(), keep  # first the word itself: engines load on it; its echo brings us back here
    digest = build.approval_digest(approval, facts.decision.at)
    if digest == recorded:
        return Plan(), keep
    job = next((j for j in mine if j.golden_digest == digest), None)
    outcome = job.outcome if job else None
    if outcome is not None and outcome.result == "Succeeded":
        return Plan(), replace(facts, recorded=digest if approval else None)  # after a withdrawal none is in force
    if job is None:
        at = facts.decision.at
        entry = (
            approval.wire() if approval else {"decision": "Withdrawn", "by": "", "reason": "spec.approval was removed"}
        )
        entry["at"] = at.isoformat() if at else ""
        if facts.known and facts.known.report_digest:
            entry["reportDigest"] = facts.known.report_digest
        return Plan(create=build.build_record(seen, entry, digest, settings)), keep
    if job.finished == "Failed":
        old = Ref("batch/v1", "Job", seen.key.namespace, job.name, job.uid)
        return Plan(delete=(old,), again_after=timedelta(seconds=30)), keep
    return Plan(), keep
