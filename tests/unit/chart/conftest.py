"""The chart, rendered by helm into objects."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "helm/clara"
DEVELOPMENT: dict[str, Any] = {"watchNamespaces": ["recht", "finanzen"], "securityMode": "development"}
EVERYTHING: dict[str, Any] = DEVELOPMENT | {
    "createNamespaces": True,
    "operator": {"replicas": 2},
    "gateway": {"replicas": 3},
    "serviceMonitor": {"enabled": True},
    "argocd": {"healthChecks": True},
}
Objects = list[dict[str, Any]]
Render = Callable[..., Objects]


class RefusedError(Exception):
    """helm's own words."""


@pytest.fixture(scope="session")
def helm() -> str:
    """The cluster's helm, or the one on PATH."""
    found = shutil.which("helm", path=str(ROOT / ".cluster/bin")) or shutil.which("helm")
    if not found:
        pytest.fail("there is no helm: 'make cluster-up' builds it, or put it on PATH")
    return found


@pytest.fixture(scope="session")
def render(helm: str, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """`render(values)` gives the objects of an installation named clara in clara-system; RefusedError otherwise."""
    folder = tmp_path_factory.mktemp("values")
    known: dict[str, Objects] = {}

    def rendered(values: dict[str, Any]) -> Objects:
        text = json.dumps(values)
        if text not in known:
            file = folder / f"{len(known)}.json"
            file.write_text(text)
            command = [helm, "template", "clara", str(CHART), "--namespace", "clara-system", "--values", str(file)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RefusedError(done.stderr)
            known[text] = [obj for obj in yaml.safe_load_all(done.stdout) if obj]
        return known[text]

    return rendered


@pytest.fixture(scope="session")
def everything(render: Render) -> Objects:
    """The objects with every switch on."""
    return render(EVERYTHING)


@pytest.fixture
def development() -> dict[str, Any]:
    """The smallest values that render."""
    return json.loads(json.dumps(DEVELOPMENT))  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def refused() -> type[RefusedError]:
    """What `render` raises."""
    return RefusedError
