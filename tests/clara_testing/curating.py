"""Rows, files and runs for the tests of curating, reporting and recording."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clara_api.handoff.run import TrainRun
from clara_trainer.data import ReadFile, SourceFile, read

ZERO = "sha256:" + "0" * 64


def train_run(*, policy: dict[str, str] | None = None, max_length: int = 128, **fields: Any) -> TrainRun:
    """A run that holds nothing out unless told to."""
    values = {
        "namespace": "amt",
        "name": "steuerrecht-1",
        "uid": "uid-1",
        "attempt": 1,
        "family": "steuerrecht",
        "baseModel": {"name": "tiny", "uri": "volume://clara-artifacts/models/tiny", "digest": ZERO},
        "hyperparameters": {"maxLength": max_length},
        "data": [],
        "dataPolicy": policy or {},
        "validationFraction": 0,
        "artifactUri": "volume://clara-artifacts/adapters/amt/steuerrecht/uid-1/1",
    }
    return TrainRun.model_validate(values | fields)


def pair(number: int, *, answer: str = "Nach der AO.", **fields: Any) -> dict[str, Any]:
    """One question of its own."""
    return {"prompt": f"Norm für Fall {number}?", "completion": answer, **fields}


def pairs(count: int) -> list[dict[str, Any]]:
    return [pair(number) for number in range(count)]


def read_files(tmp_path: Path, *, weight: float = 1, **files: list[Any]) -> list[ReadFile]:
    """Files as a run reads them; a=[…] is a.jsonl."""
    sources = []
    for name, rows in files.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        sources.append(SourceFile(path.name, path, None, weight))
    return read(sources)
