"""Who may do what: the admission policies, proven with people and tokens on a real API server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import clara_install
import pytest

CHART = str(clara_install.ROOT / "helm/clara")
SYSTEM, TENANT = "chart-test-policies", "chart-test-people"
OPERATOR = f"system:serviceaccount:{SYSTEM}:clara-operator"
DIGEST = "sha256:" + "a" * 64
BASE = {"name": "tiny", "uri": "s3://clara/models/tiny", "digest": DIGEST}
Object = dict[str, Any]


@pytest.fixture(scope="module")
def cluster(alone: Any, had_policies: bool) -> Iterator[Any]:
    """The chart without pods, and people: anna reviews, bert edits, dora only uses Clara."""
    alone.kubectl("create", "namespace", SYSTEM)
    nobody = {"operator": {"replicas": 0}, "gateway": {"replicas": 0, "hostPort": 0}}
    alone.helm(
        "install", "policies", CHART, "--namespace", SYSTEM, "--take-ownership", values=alone.values(TENANT, **nobody)
    )
    for person, role in (("anna", "clara-reviewer"), ("bert", "edit"), ("dora", "clara-user")):
        alone.kubectl("create", "rolebinding", person, "-n", TENANT, f"--clusterrole={role}", f"--user={person}")
    yield alone
    alone.delete_namespaces(TENANT)
    alone.helm("uninstall", "policies", "--namespace", SYSTEM)
    alone.delete_namespaces(SYSTEM)
    if not had_policies:
        for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            alone.kubectl("delete", kind, "-l", "app.kubernetes.io/name=clara")


def clara(kind: str, name: str, spec: Object, **metadata: Any) -> Object:
    meta = {"name": name, "namespace": TENANT} | metadata
    return {"apiVersion": "clara.vcc.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}


def adapter(name: str, **spec: Any) -> Object:
    version = name.rsplit("-", 1)[1]
    artifact = {"uri": "s3://clara/adapters/x/", "digest": DIGEST}
    base = {"name": "tiny", "digest": DIGEST}
    return clara(
        "Adapter", name, {"family": "recht", "version": version, "baseModel": base, "artifact": artifact} | spec
    )


def golden(name: str, **judge: Any) -> Object:
    spec: Object = {"family": "recht", "samples": [{"id": "a", "prompt": "p", "reference": "r"}]}
    return clara("GoldenDataset", name, spec | ({"judge": judge} if judge else {}))


def approval(by: str, decision: str = "Approved") -> Object:
    return {"decision": decision, "by": by, "reason": "checked"}


def patch(name: str, user: str, spec: Object, kind: str = "adp") -> list[str]:
    return ["patch", kind, name, "-n", TENANT, f"--as={user}", "--type=merge", "-p", json.dumps({"spec": spec})]


def test_no_policy_holds_an_expression_of_the_wrong_type(cluster):
    """The API server checks expressions against the CRDs' schemas and says so in the policy's status."""

    def checked() -> list[Object]:
        found = cluster.get("validatingadmissionpolicies", "-l", "app.kubernetes.io/name=clara")["items"]
        return [p for p in found if p.get("status", {}).get("observedGeneration") == p["metadata"]["generation"]]

    deadline = time.monotonic() + 30
    while len(checked()) < 8 and time.monotonic() < deadline:
        time.sleep(0.5)
    warnings = {p["metadata"]["name"]: p["status"].get("typeChecking", {}).get("expressionWarnings") for p in checked()}
    assert len(warnings) >= 8
    assert {name: found for name, found in warnings.items() if found} == {}


# -- approval ---------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def waiting(cluster: Any) -> str:
    cluster.create(adapter("recht-1.0.0"), user=OPERATOR)
    return "recht-1.0.0"


def test_a_user_without_the_right_cannot_approve_and_is_told_which_right(cluster, waiting):
    said = cluster.refusal(*patch(waiting, "bert", {"approval": approval("bert")}))
    assert "user bert may not decide: it needs the verb update on adapters/approval" in said
    assert "clara-reviewer" in said


def test_a_reviewer_cannot_approve_in_another_name_and_is_told_the_own(cluster, waiting):
    said = cluster.refusal(*patch(waiting, "anna", {"approval": approval("chief")}))
    assert "spec.approval.by must be your own user name: write anna" in said


def test_nobody_smuggles_an_approval_in_with_a_new_adapter(cluster):
    said = cluster.refusal("create", "--as=dora", "-f", "-", stdin=adapter("recht-9.0.0", approval=approval("dora")))
    assert "user dora may not decide" in said


def test_not_even_the_operator_approves(cluster):
    said = cluster.refusal(
        "create", f"--as={OPERATOR}", "-f", "-", stdin=adapter("recht-9.0.1", approval=approval(OPERATOR))
    )
    assert "may not decide" in said


def test_the_right_person_approves_and_nobody_else_takes_it_back(cluster, waiting):
    cluster.kubectl(*patch(waiting, "anna", {"approval": approval("anna")}))
    assert "user bert may not decide" in cluster.refusal(*patch(waiting, "bert", {"approval": None}))
    cluster.kubectl("label", "adp", waiting, "-n", TENANT, "--as=bert", "note=seen")
    cluster.kubectl(*patch(waiting, "anna", {"approval": None}))


# -- status and engines -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["adp", "gds", "sdep", "tj"])
def test_a_cluster_admin_cannot_write_a_status_and_the_operator_can(cluster, kind):
    made = {
        "adp": adapter("recht-2.0.0"),
        "gds": golden("status-test"),
        "sdep": clara("ServingDeployment", "status-test", {"baseModel": BASE}),
        "tj": clara(
            "TrainingJob", "status-test", {"family": "recht", "baseModel": BASE, "data": [{"uri": "s3://clara/d"}]}
        ),
    }[kind]
    cluster.create(made)
    command = ["patch", kind, made["metadata"]["name"], "-n", TENANT, "--subresource=status", "--type=merge"]
    command += ["-p", '{"status":{"observedGeneration":1}}']
    assert f"status is written by Clara's operator only ({OPERATOR})" in cluster.refusal(*command)
    assert 'User "bert" cannot' in cluster.refusal(*command, "--as=bert")
    cluster.kubectl(*command, f"--as={OPERATOR}")


def engine_pod(name: str) -> Object:
    container = {"name": "c", "image": "example/none"}
    spec = {"serviceAccountName": "clara-agent", "containers": [container], "nodeSelector": {"no-such": "node"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": TENANT}, "spec": spec}


@pytest.fixture(scope="module")
def engine(cluster: Any) -> str:
    """An Engine owned by its pod, as the operator makes it."""
    cluster.create(engine_pod("engine-a"), engine_pod("engine-b"))
    uid = cluster.get("pod", "engine-a", "-n", TENANT)["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "engine-a", "uid": uid}
    made = clara(
        "Engine", "engine-a", {"servingDeploymentRef": {"name": "x"}, "baseModel": BASE}, ownerReferences=[owner]
    )
    assert "Engines are written by Clara's operator only" in cluster.refusal("create", "-f", "-", stdin=made)
    cluster.create(made, user=OPERATOR)
    return "engine-a"


def token(cluster: Any, pod: str = "") -> str:
    bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod}"] if pod else []
    return str(cluster.kubectl("create", "token", "clara-agent", "-n", TENANT, *bound)).strip()


def report(cluster: Any, engine: str, bearer: str) -> list[str]:
    """The patch an agent sends, with nothing but its token."""
    config = cluster.folder / "agent.kubeconfig"
    seen = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
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


def test_the_agent_of_the_pod_reports_for_its_engine(cluster, engine):
    cluster.kubectl(*report(cluster, engine, token(cluster, "engine-a")))
    assert cluster.get("engine", engine, "-n", TENANT)["status"]["healthy"] is True


def test_no_other_pods_agent_no_free_token_and_no_admin_reports_for_it(cluster, engine):
    why = "the status of Engine engine-a is written only by the agent of the pod of that name"
    assert why in cluster.refusal(*report(cluster, engine, token(cluster, "engine-b")))
    assert why in cluster.refusal(*report(cluster, engine, token(cluster)))
    assert why in cluster.refusal(*report(cluster, engine, token(cluster))[1:])


def test_nobody_redirects_an_engine_but_the_garbage_collector_may_remove_it(cluster, engine):
    said = cluster.refusal(
        "patch", "engine", engine, "-n", TENANT, "--type=merge", "-p", '{"spec":{"address":"198.18.0.9:1"}}'
    )
    assert "Engines are written by Clara's operator only" in said
    assert "Engines are written by Clara's operator only" in cluster.refusal("delete", "engine", engine, "-n", TENANT)
    cluster.kubectl("delete", "pod", "engine-a", "-n", TENANT, "--wait", "--grace-period=0", "--force")
    cluster.kubectl("wait", "--for=delete", f"engine/{engine}", "-n", TENANT, "--timeout=60s")


# -- references -------------------------------------------------------------------------------------------------------
def allow(cluster: Any, user: str, resource: str, name: str) -> None:
    role = f"{user}-{resource}-{name}"
    cluster.kubectl(
        "create", "role", role, "-n", TENANT, "--verb=get", f"--resource={resource}", f"--resource-name={name}"
    )
    cluster.kubectl("create", "rolebinding", role, "-n", TENANT, f"--role={role}", f"--user={user}")


def training_job(name: str, **spec: Any) -> Object:
    return clara("TrainingJob", name, {"family": "recht", "baseModel": BASE, "data": [{"uri": "s3://clara/d"}]} | spec)


VOLUME = "volume://claim/base"
REFERENCES = [
    ("secrets", "judge-key", golden("ref", endpoint="http://j/v1", model="m", secretRef={"name": "judge-key"})),
    ("configmaps", "rows", training_job("ref-map", data=[{"configMap": {"name": "rows", "key": "a"}}])),
    ("secrets", "pull", training_job("ref-pull", scheduling={"imagePullSecrets": [{"name": "pull"}]})),
    ("persistentvolumeclaims", "claim", training_job("ref-base", baseModel=BASE | {"uri": VOLUME})),
    ("persistentvolumeclaims", "rows", training_job("ref-rows", data=[{"uri": "volume://rows/d.jsonl"}])),
    (
        "secrets",
        "engine-pull",
        clara(
            "ServingDeployment",
            "ref-pull",
            {"baseModel": BASE, "engine": {"scheduling": {"imagePullSecrets": [{"name": "engine-pull"}]}}},
        ),
    ),
    (
        "persistentvolumeclaims",
        "served",
        clara("ServingDeployment", "ref", {"baseModel": BASE | {"uri": "volume://served/b"}}),
    ),
    (
        "persistentvolumeclaims",
        "brought",
        adapter("recht-3.0.0", artifact={"uri": "volume://brought/a/", "digest": DIGEST}),
    ),
]


@pytest.mark.parametrize(
    ("resource", "name", "made"), REFERENCES, ids=lambda v: v["kind"] if isinstance(v, dict) else v
)
def test_nobody_names_what_the_own_rights_do_not_let_them_read(cluster, resource, name, made):
    said = cluster.refusal("create", "--as=dora", "-f", "-", stdin=made)
    assert "user dora may not get one of the" in said
    assert name in said
    allow(cluster, "dora", resource, name)
    cluster.create(made, user="dora")


def test_an_annotation_that_leads_evaluation_to_a_claim_is_a_reference_too(cluster):
    made = adapter("recht-3.1.0")
    made["metadata"]["annotations"] = {"clara.vcc.dev/base-uri": "volume://secret-models/b"}
    assert "secret-models" in cluster.refusal("create", "--as=dora", "-f", "-", stdin=made)
    del made["metadata"]["annotations"]
    cluster.create(made, user="dora")
    late = [
        "annotate",
        "adp",
        "recht-3.1.0",
        "-n",
        TENANT,
        "clara.vcc.dev/base-uri=volume://secret-models/b",
        "--as=dora",
    ]
    assert "secret-models" in cluster.refusal(*late)


def test_nobody_sends_anothers_secret_to_a_judge_of_their_own(cluster):
    cluster.kubectl("create", "rolebinding", "emil", "-n", TENANT, "--clusterrole=clara-user", "--user=emil")
    allow(cluster, "dora", "secrets", "her-key")
    cluster.create(golden("hers", endpoint="http://j/v1", model="m", secretRef={"name": "her-key"}), user="dora")
    said = cluster.refusal(*patch("hers", "emil", {"judge": {"endpoint": "http://emil/v1"}}, kind="gds"))
    assert "user emil may not get one of the Secrets named here: her-key" in said
    cluster.kubectl("label", "gds", "hers", "-n", TENANT, "--as=emil", "note=seen")


def test_a_reviewer_approves_an_adapter_that_lies_in_a_claim_they_may_not_read(cluster):
    made = adapter("recht-4.0.0", artifact={"uri": "volume://hidden/a/", "digest": DIGEST})
    cluster.create(made, user=OPERATOR)
    cluster.kubectl(*patch("recht-4.0.0", "anna", {"approval": approval("anna")}))
