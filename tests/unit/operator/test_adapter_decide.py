"""What an Adapter becomes, fact by fact."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from clara_api import labels
from clara_api.golden_dataset import GoldenDatasetSpec
from clara_api.handoff.eval_report import ConstraintFailure, ReportSummary
from clara_api.handoff.outcome import EXIT_JUDGE_UNREACHABLE, Outcome
from clara_api.handoff.run import RUN, EvaluationRun, RecordRun
from clara_operator.adapter.reconcile import reconcile
from clara_operator.cluster import Cluster
from clara_operator.golden_dataset.digest import golden_digest
from clara_operator.plan import Key, Plan
from clara_testing import make
from clara_testing.make import NS, T0

NAME = "steuerrecht-1.0.0"
KEY = Key("Adapter", NS, NAME)
GOLDEN_SPEC = {"family": "steuerrecht", "samples": [{"id": "a", "prompt": "Wann?", "reference": "§ 122 AO"}]}
GOLDEN = {"kind": "GoldenDataset", "metadata": make.meta("golden-v1"), "spec": GOLDEN_SPEC, "status": {}}
DIGEST = golden_digest(GoldenDatasetSpec.model_validate(GOLDEN_SPEC))


def new(**spec: Any) -> dict[str, Any]:
    named = {"evaluation": {"goldenDatasetRef": {"name": "golden-v1"}}}
    return make.adapter(status={"observedGeneration": -1}, **(named | spec))


def summary(score: float | None = 90.0, **changes: Any) -> ReportSummary:
    values: dict[str, Any] = {
        "score": score,
        "low": 83.0,
        "high": 97.0,
        "samples": 1,
        "groups": 1,
        "golden_digest": DIGEST,
        "report_uri": "s3://clara/adapters/recht/steuerrecht/1.0.0/1/evaluations/x/report.json",
        "report_digest": "sha256:" + "e" * 64,
    }
    return ReportSummary(**(values | changes))


def evaluated(obj: dict[str, Any], outcome: Outcome, *extra: dict[str, Any]) -> Cluster:
    job = make.job(NAME, "evaluate", run_digest="", golden_digest=DIGEST, finished="Complete", adapter=True)
    pod = make.job_pod(job, phase="Succeeded", exit_code=0, outcome=outcome)
    return make.cluster(obj, GOLDEN, make.serving_deployment(), job, pod, *extra)


def good(**report: Any) -> Outcome:
    return Outcome(result="Succeeded", weights_digest=make.WEIGHTS_DIGEST, rank=16, report=summary(**report))


def look(known: Cluster, now: Any = T0) -> Plan:
    plan = reconcile(KEY, known, make.settings(), now)
    assert plan is not None
    return plan


def after(known: Cluster, plan: Plan, **changes: Any) -> None:
    """Store what the plan wrote, as the API server would."""
    assert plan.status is not None
    obj = known.get("Adapter", NS, NAME)
    assert obj is not None
    known.put("Adapter", obj | {"status": dict(plan.status.status)} | changes)


def ready(plan: Plan) -> tuple[str, str]:
    assert plan.status is not None
    found = next(c for c in plan.status.status["conditions"] if c["type"] == "Ready")
    return found["status"], found["reason"]


def test_a_new_adapter_is_evaluated_with_its_own_golden_set():
    plan = look(make.cluster(new(), GOLDEN, make.serving_deployment()))
    assert [c.manifest["kind"] for c in plan.create] == ["ConfigMap", "Job"]
    run = RUN.validate_json(plan.create[0].manifest["data"]["run.json"])
    assert isinstance(run, EvaluationRun)
    assert run.golden_digest == DIGEST
    assert run.adapter_object["metadata"]["name"] == NAME
    assert "status" not in run.adapter_object
    assert ready(plan) == ("Unknown", "Evaluating")


def test_child_names_are_dns_labels_although_versions_have_dots():
    plan = look(make.cluster(new(), GOLDEN, make.serving_deployment()))
    name = plan.create[1].manifest["metadata"]["name"]
    assert "." not in name
    assert len(name) <= 52


def test_a_missing_golden_set_is_waited_for():
    plan = look(make.cluster(new(), make.serving_deployment()))
    assert plan.create == ()
    assert ready(plan) == ("Unknown", "GoldenDatasetMissing")


def test_a_base_nobody_names_is_said():
    assert ready(look(make.cluster(new(), GOLDEN))) == ("Unknown", "BaseModelUnavailable")


def test_an_artifact_outside_the_namespaces_prefix_is_refused_before_a_pod_exists():
    plan = look(
        make.cluster(new(artifact={"uri": "s3://clara/adapters/finanzen/x", "digest": make.ARTIFACT_DIGEST}), GOLDEN)
    )
    assert plan.create == ()
    assert ready(plan) == ("False", "UriNotAllowed")


@pytest.mark.parametrize(
    ("report", "outcome", "reason"),
    [
        ({"score": 91.0}, "Approved", "ScoreAboveApprove"),
        ({"score": 85.0}, "Approved", "ScoreAboveApprove"),
        ({"score": 84.9}, "NeedsReview", "ScoreBetween"),
        ({"score": 70.0}, "NeedsReview", "ScoreBetween"),
        ({"score": 69.9}, "Rejected", "ScoreBelowReview"),
        ({"score": 91.0, "unscored": 1}, "NeedsReview", "UnscoredAnswers"),
        ({"score": None, "unscored": 1}, "NeedsReview", "UnscoredAnswers"),
        (
            {
                "score": 91.0,
                "failed_constraint_count": 1,
                "failed_constraints": [ConstraintFailure(sample="a", kind="mustCite", expected="§ 122 AO")],
            },
            "NeedsReview",
            "HardConstraintFailed",
        ),
    ],
)
def test_the_gate_decides_by_the_first_fact_that_speaks_against_it(report: dict[str, Any], outcome: str, reason: str):
    plan = look(evaluated(new(), good(**report)))
    assert plan.status is not None
    decision = plan.status.status["decision"]
    assert (decision["outcome"], decision["reason"]) == (outcome, reason)
    assert decision["artifactDigest"] == make.digest_of("1.0.0")


def test_the_score_is_shown_with_its_interval():
    plan = look(evaluated(new(), good()))
    assert plan.status is not None
    assert plan.status.status["display"]["score"] == "90.0 [83.0, 97.0]"


def test_without_a_golden_set_a_person_decides():
    obj = make.adapter(status={"observedGeneration": -1})
    job = make.job(NAME, "evaluate", run_digest="", golden_digest="verify", finished="Complete", adapter=True)
    outcome = Outcome(result="Succeeded", weights_digest=make.WEIGHTS_DIGEST, rank=16)
    plan = look(make.cluster(obj, make.serving_deployment(), job, make.job_pod(job, exit_code=0, outcome=outcome)))
    assert ready(plan) == ("Unknown", "NeedsReview")


def test_a_decision_is_latched_and_costs_nothing_to_look_at_again():
    known = evaluated(new(), good())
    after(known, look(known))
    for kind in ("Job", "Pod"):
        for namespace, name in list(known.keys(kind)):
            known.forget(kind, namespace, name)
    assert look(known, now=T0 + timedelta(days=2)).is_empty


def record_of(plan: Plan) -> RecordRun:
    """What the plan's Job is to write beside the artifact."""
    record = RUN.validate_json(plan.create[0].manifest["data"]["run.json"])
    assert isinstance(record, RecordRun)
    return record


