"""Installations of the chart in namespaces of their own, on a cluster that has no other one meanwhile.

Policies, roles and CRDs belong to the cluster, so two installations cannot live beside each other. One that is there may be in
somebody's use: the tests replace it for a while, and bring it back with its own values, only with CLARA_TESTS_MAY_REPLACE=1.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clara_install
import pytest
from chart.people import SYSTEM, TENANT

Object = dict[str, Any]
CHART = str(clara_install.ROOT / "helm/clara")
OWN = "chart-test-"  # namespaces of these tests


class Cluster:
    """helm and kubectl with one environment."""

    def __init__(self, folder: Path) -> None:
        self.env = clara_install.environment()
        self.folder = folder

    def kubectl(self, *arguments: str, stdin: Object | str | None = None) -> str:
        """What kubectl printed; RuntimeError with its own words."""
        text = json.dumps(stdin) if isinstance(stdin, dict) else stdin
        return clara_install.kubectl(*arguments, stdin=text, env=self.env)

    def get(self, *arguments: str) -> Any:
        """An object or a list of them."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def create(self, *manifests: Object, user: str = "") -> None:
        """kubectl create, as somebody."""
        for manifest in manifests:
            self.kubectl("create", "-f", "-", *([f"--as={user}"] if user else []), stdin=manifest)

    def refusal(self, *arguments: str, stdin: Object | None = None) -> str:
        """The words with which the API server refused; AssertionError when it did not."""
        try:
            answer = self.kubectl(*arguments, stdin=stdin)
        except RuntimeError as error:
            return str(error)
        raise AssertionError(f"kubectl {' '.join(arguments)} was allowed: {answer}")

    def helm(self, verb: str, *arguments: str, values: Object | None = None) -> str:
        """helm with a values file."""
        file = self.folder / "values.json"
        file.write_text(json.dumps(values or {}))
        more = ("--values", str(file)) if values is not None else ()
        return clara_install.run("helm", verb, *arguments, *more, env=self.env)

    def values(self, *namespaces: str, **changes: Any) -> Object:
        """Development values, without a port on the node: another gateway may hold it."""
        found = clara_install.values(namespaces, self.env)
        return found | {"gateway": {"hostPort": 0}, "createNamespaces": True} | changes

    def namespaces(self) -> set[str]:
        """Their names."""
        return {n["metadata"]["name"] for n in self.get("namespaces")["items"]}

    def delete_namespaces(self, *names: str) -> None:
        """And wait until they are gone."""
        if names:
            self.kubectl("delete", "namespace", *names, "--ignore-not-found", "--wait", "--timeout=120s")


@pytest.fixture(scope="package")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without an installation of Clara, but for those the tests make."""
    cluster = Cluster(tmp_path_factory.mktemp("helm"))
    leftover = [name for name in cluster.namespaces() if name.startswith(OWN)]  # of a run that was interrupted
    before = []
    for release in json.loads(cluster.helm("list", "-A", "-o", "json")):
        where = (release["name"], "--namespace", release["namespace"])
        if not release["chart"].startswith("clara-"):
            continue
        if release["namespace"] not in leftover:
            may_replace(release)
            before.append((where, json.loads(cluster.helm("get", "values", *where, "-o", "json"))))
        cluster.helm("uninstall", *where)
    cluster.delete_namespaces(*leftover)
    yield cluster
    for where, values in before:
        # Other tests may have installed it meanwhile, for their own tenants; what was there comes back as it was.
        cluster.helm("upgrade", "--install", where[0], CHART, *where[1:], "--take-ownership", values=values)


def may_replace(release: Object) -> None:
    """Fail with the choice a person has."""
    if os.environ.get("CLARA_TESTS_MAY_REPLACE") != "1":
        pytest.fail(
            f"Clara is installed as {release['name']} in {release['namespace']}, and somebody may be using it. These tests need "
            "a cluster without: set CLARA_TESTS_MAY_REPLACE=1 to have it replaced for some minutes and brought back"
        )


@pytest.fixture(scope="package")
def had_policies(alone: Cluster) -> bool:
    """Whether policies of an earlier installation were there; otherwise the tests leave none."""
    return bool(alone.get("validatingadmissionpolicies", "-l", "app.kubernetes.io/name=clara")["items"])


@pytest.fixture(scope="package")
def policed(alone: Cluster, had_policies: bool) -> Iterator[Cluster]:
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
