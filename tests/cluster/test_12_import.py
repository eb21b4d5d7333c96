"""Every object is lost: the store brings them back, and nothing is evaluated again."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import clara_chain as chain
import clara_install
import clara_store
import pytest
from clara_install import kubectl
from clara_store import BUCKET
from conftest import FINANZEN

NAME = "steuerrecht-1.2.0"  # judged by a judge that is away again


def stored() -> dict[str, str]:
    """Every object of the namespace in the store, and when it was written."""
    client = clara_store.s3(clara_install.environment())
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"adapters/{FINANZEN}/")
    return {o["Key"]: o["LastModified"].isoformat() for page in pages for o in page.get("Contents", [])}


@pytest.fixture(scope="module")
def before(kasse: chain.Base) -> dict[str, Any]:
    """The Adapter and the store's reports, as they were before everything went."""
    adapter = chain.wait_for("adp", NAME, FINANZEN, seconds=60)
    names = kubectl("get", "adp", "-n", FINANZEN, "-o", "name").split()
    manifests = [chain.get(kind, name, FINANZEN) for kind, name in (("gds", "mit-richter"), ("sdep", "kasse"))]
    reports = {k: v for k, v in stored().items() if "/evaluations/" in k}
    kubectl("delete", "sdep,adp,tj,gds", "--all", "-n", FINANZEN, "--wait", "--timeout=120s")
    for manifest in manifests:
        assert manifest is not None
        manifest["metadata"] = {k: manifest["metadata"][k] for k in ("name", "namespace")}
        chain.apply({k: v for k, v in manifest.items() if k != "status"})
    return {"adapter": adapter, "reports": reports, "names": names}


def test_the_import_brings_every_adapter_back(before: dict[str, Any]):
    plugin = clara_install.ROOT / ".venv/bin/kubectl-clara"
    env = {**os.environ, **clara_install.environment()}
    done = subprocess.run(
        [str(plugin), "import", "-n", FINANZEN], capture_output=True, text=True, check=False, env=env, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert f"{NAME}: created" in done.stdout
    assert set(before["names"]) <= set(kubectl("get", "adp", "-n", FINANZEN, "-o", "name").split())
    again = subprocess.run(
        [str(plugin), "import", "-n", FINANZEN], capture_output=True, text=True, check=False, env=env, timeout=300
    )
    assert f"{NAME}: there already" in again.stdout, again.stderr


def test_nothing_is_evaluated_again_and_the_decision_is_the_same(before: dict[str, Any]):
    back = chain.wait_for("adp", NAME, FINANZEN, seconds=300)
    old, new = before["adapter"]["status"], back["status"]
    assert new["evaluation"]["adopted"] is True
    for field in ("score", "reportUri", "reportDigest", "goldenDatasetDigest"):
        assert new["evaluation"][field] == old["evaluation"][field]
    assert new["decision"]["outcome"] == old["decision"]["outcome"] == "Approved"
    assert {k: v for k, v in stored().items() if "/evaluations/" in k} == before["reports"]


def test_what_a_person_approved_is_approved_again_under_that_name(before: dict[str, Any]):
    back = chain.wait_for("adp", "baurecht-1.1.0", FINANZEN, seconds=180)
    assert back["status"]["decision"]["by"] == chain.whoami()
    assert "Bauamt" in chain.ask(f"{FINANZEN}/baurecht", "Wann darf im Außenbereich gebaut werden?").text
