"""What a ServingDeployment becomes, fact by fact."""

from __future__ import annotations

from typing import Any

import pytest
from clara_operator.cluster import Cluster
from clara_operator.plan import Key, Plan
from clara_operator.serving_deployment.reconcile import reconcile
from clara_testing import make
from clara_testing.make import NS, T0

KEY = Key("ServingDeployment", NS, "verwaltung")


def look(known: Cluster, **settings: Any) -> Plan:
    plan = reconcile(KEY, known, make.settings(**settings), T0)
    assert plan is not None
    return plan


def two_engines(
    adapters: list[dict[str, Any]] | None = None, held: list[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    pods = [make.engine_pod(name) for name in ("e1", "e2")]
    return pods + [make.engine(name, wanted=adapters, held=held) for name in ("e1", "e2")]


def engines(plan: Plan) -> dict[str, dict[str, str]]:
    """Engine → what it should hold, by name and state."""
    found = {}
    for apply in plan.apply:
        if apply.manifest["kind"] == "Engine":
            wanted = apply.manifest["spec"].get("adapters", [])
            found[apply.manifest["metadata"]["name"]] = {a["engineName"]: a["state"] for a in wanted}
    return found


def routes(plan: Plan) -> dict[str, tuple[str, str | None]]:
    assert plan.status is not None
    return {r["version"]: (r["state"], r.get("successor")) for r in plan.status.status["routes"]}


def serving(version: str, state: str = "Serving", **more: Any) -> dict[str, Any]:
    entry = {
        "family": "steuerrecht",
        "version": version,
        "engineName": make.name_on_engine(version),
        "digest": make.digest_of(version),
    }
    return entry | {"state": state, "weight": 100 if state == "Serving" else 0} | more


def status(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"observedGeneration": 1, "routes": list(entries)}


def test_engines_come_from_one_deployment_without_a_gap():
    deployment = look(make.cluster(make.serving_deployment())).apply[0].manifest
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    pod = deployment["spec"]["template"]["spec"]
    assert [c["name"] for c in pod["initContainers"]] == ["fetch-base", "agent"]
    assert pod["initContainers"][1]["restartPolicy"] == "Always"


def test_a_drained_node_takes_one_engine_at_a_time():
    plan = look(make.cluster(make.serving_deployment()))
    [budget] = [a.manifest for a in plan.apply if a.manifest["kind"] == "PodDisruptionBudget"]
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == plan.apply[0].manifest["spec"]["selector"]


def test_only_the_agent_has_a_token_and_only_those_who_fetch_have_the_stores_key():
    pod = look(make.cluster(make.serving_deployment())).apply[0].manifest["spec"]["template"]["spec"]
    engine = pod["containers"][0]
    assert pod["automountServiceAccountToken"] is False
    assert all("serviceaccount" not in m["mountPath"] for m in engine["volumeMounts"])
    assert "envFrom" not in engine
    assert all("envFrom" in c for c in pod["initContainers"])


def test_the_engine_is_guarded_and_drains():
    args = (
        look(make.cluster(make.serving_deployment()))
        .apply[0]
        .manifest["spec"]["template"]["spec"]["containers"][0]["args"]
    )
    assert "--middleware=clara_agent.engine_guard.Guard" in args
    assert "--shutdown-timeout=60" in args


def test_the_newest_approved_version_in_range_is_loaded_on_every_engine():
    adapters = [make.adapter("1.0.0"), make.adapter("1.2.0"), make.adapter("2.0.0")]
    family = [{"name": "steuerrecht", "versions": ">=1.0.0 <2.0.0", "minEngines": 2}]
    plan = look(make.cluster(make.serving_deployment(families=family), *adapters, *two_engines()))
    assert engines(plan) == {"e1": {make.name_on_engine("1.2.0"): "load"}, "e2": {make.name_on_engine("1.2.0"): "load"}}
    assert routes(plan) == {"1.2.0": ("Loading", None)}


@pytest.mark.parametrize("outcome", ["NeedsReview", "Rejected", None])
def test_what_is_not_approved_is_never_loaded(outcome: str | None):
    decision = (
        {"decision": {"outcome": outcome, "reason": "x", "artifactDigest": make.digest_of("1.0.0")}} if outcome else {}
    )
    plan = look(make.cluster(make.serving_deployment(), make.adapter(status=decision), *two_engines()))
    assert engines(plan) == {"e1": {}, "e2": {}}


def test_a_decision_over_other_bytes_does_not_count():
    stolen = make.adapter(
        status={"decision": {"outcome": "Approved", "reason": "x", "artifactDigest": make.ARTIFACT_DIGEST}}
    )
    assert engines(look(make.cluster(make.serving_deployment(), stolen, *two_engines()))) == {"e1": {}, "e2": {}}


def test_an_adapter_of_another_base_is_not_loaded():
    other = make.adapter(baseModel={"name": "tiny-de", "digest": "sha256:" + "d" * 64})
    assert engines(look(make.cluster(make.serving_deployment(), other, *two_engines()))) == {"e1": {}, "e2": {}}


def test_the_alias_does_not_move_before_enough_engines_have_verified():
    pods = [make.engine_pod("e1"), make.engine_pod("e2")]
    one = [make.engine("e1", wanted=[make.wanted("1.0.0", "load")], held=[make.held("1.0.0")]), make.engine("e2")]
    assert routes(look(make.cluster(make.serving_deployment(), make.adapter(), *pods, *one))) == {
        "1.0.0": ("Loading", None)
    }
    both = two_engines([make.wanted("1.0.0", "load")], [make.held("1.0.0")])
    assert routes(look(make.cluster(make.serving_deployment(), make.adapter(), *both))) == {"1.0.0": ("Serving", None)}


def test_loaded_is_not_verified():
    both = two_engines([make.wanted("1.0.0", "load")], [make.held("1.0.0", "Verifying")])
    assert routes(look(make.cluster(make.serving_deployment(), make.adapter(), *both))) == {"1.0.0": ("Loading", None)}


def change(held: list[dict[str, Any]], *entries: dict[str, Any], wanted: list[dict[str, Any]]) -> Plan:
    sdep = make.serving_deployment(status=status(*entries))
    return look(make.cluster(sdep, make.adapter("1.0.0"), make.adapter("1.1.0"), *two_engines(wanted, held)))


def test_a_version_change_loads_first_and_keeps_serving():
    plan = change([make.held("1.0.0")], serving("1.0.0"), wanted=[make.wanted("1.0.0")])
    assert engines(plan)["e1"] == {make.name_on_engine("1.0.0"): "serve", make.name_on_engine("1.1.0"): "load"}
    assert routes(plan) == {"1.0.0": ("Serving", None), "1.1.0": ("Loading", None)}


def test_the_alias_moves_in_one_write_and_the_old_version_is_not_retired_in_the_same_pass():
    wanted = [make.wanted("1.0.0"), make.wanted("1.1.0", "load")]
    plan = change(
        [make.held("1.0.0"), make.held("1.1.0")], serving("1.0.0"), serving("1.1.0", "Loading"), wanted=wanted
    )
    assert routes(plan) == {"1.0.0": ("Retired", "1.1.0"), "1.1.0": ("Serving", None)}
    assert engines(plan)["e1"][make.name_on_engine("1.0.0")] == "serve"
    assert plan.events[0].reason == "AliasMoved"


def test_the_old_version_is_retired_once_the_routes_no_longer_name_it():
    wanted = [make.wanted("1.0.0"), make.wanted("1.1.0", "load")]
    entries = (serving("1.0.0", "Retired", successor="1.1.0"), serving("1.1.0"))
    plan = change([make.held("1.0.0"), make.held("1.1.0")], *entries, wanted=wanted)
    assert engines(plan)["e1"] == {make.name_on_engine("1.0.0"): "retire", make.name_on_engine("1.1.0"): "serve"}


def test_a_retired_version_leaves_the_engine_when_its_agent_no_longer_holds_it():
    wanted = [make.wanted("1.0.0", "retire"), make.wanted("1.1.0")]
    entries = (serving("1.0.0", "Retired", successor="1.1.0"), serving("1.1.0"))
    plan = change([make.held("1.1.0")], *entries, wanted=wanted)
    assert engines(plan)["e1"] == {make.name_on_engine("1.1.0"): "serve"}


def test_a_revoked_version_is_retired_at_once_and_its_predecessor_comes_back():
    rejected = make.adapter(
        "1.1.0", status={"decision": {"outcome": "Rejected", "reason": "x", "artifactDigest": make.digest_of("1.1.0")}}
    )
    sdep = make.serving_deployment(status=status(serving("1.1.0"), serving("1.0.0", "Retired", successor="1.1.0")))
    plan = look(
        make.cluster(sdep, make.adapter("1.0.0"), rejected, *two_engines([make.wanted("1.1.0")], [make.held("1.1.0")]))
    )
    assert engines(plan)["e1"] == {make.name_on_engine("1.0.0"): "load", make.name_on_engine("1.1.0"): "retire"}
    assert routes(plan)["1.0.0"] == ("Loading", None)
    assert routes(plan)["1.1.0"][0] == "Retired"


def test_no_engine_is_asked_to_hold_more_than_it_can_register():
    families = [{"name": f"f{i}", "minEngines": 1} for i in range(3)]
    old = [
        serving("1.0.0") | {"family": f"f{i}", "engineName": make.name_on_engine("1.0.0", f"f{i}")} for i in range(3)
    ]
    adapters = [make.adapter(v, family=f"f{i}") for i in range(3) for v in ("1.0.0", "1.1.0")]
    held = [make.held("1.0.0", family=f"f{i}") for i in range(3)]
    wanted = [make.wanted("1.0.0", family=f"f{i}") for i in range(3)]
    sdep = make.serving_deployment(
        engine={"replicas": 2, "maxCpuLoras": 4, "maxLoras": 2}, families=families, status=status(*old)
    )
    states = engines(look(make.cluster(sdep, *adapters, *two_engines(wanted, held))))["e1"].values()
    assert sorted(states) == ["load", "serve", "serve", "serve"]


def two_families_change_where_one_fits(*begun: tuple[dict[str, Any], dict[str, Any] | None]) -> dict[str, str]:
    """What e1 should hold when f0 and f1 both have a 1.1.0 to load and e1 has begun with `begun`: (wanted, held) each."""
    old = [
        serving("1.0.0") | {"family": f"f{i}", "engineName": make.name_on_engine("1.0.0", f"f{i}")} for i in range(2)
    ]
    adapters = [make.adapter(v, family=f"f{i}") for i in range(2) for v in ("1.0.0", "1.1.0")]
    sdep = make.serving_deployment(
        engine={"replicas": 2, "maxCpuLoras": 3, "maxLoras": 1},
        families=[{"name": f"f{i}", "minEngines": 1} for i in range(2)],
        status=status(*old),
    )
    held = [make.held("1.0.0", family=f"f{i}") for i in range(2)] + [h for _, h in begun if h]
    wanted = [make.wanted("1.0.0", family=f"f{i}") for i in range(2)] + [w for w, _ in begun]
    return engines(look(make.cluster(sdep, *adapters, *two_engines(wanted, held)))).get("e1", {})


def test_a_version_that_fails_to_load_does_not_keep_the_next_family_waiting():
    first, second = (make.name_on_engine("1.1.0", family) for family in ("f0", "f1"))
    failed = (make.wanted("1.1.0", "load", "f0"), make.held("1.1.0", "Failed", "f0"))
    states = two_families_change_where_one_fits(failed)
    assert (states[first], states[second]) == ("load", "load")
    begun = two_families_change_where_one_fits((make.wanted("1.1.0", "load", "f1"), None))
    assert second in begun
    assert first not in begun, "what is being loaded keeps its room"


def test_two_versions_that_fail_to_load_both_stay_listed():
    failed = [(make.wanted("1.1.0", "load", f), make.held("1.1.0", "Failed", f)) for f in ("f0", "f1")]
    states = two_families_change_where_one_fits(*failed)
    assert {make.name_on_engine("1.1.0", f) for f in ("f0", "f1")} <= states.keys(), "they would take turns for ever"


def test_lost_status_is_rebuilt_from_what_engines_serve():
    plan = look(
        make.cluster(
            make.serving_deployment(), make.adapter(), *two_engines([make.wanted("1.0.0")], [make.held("1.0.0")])
        )
    )
    assert routes(plan) == {"1.0.0": ("Serving", None)}


def live(plan: Plan, **changes: Any) -> dict[str, Any]:
    manifest = plan.apply[0].manifest
    return {
        "kind": "Deployment",
        "metadata": make.meta("verwaltung-engine", annotations=manifest["metadata"]["annotations"]),
        "spec": {"replicas": 2} | changes,
    }


def deployments(plan: Plan) -> list[str]:
    return [a.field_manager for a in plan.apply if a.manifest["kind"] == "Deployment"]


def test_an_operator_upgrade_restarts_nothing_and_says_so():
    first = look(make.cluster(make.serving_deployment()))
    upgraded = look(make.cluster(make.serving_deployment(), live(first)), engine_image="registry/clara-engine:2")
    assert deployments(upgraded) == []
    assert upgraded.status is not None
    pending = next(c for c in upgraded.status.status["conditions"] if c["type"] == "UpToDate")
    assert (pending["status"], pending["reason"]) == ("False", "UpdatePending")


def test_with_update_policy_on_operator_upgrade_it_does():
    sdep = make.serving_deployment(engine={"replicas": 2, "updatePolicy": "OnOperatorUpgrade"})
    first = look(make.cluster(sdep))
    assert deployments(look(make.cluster(sdep, live(first)), engine_image="registry/clara-engine:2")) == [
        "clara-operator"
    ]


def test_scaling_touches_the_number_and_not_the_template():
    first = look(make.cluster(make.serving_deployment()))
    assert deployments(look(make.cluster(make.serving_deployment(engine={"replicas": 3}), live(first)))) == [
        "clara-scale"
    ]


def test_nothing_is_applied_when_nothing_changed():
    first = look(make.cluster(make.serving_deployment()))
    assert deployments(look(make.cluster(make.serving_deployment(), live(first)))) == []


def test_approving_an_adapter_never_changes_the_pod_template():
    first = look(make.cluster(make.serving_deployment())).apply[0].manifest["spec"]["template"]
    assert look(make.cluster(make.serving_deployment(), make.adapter())).apply[0].manifest["spec"]["template"] == first


@pytest.mark.parametrize(
    "argument", ["--lora-modules=x=/etc", "--api-key=x", "--trust-remote-code", "--model=/x", "--middleware=x.Y"]
)
def test_a_reserved_or_unknown_flag_is_refused_by_name(argument: str):
    plan = look(make.cluster(make.serving_deployment(engine={"replicas": 1, "extraArgs": [argument]}, families=[])))
    assert plan.apply == ()
    assert plan.status is not None
    assert plan.status.status["conditions"][0]["type"] in ("AdaptersVerified", "EnginesReady", "Ready")
    top = next(c for c in plan.status.status["conditions"] if c["type"] == "Ready")
    assert top["reason"] == "ExtraArgRefused"
    assert argument.split("=", maxsplit=1)[0] in top["message"]


def test_a_failed_adapter_is_a_problem_and_the_neighbour_counts_on():
    families = [{"name": "steuerrecht", "minEngines": 2}, {"name": "baurecht", "minEngines": 2}]
    wanted = [make.wanted("1.0.0"), make.wanted("1.0.0", family="baurecht")]
    held = [make.held("1.0.0"), make.held("1.0.0", "Failed", family="baurecht", error="changes nothing")]
    sdep = make.serving_deployment(families=families, status=status(serving("1.0.0")))
    plan = look(make.cluster(sdep, make.adapter(), make.adapter(family="baurecht"), *two_engines(wanted, held)))
    assert plan.status is not None
    assert plan.status.status["display"]["adapters"] == "1/2"
    assert {p["subject"] for p in plan.status.status["problems"]} == {make.name_on_engine("1.0.0", "baurecht")}
    assert next(c for c in plan.status.status["conditions"] if c["type"] == "Ready")["reason"] == "AdaptersFailing"
