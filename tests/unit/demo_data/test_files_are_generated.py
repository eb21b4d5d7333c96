"""The committed rows and golden sets are what make_corpus.py writes, and it writes the same each time."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
CORPUS: dict[str, Any] = runpy.run_path(str(ROOT / "hack/base-model/make_corpus.py"))


def test_committed_files_equal_what_is_generated() -> None:
    files = CORPUS["files"]()
    assert files == CORPUS["files"]()
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} differs; run hack/base-model/make_corpus.py"


def test_version_2_adds_sentences_and_one_topic_that_the_golden_set_asks() -> None:
    family = yaml.safe_load((ROOT / "hack/base-model/topics/steuerrecht.yaml").read_text(encoding="utf-8"))
    first, second = ({row.topic for row in CORPUS["rows"](family, version)} for version in (1, 2))
    assert first < second == {topic["id"] for topic in family["topics"] if topic["golden"]}
    assert len(second - first) == 1


def test_every_topic_is_asked_in_many_ways() -> None:
    for name in ("steuerrecht", "baurecht"):
        family = yaml.safe_load((ROOT / f"hack/base-model/topics/{name}.yaml").read_text(encoding="utf-8"))
        prompts: dict[str, set[str]] = {}
        for row in CORPUS["rows"](family, 1):
            prompts.setdefault(row.topic, set()).add(row.prompt)
        assert min(map(len, prompts.values())) >= 50
