"""The golden prompts are held out: none of them, nor a near copy, is in the training data of any family.

Reads the committed files, not the generator, so that a hand edit is caught too; finds leaks as a training run does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from clara_api.handoff.run import GoldenPrompts, GoldenSample
from clara_trainer.data import SourceFile, read
from clara_trainer.leaks import GoldenIndex, Leak
from clara_trainer.rows import Message, Row

DEMO = Path(__file__).resolve().parents[3] / "examples" / "demo"


def golden() -> list[GoldenPrompts]:
    found = []
    for path in sorted((DEMO / "golden").glob("*.yaml")):
        samples = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["samples"]
        told = [GoldenSample(id=s["id"], prompt=s["prompt"], reference=s["reference"]) for s in samples]
        found.append(GoldenPrompts(name=path.stem, samples=told))
    return found


def training_rows() -> list[Row]:
    files = read([SourceFile(path.name, path, None, 1.0) for path in sorted((DEMO / "data").glob("*.jsonl"))])
    return [row for file in files for row in file.rows]


def prompts() -> list[str]:
    return [sample.prompt for of in golden() for sample in of.samples]


def asking(prompt: str) -> Row:
    return Row("planted.jsonl", 1, messages=(Message("user", prompt), Message("assistant", "Ja.")))


def leaks(rows: list[Row]) -> list[tuple[str, Leak]]:
    index = GoldenIndex(golden())
    return [(row.where, leak) for row in rows if (leak := index.leak(row))]


def test_there_is_something_to_compare() -> None:
    assert len(prompts()) == 48
    assert len(training_rows()) > 500


def test_no_golden_prompt_or_near_copy_is_trained_on() -> None:
    assert leaks(training_rows()) == []


LONG_LETTER = (
    "Ich beziehe mich auf Ihr Schreiben und bitte um Auskunft in folgender Sache. {} Für Ihre Mühe danke ich Ihnen."
)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda prompt: prompt, id="an exact copy"),
        pytest.param(lambda prompt: "  " + prompt.upper().replace("?", " !"), id="another spelling"),
        pytest.param(lambda prompt: "Guten Tag! " + prompt + " Danke.", id="courtesies around it"),
        pytest.param(LONG_LETTER.format, id="within a letter"),
    ],
)
def test_every_planted_copy_is_found(spoil: Callable[[str], str]) -> None:
    assert len(leaks([asking(spoil(prompt)) for prompt in prompts()])) == 48


@pytest.mark.parametrize("around", ["{}", LONG_LETTER], ids=["alone", "within a letter"])
def test_nine_in_ten_copies_with_a_word_replaced_are_found(around: str) -> None:
    def another(prompt: str) -> str:
        words = prompt.split()
        return around.format(" ".join([*words[: len(words) // 2], "etwas", *words[len(words) // 2 + 1 :]]))

    assert len(leaks([asking(another(prompt)) for prompt in prompts()])) >= 44


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