def recorded(known: Cluster, plan: Plan) -> None:
    """The Job of the plan has done it."""
    digest = record_of(plan).decision_digest
    job = make.job(
        f"{NAME}-{digest[-8:]}", "record", run_digest="", golden_digest=digest, finished="Complete", adapter=True
    )
    job["metadata"]["labels"][labels.ADAPTER] = NAME
    known.put("Job", job)
    known.put("Pod", make.job_pod(job, exit_code=0, outcome=Outcome(result="Succeeded")))
    after(known, look(known))


def with_approval(known: Cluster, approval: dict[str, str] | None) -> Plan:
    """A person writes or removes spec.approval; the pass after the one that latched the new word."""
    obj = known.get("Adapter", NS, NAME)
    assert obj is not None
    known.put("Adapter", new(**({"approval": approval} if approval else {})) | {"status": obj["status"]})
    after(known, look(known, T0 + timedelta(seconds=len(tuple(known.keys("Job"))))))
    return look(known)


ANNA = {"decision": "Approved", "by": "anna", "reason": "geprüft"}


def test_a_persons_rejection_outweighs_a_good_score_and_is_recorded_beside_the_artifact():
    approval = {"decision": "Rejected", "by": "anna@amt.example", "reason": "zitiert aufgehobenes Recht"}
    known = evaluated(new(approval=approval), good())
    plan = look(known)
    assert ready(plan) == ("False", "Rejected")
    assert plan.create == (), "the word comes first: engines act on it"
    after(known, plan)
    assert record_of(look(known)).decision["by"] == "anna@amt.example"


def test_a_withdrawn_approval_gives_the_word_back_to_the_gate():
    known = evaluated(new(), good(score=75.0))
    after(known, look(known))
    recorded(known, with_approval(known, ANNA))
    plan = with_approval(known, None)
    assert known.get("Adapter", NS, NAME)["status"]["decision"]["outcome"] == "NeedsReview"  # type: ignore[index]
    assert record_of(plan).decision["decision"] == "Withdrawn"
    recorded(known, plan)
    assert "recordedApproval" not in known.get("Adapter", NS, NAME)["status"]  # type: ignore[index]
    assert look(known).is_empty


def test_an_approval_that_is_withdrawn_before_it_was_recorded_is_withdrawn_all_the_same():
    known = evaluated(new(), good(score=75.0))
    after(known, look(known))
    plan = with_approval(known, ANNA)
    job = make.job(NAME, "record", run_digest="", golden_digest=record_of(plan).decision_digest, adapter=True)
    known.put("Job", job)
    assert record_of(with_approval(known, None)).decision["decision"] == "Withdrawn"


