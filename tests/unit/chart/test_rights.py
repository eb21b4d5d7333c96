"""Least rights: what the roles of the chart give, and what they never give."""

from __future__ import annotations

import pytest
from clara_operator.runtime import resources


def rules(objects, kind, name, namespace=None):
    return [
        rule
        for obj in objects
        if (obj["kind"], obj["metadata"]["name"]) == (kind, name)
        and (namespace is None or obj["metadata"].get("namespace") == namespace)
        for rule in obj["rules"]
    ]


def verbs(found, group, resource):
    return {
        verb
        for rule in found
        if group in rule.get("apiGroups", []) and resource in rule.get("resources", [])
        for verb in rule["verbs"]
    }


def test_no_rule_holds_a_wildcard(everything):
    roles = [obj for obj in everything if obj["kind"] in ("Role", "ClusterRole")]
    assert len(roles) >= 8
    for role in roles:
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], role["metadata"]["name"]


def test_nobody_is_bound_to_a_role_that_clara_does_not_define_but_for_reading_signing_keys(everything):
    own = {obj["metadata"]["name"] for obj in everything if obj["kind"] in ("Role", "ClusterRole")}
    foreign = {
        obj["roleRef"]["name"]
        for obj in everything
        if obj["kind"].endswith("Binding") and "roleRef" in obj and obj["roleRef"]["name"] not in own
    }
    assert foreign == {"system:service-account-issuer-discovery"}


def test_the_operator_may_do_nothing_cluster_wide_but_read_its_crds_and_ask_who_holds_a_token(everything):
    found = rules(everything, "ClusterRole", "clara-operator")
    assert verbs(found, "authentication.k8s.io", "tokenreviews") == {"create"}
    assert verbs(found, "apiextensions.k8s.io", "customresourcedefinitions") == {"get", "list", "watch"}
    assert len(found) == 2
    assert all("resourceNames" in rule for rule in found if "customresourcedefinitions" in rule["resources"])


def test_the_operator_reads_no_secrets_of_tenants(everything):
    found = rules(everything, "Role", "clara-operator", "recht")
    assert found
    assert verbs(found, "", "secrets") == set()
    assert verbs(found, "", "configmaps") == {"create"}


@pytest.mark.parametrize("resource", resources.WATCHED, ids=lambda r: r.kind)
def test_the_operator_may_watch_what_it_watches(everything, resource):
    for namespace in ("recht", "finanzen"):
        found = rules(everything, "Role", "clara-operator", namespace)
        assert {"get", "list", "watch"} <= verbs(found, resource.group, resource.plural)


def test_the_operator_cannot_change_what_people_wrote(everything):
    found = rules(everything, "Role", "clara-operator", "recht")
    for kind in ("adapters", "goldendatasets", "servingdeployments", "trainingjobs"):
        assert verbs(found, "clara.vcc.dev", kind) & {"update", "patch", "delete"} == set()


def test_the_trainer_has_no_rights_and_no_token(everything):
    bound = [s["name"] for obj in everything if "subjects" in obj for s in obj["subjects"]]
    assert bound
    assert "clara-trainer" not in bound
    accounts = [obj for obj in everything if obj["kind"] == "ServiceAccount" and "namespace" in obj["metadata"]]
    assert {a["metadata"]["name"] for a in accounts} == {"clara-trainer", "clara-agent"}
    assert all(a["automountServiceAccountToken"] is False for a in accounts)


def test_the_agent_and_the_gateway_write_nothing_but_the_agents_own_report(everything):
    agent = rules(everything, "Role", "clara-agent", "recht")
    assert verbs(agent, "clara.vcc.dev", "engines") == {"get", "list", "watch"}
    assert verbs(agent, "clara.vcc.dev", "engines/status") == {"get", "patch"}
    assert len(agent) == 2
    gateway = rules(everything, "Role", "clara-gateway", "recht")
    assert [(r["resources"], r["verbs"]) for r in gateway] == [
        (["engines", "servingdeployments"], ["get", "list", "watch"])
    ]


def test_neither_edit_nor_the_user_role_may_write_status_or_approve(everything):
    for role in ("clara-user", "clara-viewer"):
        named = {r for rule in rules(everything, "ClusterRole", role) for r in rule["resources"]}
        assert named
        assert [r for r in named if "/" in r] == []
    reviewer = rules(everything, "ClusterRole", "clara-reviewer")
    assert verbs(reviewer, "clara.vcc.dev", "adapters/approval") == {"update"}
    (labels,) = [o["metadata"]["labels"] for o in everything if o["metadata"]["name"] == "clara-reviewer"]
    assert not [key for key in labels if "aggregate" in key]
