"""What makes two runs the same."""

from __future__ import annotations

from typing import Any

import pytest
from clara_api.training_job import TrainingJobSpec
from clara_operator.training_job.recipe import recipe_digest, run_digest, sources_digest
from clara_testing import make


def spec(**changes: Any) -> TrainingJobSpec:
    return TrainingJobSpec.model_validate(make.training_job(**changes)["spec"])


@pytest.mark.parametrize(
    "spelled",
    [
        {"hyperparameters": {"rank": 16, "learningRate": 2.0e-4, "microBatchSize": "auto"}},
        {"method": "lora", "profile": "lora"},
        {"dataPolicy": {"emptyRows": "fail"}},
        {"data": [{"uri": "s3://clara/data/steuerrecht.jsonl", "format": "auto", "weight": 1}]},
        {"baseModel": make.base() | {"mirrors": []}},
        {"validation": {"fraction": 0.1}, "dryRun": False, "rerun": 0, "suspend": False},
        {"method": "lora", "profile": "qlora", "hyperparameters": {"maxLength": 1024}},
    ],
    ids=str,
)
def test_defaults_that_are_spelled_out_change_nothing(spelled: dict[str, Any]):
    for digest in (run_digest, recipe_digest, sources_digest):
        assert digest(spec(**spelled)) == digest(spec())


@pytest.mark.parametrize(
    "change",
    [
        {"hyperparameters": {"seed": 7}},
        {"method": "qlora"},
        {"profile": "qlora"},
        {"method": "dora", "conversion": {"rank": 16}},
        {"startFrom": {"adapterRef": {"name": "steuerrecht-1.0.0"}}},
        {"dataPolicy": {"goldenLeaks": "drop"}},
        {"validation": {"fraction": 0.2}},
        {"fallbackBaseModels": [make.base("sha256:" + "d" * 64)]},
        {"dryRun": True},
        {"rerun": 1},
    ],
    ids=str,
)
def test_what_decides_the_result_makes_another_run(change: dict[str, Any]):
    assert run_digest(spec(**change)) != run_digest(spec())


@pytest.mark.parametrize(
    "change",
    [
        {"suspend": True},
        {"queue": {"priority": 5}},
        {"retry": {"maxDuration": "3d"}},
        {"checkpoints": {"everySteps": 5}},
        {"resources": {"limits": {"memory": "8Gi"}}},
        {"license": "MIT"},
    ],
    ids=str,
)
def test_what_does_not_decide_the_result_goes_on_with_the_same_run(change: dict[str, Any]):
    assert run_digest(spec(**change)) == run_digest(spec())


@pytest.mark.parametrize("change", [{"rerun": 1}, {"dryRun": True}, {"data": [{"uri": "s3://clara/data/more.jsonl"}]}])
def test_more_of_the_same_is_the_same_recipe(change: dict[str, Any]):
    assert recipe_digest(spec(**change)) == recipe_digest(spec())
