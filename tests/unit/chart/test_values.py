"""Values: documented, checked by a schema, refused with a cure."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

CHART = Path(__file__).resolve().parents[3] / "helm/clara"


def test_the_chart_passes_helms_lint(helm):
    values = ["--set", "watchNamespaces={recht}", "--set", "securityMode=development"]
    done = subprocess.run([helm, "lint", "--strict", str(CHART), *values], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_namespaces_the_install_is_refused_with_the_cure(render, refused):
    with pytest.raises(refused, match="watchNamespaces is empty: list the namespaces"):
        render({"securityMode": "development"})


def test_production_without_keys_is_refused_with_the_cure(render, refused):
    with pytest.raises(refused, match=r"gateway\.keysSecret.*kubectl -n clara-system create secret"):
        render({"watchNamespaces": ["recht"]})


@pytest.mark.parametrize(
    "bad",
    [
        {"watchNamespaces": ["Recht"]},
        {"watchNamespaces": ["recht", "recht"]},
        {"watchNamespaces": "recht"},
        {"securityMode": "off"},
        {"images": {"operator": ""}},
        {"images": {"operatr": "x"}},
        {"artifactStore": {"prefix": "file:///tmp"}},
        {"artifactStore": {"allowedPrefixes": []}},
        {"gateway": {"hostPort": "8080"}},
        {"gateway": {"waitSeconds": 301}},
        {"operator": {"replicas": -1}},
        {"operator": {"logLevel": "LOUD"}},
        {"watchNamespace": ["recht"]},
    ],
    ids=json.dumps,
)
def test_the_schema_refuses_a_bad_value(render, development, refused, bad):
    with pytest.raises(refused, match="values don't meet the specifications of the schema"):
        render(development | bad)


def test_every_value_is_in_the_schema():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    assert set(values) == set(schema) - {"global"}
    for name, group in values.items():
        if isinstance(group, dict):
            assert set(group) == set(schema[name]["properties"]), name


def test_every_value_has_a_comment_above_it():
    lines = (CHART / "values.yaml").read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r"( {2})?[a-zA-Z]", line)]
    assert len(keys) > 40
    assert [lines[n] for n in keys if not lines[n - 1].lstrip().startswith("#")] == []


def test_the_charts_crds_are_the_rendered_ones_and_are_kept(render, development):
    rendered = {o["metadata"]["name"]: o for o in render(development) if o["kind"] == "CustomResourceDefinition"}
    files = sorted((CHART.parents[1] / "crds").glob("clara.vcc.dev_*.yaml"))
    assert len(rendered) == len(files) == 5
    for file in files:
        wanted = yaml.safe_load(file.read_text())
        found = rendered[wanted["metadata"]["name"]]
        assert found["spec"] == wanted["spec"]
        assert found["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    off = render(development | {"crds": {"enabled": False}})
    assert [o for o in off if o["kind"] == "CustomResourceDefinition"] == []


def test_every_policy_fails_closed_is_bound_and_is_kept(everything):
    policies = [o for o in everything if o["kind"] == "ValidatingAdmissionPolicy"]
    bindings = [o for o in everything if o["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert len(policies) == 8
    assert {p["metadata"]["name"] for p in policies} == {b["spec"]["policyName"] for b in bindings}
    assert {p["spec"]["failurePolicy"] for p in policies} == {"Fail"}
    assert all(b["spec"]["validationActions"] == ["Deny"] for b in bindings)
    for kept in [*policies, *bindings]:
        assert kept["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_what_running_pods_stand_on_outlives_an_uninstall(everything):
    needed = {("ServiceAccount", "clara-trainer"), ("ServiceAccount", "clara-agent"), ("Role", "clara-agent"),
              ("RoleBinding", "clara-agent"), ("Namespace", "recht"),
              ("ClusterRoleBinding", "clara-agent-issuer-discovery")}  # fmt: skip
    kept = {
        (o["kind"], o["metadata"]["name"])
        for o in everything
        if o["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    }
    assert needed <= kept
