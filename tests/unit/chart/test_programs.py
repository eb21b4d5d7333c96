"""The chart and the programs agree: environment, probes, ports, and pods that the restricted profile admits."""

from __future__ import annotations

from pathlib import Path

import pytest
from clara_gateway.settings import Settings as GatewaySettings
from clara_operator.certificates import NAME as PROGRESS
from clara_operator.settings import Settings as OperatorSettings


def deployment(objects, name):
    (found,) = [o for o in objects if (o["kind"], o["metadata"]["name"]) == ("Deployment", name)]
    return found["spec"]["template"]["spec"]


def environment(pod):
    (container,) = pod["containers"]
    return {e["name"]: e.get("value", "from-the-pod") for e in container["env"]}


def test_the_operator_understands_every_variable_it_is_given(render, development, monkeypatch):
    variables = environment(deployment(render(development), "clara-operator"))
    fields = {f"CLARA_{name.upper()}" for name in OperatorSettings.model_fields}
    assert sorted(set(variables) - fields) == []
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = OperatorSettings()
    assert settings.watch_namespaces == ("recht", "finanzen")
    assert settings.gateway_identity == "system:serviceaccount:clara-system:clara-gateway"
    assert settings.allowed_prefixes == ("volume://clara-artifacts",)


def test_the_gateway_understands_every_variable_it_is_given(render, development, monkeypatch):
    for name in GatewaySettings.model_fields:
        monkeypatch.delenv(f"CLARA_GATEWAY_{name.upper()}", raising=False)
    values = development | {
        "securityMode": "production",
        "gateway": {"keysSecret": "keys", "defaultNamespace": "recht"},
    }
    before = GatewaySettings()
    for name, value in environment(deployment(render(values), "clara-gateway")).items():
        monkeypatch.setenv(name, value)
        assert name.startswith("CLARA_")
    settings = GatewaySettings()
    assert before.watch_namespaces == ()
    assert settings.watch_namespaces == ("recht", "finanzen")
    assert settings.default_namespace == "recht"
    assert settings.security_mode == "production"
    assert settings.keys_dir == Path("/clara/keys")
    assert settings.engine_token_file == Path("/clara/engine-token/token")


def test_an_unset_default_namespace_is_none_and_not_empty(render, development, monkeypatch):
    for name, value in environment(deployment(render(development), "clara-gateway")).items():
        monkeypatch.setenv(name, value)
    assert GatewaySettings().default_namespace is None


@pytest.mark.parametrize("name", ["clara-operator", "clara-gateway"])
def test_pods_conform_to_the_restricted_profile_with_a_read_only_root(everything, name):
    pod = deployment(everything, name)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all(set(v) & {"emptyDir", "projected", "secret"} for v in pod["volumes"])
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert {"livenessProbe", "readinessProbe"} <= set(container)


def test_a_port_on_the_node_is_bound_to_its_loopback_only(render, development):
    pod = deployment(render(development | {"gateway": {"hostPort": 8080}}), "clara-gateway")
    assert [(p.get("hostPort"), p.get("hostIP")) for p in pod["containers"][0]["ports"]] == [
        (8080, "127.0.0.1"),
        (None, None),
    ]


def test_the_progress_service_has_no_selector_because_the_leader_writes_its_endpoints(everything):
    (service,) = [o for o in everything if (o["kind"], o["metadata"]["name"]) == ("Service", PROGRESS)]
    assert "selector" not in service["spec"]
    assert [p["port"] for p in service["spec"]["ports"]] == [8443]


def test_more_than_one_replica_brings_a_disruption_budget_and_spreads_over_nodes(everything, render, development):
    budgets = {o["metadata"]["name"]: o["spec"] for o in everything if o["kind"] == "PodDisruptionBudget"}
    assert set(budgets) == {"clara-operator", "clara-gateway"}
    assert "topologySpreadConstraints" in deployment(everything, "clara-operator")
    assert "topologySpreadConstraints" in deployment(everything, "clara-gateway")
    assert [o for o in render(development) if o["kind"] == "PodDisruptionBudget"] == []


def test_network_policies_let_only_the_gateway_reach_vllm(everything):
    found = [o for o in everything if (o["kind"], o["metadata"]["name"]) == ("NetworkPolicy", "clara-engine")]
    assert {o["metadata"]["namespace"] for o in found} == {"recht", "finanzen"}
    for policy in found:
        to_vllm = [rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == "http"]
        assert [rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for rule in to_vllm] == [
            "gateway"
        ]
