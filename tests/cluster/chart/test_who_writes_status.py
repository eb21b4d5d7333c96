"""Who writes a status, who writes an Engine, and that the policies' expressions fit the schemas."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from chart.people import BASE, OPERATOR, TENANT, Object, adapter, clara, golden


def test_no_policy_holds_an_expression_of_the_wrong_type(policed):
    """The API server checks expressions against the CRDs' schemas and says so in the policy's status."""

    def checked() -> list[Object]:
        found = policed.get("validatingadmissionpolicies", "-l", "app.kubernetes.io/name=clara")["items"]
        return [p for p in found if p.get("status", {}).get("observedGeneration") == p["metadata"]["generation"]]

    deadline = time.monotonic() + 30
    while len(checked()) < 8 and time.monotonic() < deadline:
        time.sleep(0.5)
    warnings = {p["metadata"]["name"]: p["status"].get("typeChecking", {}).get("expressionWarnings") for p in checked()}
    assert len(warnings) >= 8
    assert {name: found for name, found in warnings.items() if found} == {}


@pytest.mark.parametrize("kind", ["adp", "gds", "sdep", "tj"])
def test_a_cluster_admin_cannot_write_a_status_and_the_operator_can(policed, kind):
    made = {
        "adp": adapter("recht-2.0.0"),
        "gds": golden("status-test"),
        "sdep": clara("ServingDeployment", "status-test", {"baseModel": BASE}),
        "tj": clara(
            "TrainingJob", "status-test", {"family": "recht", "baseModel": BASE, "data": [{"uri": "s3://clara/d"}]}
        ),
    }[kind]
    policed.create(made)
    command = ["patch", kind, made["metadata"]["name"], "-n", TENANT, "--subresource=status", "--type=merge"]
    command += ["-p", '{"status":{"observedGeneration":1}}']
    assert f"status is written by Clara's operator only ({OPERATOR})" in policed.refusal(*command)
    assert 'User "bert" cannot' in policed.refusal(*command, "--as=bert")
    policed.kubectl(*command, f"--as={OPERATOR}")


def engine_pod(name: str) -> Object:
    container = {"name": "c", "image": "example/none"}
    spec = {"serviceAccountName": "clara-agent", "containers": [container], "nodeSelector": {"no-such": "node"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": TENANT}, "spec": spec}


@pytest.fixture(scope="module")
def engine(policed: Any) -> str:
    """An Engine owned by its pod, as the operator makes it."""
    policed.create(engine_pod("engine-a"), engine_pod("engine-b"))
    uid = policed.get("pod", "engine-a", "-n", TENANT)["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "engine-a", "uid": uid}
    made = clara(
        "Engine", "engine-a", {"servingDeploymentRef": {"name": "x"}, "baseModel": BASE}, ownerReferences=[owner]
    )
    assert "Engines are written by Clara's operator only" in policed.refusal("create", "-f", "-", stdin=made)
    policed.create(made, user=OPERATOR)
    return "engine-a"


def token(policed: Any, pod: str = "") -> str:
    bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod}"] if pod else []
    return str(policed.kubectl("create", "token", "clara-agent", "-n", TENANT, *bound)).strip()


def report(policed: Any, engine: str, bearer: str) -> list[str]:
    """The patch an agent sends, with nothing but its token."""
    config = policed.folder / "agent.kubeconfig"
    seen = json.loads(policed.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    seen["users"] = [{"name": seen["users"][0]["name"], "user": {"token": bearer}}]
    config.write_text(json.dumps(seen))
    change = '{"status":{"healthy":true}}'
    return [
        f"--kubeconfig={config}",
        "patch",
        "engine",
        engine,
        "-n",
        TENANT,
        "--subresource=status",
        "--type=merge",
        "-p",
        change,
    ]


def test_the_agent_of_the_pod_reports_for_its_engine(policed, engine):
    policed.kubectl(*report(policed, engine, token(policed, "engine-a")))
    assert policed.get("engine", engine, "-n", TENANT)["status"]["healthy"] is True


def test_no_other_pods_agent_no_free_token_and_no_admin_reports_for_it(policed, engine):
    why = "the status of Engine engine-a is written only by the agent of the pod of that name"
    assert why in policed.refusal(*report(policed, engine, token(policed, "engine-b")))
    assert why in policed.refusal(*report(policed, engine, token(policed)))
    assert why in policed.refusal(*report(policed, engine, token(policed))[1:])


def test_nobody_redirects_an_engine_but_the_garbage_collector_may_remove_it(policed, engine):
    said = policed.refusal(
        "patch", "engine", engine, "-n", TENANT, "--type=merge", "-p", '{"spec":{"address":"198.18.0.9:1"}}'
    )
    assert "Engines are written by Clara's operator only" in said
    assert "Engines are written by Clara's operator only" in policed.refusal("delete", "engine", engine, "-n", TENANT)
    policed.kubectl("delete", "pod", "engine-a", "-n", TENANT, "--wait", "--grace-period=0", "--force")
    policed.kubectl("wait", "--for=delete", f"engine/{engine}", "-n", TENANT, "--timeout=60s")
