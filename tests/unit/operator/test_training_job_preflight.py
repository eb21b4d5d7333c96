"""What is refused in the first look, before a pod exists, and what cures it."""

from __future__ import annotations

from typing import Any

import pytest
from clara_operator.plan import Plan
from clara_testing import make
from clara_testing.training import look, message, names, state, status

VERIFIED = {
    "observedGeneration": 1,
    "conditions": [{"type": "Verified", "status": "True", "reason": "ArtifactVerified"}],
}
START = {"startFrom": {"adapterRef": {"name": "steuerrecht-1.0.0"}}}
OTHER = "sha256:" + "d" * 64


def refused(*others: dict[str, Any], **spec: Any) -> Plan:
    plan = look(make.cluster(make.training_job(**spec), *others))
    assert plan.create == ()
    assert status(plan)["recipeLocked"] is False
    return plan


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"baseModel": make.base() | {"mirrors": ["s3://clara/models/m", "s3://far/m"]}}, "spec.baseModel.mirrors[1]"),
        (
            {"fallbackBaseModels": [make.base(OTHER) | {"uri": "s3://far/b"}]},
            "spec.fallbackBaseModels[0].uri",
        ),
        ({"data": [{"uri": "s3://clara/data/a"}, {"uri": "s3://clara/runs/finanzen/x"}]}, "spec.data[1].uri"),
    ],
)
def test_a_place_outside_the_namespaces_prefixes_is_named(spec: dict[str, Any], where: str):
    plan = refused(**spec)
    assert state(plan) == "UriNotAllowed"
    assert message(plan).startswith(where)


def test_the_operators_own_folder_of_runs_needs_no_prefix_from_the_chart():
    checkpoints = [{"uri": "s3://clara/runs/recht/steuerrecht/uid/digest"}]
    assert names(look(make.cluster(make.training_job(data=checkpoints))))


def test_the_artifact_to_continue_must_lie_where_the_namespace_may_read():
    foreign = make.adapter(status=VERIFIED, artifact={"uri": "s3://far/a", "digest": make.digest_of("1.0.0")})
    assert "Adapter steuerrecht-1.0.0 (spec.startFrom)" in message(refused(foreign, **START))


@pytest.mark.parametrize(
    ("adapter", "why"),
    [
        (None, "does not exist in namespace recht"),
        (make.adapter(status=VERIFIED, family="baurecht"), "is of family baurecht"),
        (make.adapter(status=VERIFIED, baseModel={"name": "x", "digest": OTHER}), "was trained on the base sha256:ddd"),
        (make.adapter(status={"observedGeneration": 1}), "is not verified"),
    ],
)
def test_an_adapter_that_cannot_be_continued_is_refused_with_the_reason(adapter: dict[str, Any] | None, why: str):
    if adapter is not None:
        adapter["metadata"]["name"] = "steuerrecht-1.0.0"
    plan = refused(*([adapter] if adapter else []), **START)
    assert state(plan) == "StartAdapterUnusable"
    assert f"Adapter steuerrecht-1.0.0 {why}" in message(plan)


def test_dora_without_a_conversion_is_refused_with_the_field_to_add():
    plan = refused(method="dora")
    assert state(plan) == "NotServable"
    assert "add spec.conversion: {rank: 32}" in message(plan)
    assert names(look(make.cluster(make.training_job(method="dora", conversion={"rank": 32}))))


def test_a_rank_the_familys_engines_refuse_is_refused_with_both_ways_out():
    plan = refused(make.serving_deployment(engine={"replicas": 2, "maxLoraRank": 8}))
    assert state(plan) == "NotServable"
    assert "hyperparameters.rank 16 is above engine.maxLoraRank 8 of ServingDeployment verwaltung" in message(plan)
    assert "lower the rank, or set maxLoraRank to 16 or more" in message(plan)


def test_the_rank_of_an_adapter_that_goes_on_counts_not_the_profiles():
    wide = make.adapter(status=VERIFIED | {"rank": 64})
    plan = refused(wide, make.serving_deployment(engine={"maxLoraRank": 32}), **START)
    assert state(plan) == "NotServable"
    assert "rank 64 is above engine.maxLoraRank 32" in message(plan)
    assert status(look(make.cluster(make.training_job(**START), wide)))["effective"]["rank"] == 64


def test_another_rank_than_that_of_the_adapter_that_goes_on_is_refused():
    plan = refused(make.adapter(status=VERIFIED | {"rank": 4}), **START, hyperparameters={"rank": 16})
    assert "has rank 4, and spec.hyperparameters.rank asks for 16; leave it out" in message(plan)


def test_for_a_converted_result_the_conversions_rank_counts():
    engines = make.serving_deployment(engine={"replicas": 2, "maxLoraRank": 16})
    plan = refused(engines, method="dora", conversion={"rank": 32}, hyperparameters={"rank": 8})
    assert "conversion.rank 32" in message(plan)
    fits = make.training_job(method="dora", conversion={"rank": 16}, hyperparameters={"rank": 64})
    assert names(look(make.cluster(fits, engines)))


def test_other_families_engines_do_not_matter():
    engines = make.serving_deployment(engine={"maxLoraRank": 8}, families=[{"name": "baurecht", "minEngines": 1}])
    assert names(look(make.cluster(make.training_job(), engines)))
