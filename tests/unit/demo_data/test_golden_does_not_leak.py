"""The golden prompts are held out: none of them, nor a near copy, is in the training data of any family.

Reads the committed files, not the generator, so that a hand edit is caught too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

DEMO = Path(__file__).resolve().parents[3] / "examples" / "demo"
NEAR = 0.6  # Jaccard above this is a copy with a word changed


def golden_prompts() -> list[tuple[str, str]]:
    found = []
    for path in sorted((DEMO / "golden").glob("*.yaml")):
        samples = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["samples"]
        found += [(f"{path.stem}/{sample['id']}", sample["prompt"]) for sample in samples]
    return found


def training_prompts() -> dict[str, str]:
    """Every distinct prompt with the file and line it is first seen at."""
    found: dict[str, str] = {}
    for path in sorted((DEMO / "data").glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            for prompt in _prompts(json.loads(line)):
                found.setdefault(prompt, f"{path.name}:{number}")
    return found


def _prompts(row: dict[str, object]) -> Iterator[str]:
    if "prompt" in row:
        yield str(row["prompt"])
    messages = row.get("messages", [])
    assert isinstance(messages, list)
    yield from (message["content"] for message in messages if message["role"] == "user")


def normalised(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def shingles(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Word 3-grams and character 5-grams of the normalised text."""
    plain = normalised(text)
    words = plain.split()
    return (
        frozenset(" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))),
        frozenset(plain[i : i + 5] for i in range(max(1, len(plain) - 4))),
    )


def leaks(golden: list[tuple[str, str]], training: dict[str, str]) -> list[str]:
    """One sentence per golden prompt and training prompt that are too alike."""
    prepared = [(prompt, where, shingles(prompt)) for prompt, where in training.items()]
    found = []
    for name, prompt in golden:
        mine = shingles(prompt)
        for other, where, theirs in prepared:
            alike = max(len(a & b) / len(a | b) for a, b in zip(mine, theirs, strict=True))
            if normalised(prompt) == normalised(other) or alike > NEAR:
                found.append(f"{name} is {alike:.2f} like {where}: {prompt!r} ~ {other!r}")
    return found


def test_there_is_something_to_compare() -> None:
    assert len(golden_prompts()) == 48
    assert len(training_prompts()) > 500


def test_no_golden_prompt_or_near_copy_is_trained_on() -> None:
    assert leaks(golden_prompts(), training_prompts()) == []


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda prompt: prompt, id="an exact copy"),
        pytest.param(lambda prompt: "  " + prompt.upper().replace("?", " !"), id="another spelling"),
        pytest.param(lambda prompt: "Guten Tag! " + prompt + " Danke.", id="courtesies around it"),
        pytest.param(
            lambda prompt: prompt.replace(" mit ", " durch ").replace(" gilt ", " ist "), id="a word replaced"
        ),
    ],
)
def test_a_planted_copy_is_found(spoil) -> None:  # type: ignore[no-untyped-def]
    name, prompt = golden_prompts()[0]
    assert leaks([(name, prompt)], {**training_prompts(), spoil(prompt): "planted.jsonl:1"})


def test_references_cite_what_their_sample_must() -> None:
    for path in sorted((DEMO / "golden").glob("*.yaml")):
        samples = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["samples"]
        strict = [sample for sample in samples if "constraints" in sample]
        assert strict == [sample for sample in samples if sample["difficulty"] == "easy"]
        assert len(strict) >= len(samples) / 3
        for sample in strict:
            for norm in sample["constraints"]["mustCite"]:
                section, law = norm.removeprefix("§ ").split()
                assert re.search(rf"§ {section}\b[^§]*\b{law}\b", sample["reference"]), sample["id"]
