"""docs/training.md, command by command."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import clara_chain as chain
import clara_install
import pytest
from conftest import RECHT

PAGE = clara_install.ROOT / "docs/training.md"


@pytest.fixture
def afterwards(served: chain.Base) -> Iterator[None]:
    """The page's objects go."""
    yield
    for kind, name in (("adp", "formulare-1.0.0"), ("tj", "formulare-dora"), ("cm", "formulare")):
        clara_install.kubectl("delete", kind, name, "-n", RECHT, "--ignore-not-found")
    (clara_install.ROOT / "rows.jsonl").unlink(missing_ok=True)


def test_the_page_leads_from_a_dry_run_to_the_same_bits_twice(afterwards: None):
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) >= 3
    script = "set -euo pipefail\n" + "\n".join(blocks)
    done = subprocess.run(
        ["bash", "-c", script], cwd=clara_install.ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert '"secondsPerStep"' in done.stdout
    assert "formulare-1.0.0" in done.stdout
    assert "bit-identical: sha256:" in done.stdout.splitlines()[-1]
