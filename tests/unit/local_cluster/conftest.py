"""The driver is no installed package: it must run before any virtual environment exists."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "hack" / "local-cluster"
sys.path.insert(0, str(SOURCE))

from local_cluster.settings import Settings, read_settings  # noqa: E402


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of a checkout in a temporary folder."""
    return read_settings({"CLARA_CACHE": str(tmp_path / "cache")}, tmp_path / "clara" / "hack" / "local-cluster")
