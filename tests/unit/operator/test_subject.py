"""An object that this version cannot read ends in a condition, never in silence."""

from __future__ import annotations

from typing import Any

import pytest
from clara_api import reasons
from clara_api.kinds import BY_NAME
from clara_operator.main import RECONCILERS
from clara_operator.plan import Key, Plan
from clara_testing import make
from clara_testing.make import NS, T0

SAMPLES = [{"id": "a", "prompt": "Wann?", "reference": "§ 122 AO"}]
GOLDEN = {"kind": "GoldenDataset", "metadata": make.meta("golden"), "spec": {"family": "x", "samples": SAMPLES}}
READABLE = {
    "TrainingJob": make.training_job(),
    "Adapter": make.adapter(),
    "ServingDeployment": make.serving_deployment(),
    "GoldenDataset": GOLDEN,
}


def look(obj: dict[str, Any]) -> Plan:
    plan = RECONCILERS[obj["kind"]](
        Key(obj["kind"], NS, obj["metadata"]["name"]), make.cluster(obj), make.settings(), T0
    )
    assert plan is not None
    return plan


def test_every_kind_of_a_user_is_tried_here():
    assert set(READABLE) == set(RECONCILERS)


@pytest.mark.parametrize("kind", sorted(READABLE))
def test_a_spec_of_another_version_is_named_field_by_field(kind: str):
    broken = READABLE[kind] | {"spec": READABLE[kind]["spec"] | {"family": "Ü", "baseModel": 7, "samples": 7}}
    plan = look(broken)
    assert plan.status is not None
    found = {c["type"]: c for c in plan.status.status["conditions"]}
    assert found["Stalled"]["reason"] == reasons.UNREADABLE
    assert found["Succeeded" if kind == "TrainingJob" else "Ready"]["status"] == "False"
    assert kind in found["Stalled"]["message"]
    assert plan.status.status["observedGeneration"] == 1
    BY_NAME[kind].status.model_validate(plan.status.status)
    assert look(broken | {"status": dict(plan.status.status)}).is_empty


def test_what_a_newer_version_recorded_survives_an_older_operator():
    attempts = [{"number": 1, "reason": "SomethingNew", "exitCode": "a word"}]
    plan = look(make.training_job(status={"observedGeneration": 1, "attempts": attempts}))
    assert plan.status is not None
    assert plan.status.status["attempts"] == attempts
    assert "attempts.0" in plan.status.status["conditions"][0]["message"]
