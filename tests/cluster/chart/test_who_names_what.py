"""Nobody makes Clara read in their place what they may not read themselves."""

from __future__ import annotations

from typing import Any

import pytest
from chart.people import BASE, DIGEST, OPERATOR, TENANT, adapter, approval, clara, golden, patch, training_job


def allow(policed: Any, user: str, resource: str, name: str) -> None:
    role = f"{user}-{resource}-{name}"
    policed.kubectl(
        "create", "role", role, "-n", TENANT, "--verb=get", f"--resource={resource}", f"--resource-name={name}"
    )
    policed.kubectl("create", "rolebinding", role, "-n", TENANT, f"--role={role}", f"--user={user}")


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
def test_nobody_names_what_the_own_rights_do_not_let_them_read(policed, resource, name, made):
    said = policed.refusal("create", "--as=dora", "-f", "-", stdin=made)
    assert "user dora may not get one of the" in said
    assert name in said
    allow(policed, "dora", resource, name)
    policed.create(made, user="dora")


def test_an_annotation_that_leads_evaluation_to_a_claim_is_a_reference_too(policed):
    made = adapter("recht-3.1.0")
    made["metadata"]["annotations"] = {"clara.vcc.dev/base-uri": "volume://secret-models/b"}
    assert "secret-models" in policed.refusal("create", "--as=dora", "-f", "-", stdin=made)
    del made["metadata"]["annotations"]
    policed.create(made, user="dora")
    late = [
        "annotate",
        "adp",
        "recht-3.1.0",
        "-n",
        TENANT,
        "clara.vcc.dev/base-uri=volume://secret-models/b",
        "--as=dora",
    ]
    assert "secret-models" in policed.refusal(*late)


def test_nobody_sends_anothers_secret_to_a_judge_of_their_own(policed):
    policed.kubectl("create", "rolebinding", "emil", "-n", TENANT, "--clusterrole=clara-user", "--user=emil")
    allow(policed, "dora", "secrets", "her-key")
    policed.create(golden("hers", endpoint="http://j/v1", model="m", secretRef={"name": "her-key"}), user="dora")
    said = policed.refusal(*patch("hers", "emil", {"judge": {"endpoint": "http://emil/v1"}}, kind="gds"))
    assert "user emil may not get one of the Secrets named here: her-key" in said
    policed.kubectl("label", "gds", "hers", "-n", TENANT, "--as=emil", "note=seen")


def test_a_reviewer_approves_an_adapter_that_lies_in_a_claim_they_may_not_read(policed):
    made = adapter("recht-4.0.0", artifact={"uri": "volume://hidden/a/", "digest": DIGEST})
    policed.create(made, user=OPERATOR)
    policed.kubectl(*patch("recht-4.0.0", "anna", {"approval": approval("anna")}))
