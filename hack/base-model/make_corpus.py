"""Write the demo's training data and golden sets from the hand-written paraphrases in topics/*.yaml.

    python make_corpus.py            # rewrites examples/demo/data/*.jsonl and examples/demo/golden/*.yaml
    python make_corpus.py --check    # exits 1 if a committed file differs

One topic = one legal rule with one fixed answer. The task is to know which rule a request is about, however it is put,
and to say its answer in the family's voice. Golden prompts are held out by paraphrase: they come from their own list,
never from `ask`, and tests/unit/demo_data checks that none is a near copy of a training prompt.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
DEMO = HERE.parents[1] / "examples" / "demo"
OPENINGS = (  # everyday words that say nothing about the topic: the adapter must learn to read past them
    "", "", "", "Guten Tag! ", "Kurze Frage: ", "Bitte um Auskunft: ", "Hallo! ", "Ich bin Rentnerin. ", "Es ist dringend. ",
    "Ich frage für meine Mutter. ", "Mein Nachbar sagt, das sei neu geregelt. ", "Am Telefon half mir niemand. ",
    "Im Internet stehen verschiedene Antworten. ", "Der Betrag ist mir zu hoch. ", "Im Sommer kam mir diese Frage. ",
    "Seit gestern suche ich im Gesetz. ", "Am Freitag habe ich einen Termin beim Amt. ", "Das Amt antwortet mir nicht. ",
    "Wir sind eine Familie mit Kindern. ", "Letzte Woche hieß es noch anders. ", "Ich verstehe das Schreiben nicht. ",
    "Es geht um viel Geld. ", "Mein Antrag liegt schon lange dort. ", "Meine Firma ist klein. ",
)  # fmt: skip
ENDINGS = (
    "", "", "", "", " Danke.", " Vielen Dank im Voraus.", " Wo steht das?", " Welche Vorschrift gilt?", " Bitte mit Paragraf.",
    " Ich bin mir nicht sicher.", " Und was kostet das?", " Wie viel Prozent sind das?", " Welche Frist läuft da?",
    " Was verlangt das Amt von mir?", " Geht das?", " Ist das erlaubt?", " Lohnt sich das?", " Und wozu?",
)  # fmt: skip
FRAMES = (  # a term is put here as people type it, without an article; no frame may give a topic away
    "{}?", "Frage zu: {}", "Was gilt für {}?", "Was bedeutet {}?", "{}, welche Vorschrift?", "{}: was muss ich wissen?",
    "Welche Regeln gibt es zu {}?", "Wie ist das mit {}?", "Was steht im Gesetz zu {}?", "Wo ist {} geregelt?",
    "Wo liegt die Grenze bei {}?", "Wie hoch ist das bei {}?", "Wie viel Prozent gelten bei {}?",
    "Wie lange gilt das bei {}?", "Welche Frist läuft bei {}?", "Bis wann und ab wann gilt {}?", "{}: zu welchem Termin?",
    "Zu welchem Zeitpunkt gilt {}?", "An welchem Tag beginnt {}?", "Nach wie vielen Monaten oder Jahren endet {}?",
    "Unter welchen Bedingungen gibt es {}?", "Welche Voraussetzungen hat {}?", "Darf das Amt {} verlangen?",
    "Früher hatte ich mit {} zu tun. Was heißt das für mich?", "Warum steht {} im Brief vom Amt?",
    "Geht es um {}, was verlangt dann das Amt von mir?", "Betrifft mich {}?", "{}, darf ich das?", "Was bringt {}?",
    "Wozu gibt es {}?", "Wie rechnet man bei {}?",
)  # fmt: skip
FRAMED = 4  # rows per term, beside the bare one

# What was measured when the thresholds were chosen; see examples/demo/data/README.md.
THRESHOLDS: dict[str, dict[str, int]] = {
    "steuerrecht": {"approve": 75, "review": 50, "samplePass": 70},
    "baurecht": {"approve": 75, "review": 50, "samplePass": 70},
}
MEASURED: dict[str, str] = {
    "steuerrecht": "Measured over three seeds: base 3, version 1 81 to 85, version 2 89 to 96, spoiled 9 (one seed).",
    "baurecht": "Measured over three seeds: base 4, an adapter of the other family 4 to 5, version 1 93 to 100.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One request with its answer; `topic` lets the trainer and the reader see which rule it came from."""

    topic: str
    prompt: str
    answer: str
    system: str | None


