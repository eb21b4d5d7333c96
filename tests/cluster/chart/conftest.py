"""Installations of the chart in namespaces of their own, on a cluster that has no other one meanwhile.

Policies and CRDs belong to the cluster, so two installations cannot live beside each other: one that is there is uninstalled
first, and brought back with its own values at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clara_install
import pytest

Object = dict[str, Any]
CHART = str(clara_install.ROOT / "helm/clara")


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

    def delete_namespaces(self, *names: str) -> None:
        """And wait until they are gone."""
        self.kubectl("delete", "namespace", *names, "--ignore-not-found", "--wait", "--timeout=120s")


@pytest.fixture(scope="package")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without an installation of Clara, but for those the tests make."""
    cluster = Cluster(tmp_path_factory.mktemp("helm"))
    there = json.loads(cluster.helm("list", "-A", "--all", "-o", "json", "--filter", "^clara$"))
    before = []
    for release in there:
        where = (release["name"], "--namespace", release["namespace"])
        before.append((where, json.loads(cluster.helm("get", "values", *where, "-o", "json"))))
        cluster.helm("uninstall", *where, "--wait")
    yield cluster
    for where, values in before:
        cluster.helm("install", where[0], CHART, *where[1:], "--take-ownership", values=values)


@pytest.fixture(scope="package")
def had_policies(alone: Cluster) -> bool:
    """Whether policies of an earlier installation were there; otherwise the tests leave none."""
    return bool(alone.get("validatingadmissionpolicies", "-l", "app.kubernetes.io/name=clara")["items"])
