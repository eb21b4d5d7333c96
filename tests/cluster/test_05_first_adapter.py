"""docs/first-adapter.md, command by command."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import clara_chain as chain
import clara_install
import pytest
from conftest import RECHT

PAGE = clara_install.ROOT / "docs/first-adapter.md"


@pytest.fixture
def afterwards(served: chain.Base) -> Iterator[None]:
    """The page's objects go, the served families stay."""
    yield
    remaining = [{"name": f, "versions": "*", "minEngines": 2} for f in ("steuerrecht", "baurecht")]
    chain.apply(chain.serving_deployment("verwaltung", RECHT, [f["name"] for f in remaining], served))  # type: ignore[misc]
    for kind, name in (("adp", "buergerbuero-1.0.0"), ("tj", "buergerbuero-first"), ("cm", "buergerbuero-rows")):
        clara_install.kubectl("delete", kind, name, "-n", RECHT, "--ignore-not-found")
    (clara_install.ROOT / "rows.jsonl").unlink(missing_ok=True)
    chain.wait_for("sdep", "verwaltung", RECHT, seconds=60)


def test_the_page_leads_from_own_rows_to_an_answer(afterwards: None):
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) >= 6
    script = "set -euo pipefail\n" + "\n".join(blocks)
    done = subprocess.run(
        ["bash", "-c", script], cwd=clara_install.ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "buergerbuero-1.0.0" in done.stdout
    assert "Bürgerbüro" in done.stdout.splitlines()[-1]