def test_the_same_words_said_again_after_a_withdrawal_are_recorded_again():
    known = evaluated(new(), good(score=75.0))
    after(known, look(known))
    first = with_approval(known, ANNA)
    recorded(known, first)
    recorded(known, with_approval(known, None))
    again = with_approval(known, ANNA)
    assert record_of(again).decision["decision"] == "Approved"
    assert record_of(again).decision_digest != record_of(first).decision_digest


def test_a_recreated_adapter_inherits_the_rejection_that_lies_beside_its_artifact():
    outcome = good().model_copy(
        update={"recorded_decision": {"decision": "Rejected", "by": "anna", "reason": "falsch"}}
    )
    plan = look(evaluated(new(), outcome))
    assert ready(plan) == ("False", "Rejected")
    assert plan.status is not None
    assert "found beside the artifact" in plan.status.status["decision"]["message"]
    assert plan.status.status["decision"]["adopted"] is True
    assert plan.create == (), "it lies there already"


def test_a_new_golden_set_is_a_new_evaluation_and_the_old_decision_holds_until_then():
    known = evaluated(new(), good())
    after(known, look(known))
    second = {
        "kind": "GoldenDataset",
        "metadata": make.meta("golden-v2"),
        "spec": GOLDEN_SPEC | {"maxNewTokens": 8},
        "status": {},
    }
    known.put("GoldenDataset", second)
    obj = known.get("Adapter", NS, NAME)
    assert obj is not None
    known.put("Adapter", obj | {"spec": obj["spec"] | {"evaluation": {"goldenDatasetRef": {"name": "golden-v2"}}}})
    plan = look(known)
    assert [c.manifest["kind"] for c in plan.create] == ["ConfigMap", "Job"]
    assert plan.status is not None
    assert plan.status.status["decision"]["outcome"] == "Approved"


def test_an_unreachable_judge_is_asked_again_with_growing_pauses():
    job = make.job(NAME, "evaluate", run_digest="", golden_digest=DIGEST, finished="Failed", adapter=True)
    outcome = Outcome(result="Failed", failure="JudgeUnreachable", message="connection refused")
    pod = make.job_pod(job, phase="Failed", exit_code=EXIT_JUDGE_UNREACHABLE, outcome=outcome)
    known = make.cluster(new(), GOLDEN, make.serving_deployment(), job, pod)
    early = look(known, now=T0 - timedelta(seconds=55))
    assert ready(early) == ("Unknown", "JudgeUnreachable")
    assert early.create == ()
    late = look(known, now=T0 + timedelta(minutes=1))
    assert [c.manifest["kind"] for c in late.create] == ["ConfigMap", "Job"]
    assert late.delete[0].name == job["metadata"]["name"]


@pytest.mark.parametrize("failure", ["ArtifactInvalid", "BaseMismatch", "NotServable"])
def test_a_bad_artifact_is_never_ready_and_never_tried_again(failure: Any):
    job = make.job(NAME, "evaluate", run_digest="", golden_digest=DIGEST, finished="Failed", adapter=True)
    pod = make.job_pod(
        job, phase="Failed", exit_code=69, outcome=Outcome(result="Failed", failure=failure, message="why")
    )
    plan = look(make.cluster(new(), GOLDEN, make.serving_deployment(), job, pod), now=T0 + timedelta(hours=1))
    assert plan.create == ()
    assert ready(plan) == ("False", failure)


def served(*engines: dict[str, Any], route: str = "Serving", **more: Any) -> Cluster:
    known = evaluated(new(), good())
    after(known, look(known))
    entry = {
        "family": "steuerrecht",
        "version": "1.0.0",
        "engineName": make.name_on_engine("1.0.0"),
        "digest": make.digest_of("1.0.0"),
    }
    routes = [entry | {"state": route, "weight": 0} | more]
    known.put("ServingDeployment", make.serving_deployment(status={"observedGeneration": 1, "routes": routes}))
    for engine in engines:
        known.put("Engine", engine)
    return known


def test_it_is_ready_when_every_engine_that_should_hold_it_has_verified_it():
    engines = [make.engine(f"e{i}", wanted=[make.wanted("1.0.0")], held=[make.held("1.0.0")]) for i in (1, 2)]
    assert ready(look(served(*engines))) == ("True", "Served")


def test_one_failing_engine_is_degraded_and_named():
    first = make.engine("e1", wanted=[make.wanted("1.0.0")], held=[make.held("1.0.0")])
    second = make.engine(
        "e2", wanted=[make.wanted("1.0.0")], held=[make.held("1.0.0", "Failed", error="digest mismatch")]
    )
    plan = look(served(first, second))
    assert ready(plan) == ("False", "LoadFailed")
    assert plan.status is not None
    assert "e2: digest mismatch" in str(plan.status.status["conditions"])


def test_a_dead_engine_does_not_count_as_verified():
    first = make.engine("e1", wanted=[make.wanted("1.0.0")], held=[make.held("1.0.0")], healthy=False)
    assert ready(look(served(first))) == ("Unknown", "Loading")


def test_a_retired_version_names_its_successor():
    plan = look(served(route="Retired", successor="1.1.0"))
    assert ready(plan) == ("False", "Superseded")
