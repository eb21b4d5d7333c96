"""The layout the README promises, and the traps it must not fall into."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_nothing_shadows_pythons_own_operator():
    assert not (ROOT / "operator.py").exists()
    for folder in ("crds", "operator", "trainer", "server", "hack", "tests"):
        assert not (ROOT / folder / "__init__.py").exists(), f"{folder}/__init__.py would make an import root of it"
    subprocess.run([sys.executable, "-c", "from operator import attrgetter"], cwd=ROOT, check=True)


def test_every_path_of_the_readmes_tree_exists():
    tree = re.search(r"## What is where\n\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert tree is not None
    paths = [line.split()[0] for line in tree[1].splitlines() if line.strip()]
    assert len(paths) > 10
    assert [p for p in paths if not (ROOT / p).exists()] == []


def test_every_path_of_the_architecture_page_exists():
    text = (ROOT / "docs/architecture.md").read_text()
    paths = re.findall(r"`((?:crds|operator|trainer|server|helm|docs|tests)/[\w./-]+)`", text)
    assert len(paths) > 10
    assert [p for p in paths if not (ROOT / p).exists()] == []


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\(([\w./-]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_spec_field_is_read_somewhere():
    """A field enters the CRD in the commit that makes it work."""
    sys.path.insert(0, str(ROOT / "crds"))
    from clara_api.kinds import KINDS

    folders = [ROOT / p for p in ("operator", "trainer", "server", "crds/clara_api/handoff")]
    sources = "\n".join(f.read_text() for folder in folders for f in folder.rglob("*.py"))
    unread = []
    for kind in KINDS:
        for name, field in kind.spec.model_fields.items():
            if not re.search(rf"\b{name}\b|\"{field.alias}\"", sources):
                unread.append(f"{kind.kind}.spec.{field.alias}")
    assert unread == []
