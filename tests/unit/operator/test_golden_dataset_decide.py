"""What a GoldenDataset says of itself."""

from __future__ import annotations

from typing import Any

import pytest
from clara_api import reasons
from clara_operator.golden_dataset.reconcile import reconcile
from clara_operator.plan import Key, Plan
from clara_testing import make
from clara_testing.make import NS, T0

KEY = Key("GoldenDataset", NS, "golden-v1")
JUDGE = {"endpoint": "https://judge.example/v1", "model": "some-judge"}


def sample(id_: str = "a", **more: Any) -> dict[str, Any]:
    return {"id": id_, "prompt": "Wann?", "reference": "§ 122 AO"} | more


def golden(*samples: dict[str, Any], **spec: Any) -> dict[str, Any]:
    body = {"family": "steuerrecht", "samples": list(samples) or [sample()]} | spec
    return {"kind": "GoldenDataset", "metadata": make.meta("golden-v1"), "spec": body, "status": {}}


def look(*objects: dict[str, Any]) -> Plan:
    plan = reconcile(KEY, make.cluster(*objects), make.settings(), T0)
    assert plan is not None
    return plan


def conditions(plan: Plan) -> dict[str, Any]:
    assert plan.status is not None
    return {c["type"]: c for c in plan.status.status["conditions"]}


def test_a_usable_set_is_ready_and_says_how_many_groups_it_has():
    plan = look(golden(sample("a", group="ao-122"), sample("b", group="ao-122"), sample("c")))
    assert conditions(plan)["Ready"]["status"] == "True"
    assert "3 samples in 2 groups" in conditions(plan)["Ready"]["message"]


def test_nothing_is_written_twice():
    obj = golden()
    plan = look(obj)
    assert plan.status is not None
    assert look(obj | {"status": dict(plan.status.status)}).is_empty


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (golden(sample(pattern="(")), "'(' is no regular expression"),
        (golden(sample(constraints={"mustMatch": ["["]})), "'[' is no regular expression"),
        (golden(sample(), scorers=[{"name": "regex"}]), "sample a has no 'pattern'"),
        (golden(sample("a"), sample("a")), "sample id a is there twice"),
    ],
)
def test_a_set_that_cannot_be_scored_names_the_sample_and_is_stalled(broken: dict[str, Any], said: str):
    plan = look(broken)
    assert said in conditions(plan)["Valid"]["message"]
    assert conditions(plan)["Stalled"]["reason"] == reasons.SAMPLES_INVALID
    assert [e.reason for e in plan.events] == [reasons.SAMPLES_INVALID]


def evaluated(status: str, reason: str, message: str = "") -> dict[str, Any]:
    condition = {"type": "Evaluated", "status": status, "reason": reason, "message": message}
    return make.adapter(
        status={"observedGeneration": 1, "conditions": [condition]},
        evaluation={"goldenDatasetRef": {"name": "golden-v1"}},
    )


@pytest.mark.parametrize(
    ("adapters", "expected"),
    [
        ([], ("Unknown", reasons.JUDGE_NOT_ASKED)),
        ([evaluated("True", reasons.EVALUATED)], ("True", reasons.JUDGE_REACHABLE)),
        ([evaluated("Unknown", reasons.JUDGE_UNREACHABLE, "no answer")], ("False", reasons.JUDGE_UNREACHABLE)),
    ],
)
def test_the_judge_is_as_reachable_as_the_last_evaluation_found_it(adapters: list[Any], expected: tuple[str, str]):
    found = conditions(look(golden(judge=JUDGE), *adapters))["JudgeReachable"]
    assert (found["status"], found["reason"]) == expected