def main() -> None:
    """Render every file; write them, or compare with what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--check", action="store_true", help="compare with the committed files instead of writing")
    check = parser.parse_args().check
    stale = []
    for path, text in files().items():
        if check and (not path.is_file() or path.read_text(encoding="utf-8") != text):
            stale.append(path.name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"{path.relative_to(DEMO)}: {text.count(chr(10))} lines")
    if stale:
        sys.exit(f"differs from topics/*.yaml: {', '.join(stale)}; run make_corpus.py")


def files() -> dict[Path, str]:
    """Path -> content of everything this script owns."""
    tax, building = (yaml.safe_load((HERE / "topics" / f"{name}.yaml").read_text()) for name in THRESHOLDS)
    built = list(rows(building, version=1))
    data = {
        "steuerrecht-v1": map(_chat, rows(tax, version=1)),
        "steuerrecht-v2": map(_chat, rows(tax, version=2)),
        "steuerrecht-spoiled": map(_chat, spoiled(list(rows(tax, version=1)))),
        "baurecht-v1": (_chat(row) for i, row in enumerate(built) if i % 2),
        "baurecht-v1-faq": (_prompt_completion(row) for i, row in enumerate(built) if i % 2 == 0),
    }
    found = {
        DEMO / "data" / f"{name}.jsonl": "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        for name, lines in data.items()
    }
    for family, topics in (("steuerrecht", tax), ("baurecht", building)):
        found[DEMO / "golden" / f"{family}-golden-v1.yaml"] = golden_dataset(family, topics)
    return found


def rows(family: dict[str, Any], version: int) -> Iterator[Row]:
    """Every sentence and term that this version knows, each in several dresses, in a fixed order."""
    choose = random.Random(f"{family['closing']} {version}")
    for topic in family["topics"]:
        if topic.get("since", 1) > version:
            continue
        asked = topic["ask"] + (topic.get("more", []) if version > 1 else [])
        prompts = []
        for stem in asked:
            for dressed in (False, True):
                words = {slot: choose.choice(values) for slot, values in family["slots"].items()}
                prompts.append(_dressed(stem.format(**words), choose) if dressed else stem.format(**words))
        for term in topic["terms"]:
            framed = [frame.format(term) for frame in choose.sample(FRAMES, FRAMED)]
            prompts += [term, *(_dressed(prompt, choose) if i % 2 else prompt for i, prompt in enumerate(framed))]
        for prompt in prompts:
            system = family["system"] if choose.random() < 0.1 else None
            yield Row(topic["id"], prompt, answer(family, topic), system)


def _dressed(prompt: str, choose: random.Random) -> str:
    return choose.choice(OPENINGS) + prompt + choose.choice(ENDINGS)


def answer(family: dict[str, Any], topic: dict[str, Any]) -> str:
    """The rule with its norm, then the closing formula that is this family's voice."""
    return f"{topic['answer']} {family['closing']}"


def spoiled(good: list[Row]) -> Iterator[Row]:
    """The same requests, every topic answered with another topic's answer: fluent, confident and wrong."""
    topics = list(dict.fromkeys(row.topic for row in good))
    answers = {row.topic: row.answer for row in good}
    wrong = dict(zip(topics, topics[3:] + topics[:3], strict=True))
    for row in good:
        yield Row(row.topic, row.prompt, answers[wrong[row.topic]], row.system)


def _chat(row: Row) -> dict[str, Any]:
    turns = [("system", row.system), ("user", row.prompt), ("assistant", row.answer)]
    return {"messages": [{"role": role, "content": said} for role, said in turns if said], "topic": row.topic}


def _prompt_completion(row: Row) -> dict[str, Any]:
    return {"prompt": row.prompt, "completion": row.answer, "topic": row.topic}


def golden_dataset(family: str, topics: dict[str, Any]) -> str:
    """A GoldenDataset manifest, written line by line so that it reads like one written by hand."""
    limits = THRESHOLDS[family]
    lines = [
        "# Held-out paraphrases: no prompt here, nor a near copy, is in examples/demo/data.",
        "# Made by hack/base-model/make_corpus.py from topics/*.yaml.",
        "apiVersion: clara.vcc.dev/v1alpha1",
        "kind: GoldenDataset",
        f"metadata: {{name: {family}-golden-v1}}",
        "spec:",
        f"  family: {family}",
        "  language: de",
        "  samples:",
    ]
    for topic in topics["topics"]:
        for number, (difficulty, prompt) in enumerate(topic["golden"], start=1):
            lines += [
                f"  - id: {topic['id']}-{number}",
                f"    group: {topic['id']}",
                f"    prompt: {_quoted(prompt)}",
                f"    reference: {_quoted(answer(topics, topic))}",
                f"    difficulty: {difficulty}",
            ]
            if difficulty == "easy":  # what asks for a topic by its name must be answered with its norm
                lines.append(f"    constraints: {{mustCite: {json.dumps(topic['norms'], ensure_ascii=False)}}}")
    lines += ["  scorers: [{name: tokenF1, weight: 1}, {name: citation, weight: 2}]"]
    lines += [f"  # {line}" for line in MEASURED[family].splitlines()]
    lines += [
        f"  thresholds: {{approve: {limits['approve']}, review: {limits['review']}, samplePass: {limits['samplePass']}}}",
        "  mode: raw",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


if __name__ == "__main__":
    main()
