"""Install → upgrade → rollback → uninstall → install under another name: nothing stuck, nothing of a user's lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import clara_install
import pytest
import yaml

CHART = str(clara_install.ROOT / "helm/clara")
FIRST, SECOND, TENANT = "chart-test-first", "chart-test-second", "chart-test-tenant"
CLUSTER_SCOPED = ("Cluster", "Custom", "Validating", "Namespace")  # how their kinds begin
DIGEST = "sha256:" + "b" * 64
Object = dict[str, Any]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(alone: Any) -> Iterator[Any]:
    for name in (FIRST, SECOND):
        alone.kubectl("create", "namespace", name)
    yield alone
    for release, namespace in (("one", FIRST), ("two", SECOND)):
        alone.helm("uninstall", release, "--namespace", namespace, "--ignore-not-found", "--wait")
    alone.delete_namespaces(FIRST, SECOND, TENANT)


def values(cluster: Any, **changes: Any) -> Object:
    prefix = "volume://clara-artifacts"
    store = {"artifactStore": {"prefix": prefix, "allowedPrefixes": [prefix]}}
    return cluster.values(TENANT, **store, **changes)  # type: ignore[no-any-return]


def golden(name: str) -> Object:
    return clara("GoldenDataset", name, {"family": "recht", "samples": [{"id": "a", "prompt": "p", "reference": "r"}]})


def clara(kind: str, name: str, spec: Object) -> Object:
    return {
        "apiVersion": "clara.vcc.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": TENANT},
        "spec": spec,
    }


BASE = {"name": "tiny", "uri": "volume://clara-artifacts/base", "digest": DIGEST}
JOB = clara(
    "TrainingJob", "run", {"family": "recht", "baseModel": BASE, "data": [{"uri": "volume://clara-artifacts/d.jsonl"}]}
)
ENGINES = clara("ServingDeployment", "engines", {"baseModel": BASE, "families": [{"name": "recht"}]})


def until(look: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:.0f} s"
        time.sleep(0.5)
    return found


def children(cluster: Any) -> dict[str, str]:
    """Jobs, engine Deployments and their pods, by uid and generation: what an upgrade must not touch."""
    found = cluster.get("jobs,deployments,pods", "-n", TENANT, "-l", "app.kubernetes.io/managed-by=clara")["items"]
    return {
        f"{o['kind']}/{o['metadata']['name']}": f"{o['metadata']['uid']}/{o['metadata'].get('generation')}"
        for o in found
    }


def is_ready(cluster: Any, name: str) -> bool:
    conditions = cluster.get("gds", name, "-n", TENANT).get("status", {}).get("conditions", [])
    return any((c["type"], c["status"]) == ("Ready", "True") for c in conditions)


def test_the_server_takes_every_object_of_the_chart(cluster):
    cluster.kubectl("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TENANT}})
    rendered = cluster.helm(
        "template", "one", CHART, "--namespace", FIRST, values=values(cluster, argocd={"healthChecks": True})
    )
    objects = [o for o in yaml.safe_load_all(rendered) if o]
    assert len(objects) > 40
    for obj in objects:
        if not obj["kind"].startswith(CLUSTER_SCOPED):
            obj["metadata"].setdefault("namespace", FIRST)
    everything = {"apiVersion": "v1", "kind": "List", "items": objects}
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", stdin=everything)
    cluster.delete_namespaces(TENANT)


def test_installed_the_operator_and_the_gateway_are_ready_and_work(cluster):
    cluster.helm(
        "install",
        "one",
        CHART,
        "--namespace",
        FIRST,
        "--take-ownership",
        "--wait",
        "--timeout",
        "120s",
        values=values(cluster),
    )
    cluster.create(golden("first"), JOB, ENGINES)
    until(lambda: is_ready(cluster, "first"), "a GoldenDataset becomes Ready")
    until(lambda: {k.split("/")[0] for k in children(cluster)} == {"Job", "Deployment", "Pod"}, "a Job and engines")


def test_an_upgrade_restarts_neither_a_running_job_nor_engines(cluster):
    before = children(cluster)
    changed = values(cluster, operator={"logLevel": "DEBUG"}, engine={"cpu": True, "kvCacheGiB": 2})
    cluster.helm("upgrade", "one", CHART, "--namespace", FIRST, "--wait", "--timeout", "120s", values=changed)
    cluster.create(golden("after-upgrade"))
    until(lambda: is_ready(cluster, "after-upgrade"), "the new operator works")
    assert children(cluster) == before


def test_a_rollback_brings_the_first_revision_back(cluster):
    before = children(cluster)
    cluster.helm("rollback", "one", "1", "--namespace", FIRST, "--wait", "--timeout", "120s")
    env = cluster.get("deployment", "clara-operator", "-n", FIRST)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "CLARA_LOG_LEVEL", "value": "INFO"} in env
    cluster.create(golden("after-rollback"))
    until(lambda: is_ready(cluster, "after-rollback"), "the old operator works")
    assert children(cluster) == before


def test_an_uninstall_keeps_what_people_wrote_and_what_runs(cluster):
    before = children(cluster)
    cluster.helm("uninstall", "one", "--namespace", FIRST, "--wait", "--timeout", "120s")
    assert cluster.get("deployments,services", "-n", FIRST)["items"] == []
    names = {o["metadata"]["name"] for o in cluster.get("gds,tj,sdep", "-n", TENANT)["items"]}
    assert names == {"first", "after-upgrade", "after-rollback", "run", "engines"}
    assert {o["metadata"]["name"] for o in cluster.get("serviceaccounts", "-n", TENANT)["items"]} >= {
        "clara-agent",
        "clara-trainer",
    }
    assert children(cluster) == before


def test_the_policies_still_stand_while_nothing_is_installed(cluster):
    said = cluster.refusal(
        "patch", "gds", "first", "-n", TENANT, "--subresource=status", "--type=merge", "-p", '{"status":{"samples":7}}'
    )
    assert "status is written by Clara's operator only" in said


def test_another_name_is_refused_until_it_takes_ownership_and_then_everything_follows(cluster):
    before = children(cluster)
    where = ("two", CHART, "--namespace", SECOND)
    with pytest.raises(RuntimeError, match="invalid ownership metadata"):
        cluster.helm("install", *where, values=values(cluster))
    cluster.helm("install", *where, "--take-ownership", "--wait", "--timeout", "120s", values=values(cluster))
    cluster.create(golden("second"))
    until(lambda: is_ready(cluster, "second"), "the policies know the new operator")
    (policy,) = [
        p for p in cluster.get("validatingadmissionpolicies")["items"] if p["metadata"]["name"] == "clara-status"
    ]
    assert f"system:serviceaccount:{SECOND}:clara-operator" in policy["spec"]["validations"][0]["expression"]
    assert {k: v for k, v in children(cluster).items() if k in before} == before


def test_a_tenant_namespace_ends_when_the_operator_is_gone(cluster):
    cluster.helm("uninstall", "two", "--namespace", SECOND, "--wait", "--timeout", "120s")
    cluster.delete_namespaces(TENANT)
    assert TENANT not in cluster.namespaces()
