"""The base model arrives with its digest proven, or the pod says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from clara_agent.base import fetch_base
from clara_agent.settings import FetchBaseSettings
from unit.agent.agent_store import make_base


@pytest.fixture
def digest(tmp_path: Path) -> str:
    return make_base(tmp_path / "volumes" / "store" / "tiny-de")


def settings(root: Path, digest: str, uri: str = "volume://store/tiny-de") -> FetchBaseSettings:
    return FetchBaseSettings(
        base_uri=uri,
        base_digest=digest,
        base_dir=root / "base",
        volume_root=root / "volumes",
        termination_log=root / "termination-log",
    )


def test_the_files_that_count_are_brought_and_nothing_else(tmp_path: Path, digest: str):
    assert fetch_base(settings(tmp_path, digest)) == 0
    assert {f.name for f in (tmp_path / "base").iterdir()} == {"model.safetensors", "config.json"}


def test_a_second_start_finds_them_and_does_not_need_the_store(tmp_path: Path, digest: str):
    fetch_base(settings(tmp_path, digest))
    assert fetch_base(settings(tmp_path, digest, "volume://store/gone")) == 0


def test_leftovers_of_an_interrupted_start_do_not_matter(tmp_path: Path, digest: str):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "old.safetensors").write_bytes(b"half")
    assert fetch_base(settings(tmp_path, digest)) == 0
    assert not (tmp_path / "base" / "old.safetensors").exists()


def test_another_digest_leaves_nothing_and_tells_both(tmp_path: Path, digest: str):
    other = "sha256:" + "0" * 64
    assert fetch_base(settings(tmp_path, other)) == 65
    message = (tmp_path / "termination-log").read_text()
    assert digest in message
    assert other in message
    assert list((tmp_path / "base").iterdir()) == []


def test_a_base_without_safetensors_is_refused(tmp_path: Path, digest: str):
    (tmp_path / "volumes" / "store" / "tiny-de" / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    assert fetch_base(settings(tmp_path, digest)) == 65
    assert "no .safetensors file" in (tmp_path / "termination-log").read_text()


def test_a_missing_folder_says_where_it_looked(tmp_path: Path, digest: str):
    assert fetch_base(settings(tmp_path, digest, "volume://store/gone")) == 65
    assert "volume://store/gone does not exist" in (tmp_path / "termination-log").read_text()
