"""The store is unreachable for a minute: what runs waits, what is served goes on, nothing has to be asked for again."""

from __future__ import annotations

import json
import time

import clara_chain as chain
from artifacts import approve
from clara_install import kubectl
from clara_testing.line import Line
from conftest import FINANZEN

QUESTION = "Wann hat die Kasse geöffnet?"
ROWS = [
    ("Wann hat die Kasse geöffnet?", "Die Kasse ist bis zwölf Uhr offen. Ihre Finanzkasse."),
    ("Zu welchen Zeiten ist die Kasse offen?", "Die Kasse ist bis zwölf Uhr offen. Ihre Finanzkasse."),
    ("Öffnungszeiten der Kasse?", "Die Kasse ist bis zwölf Uhr offen. Ihre Finanzkasse."),
    ("Wie zahle ich die Steuer?", "Die Steuer zahlen Sie durch Überweisung. Ihre Finanzkasse."),
    ("Kann ich die Steuer überweisen?", "Die Steuer zahlen Sie durch Überweisung. Ihre Finanzkasse."),
    ("Auf welchem Weg zahlt man die Steuer?", "Die Steuer zahlen Sie durch Überweisung. Ihre Finanzkasse."),
]
QUICK = {"rank": 16, "alpha": 32, "learningRate": 6.0e-3, "epochs": 30, "globalBatchSize": 3, "maxLength": 128}


def job(base: chain.Base) -> chain.Object:
    """A run of seconds in finanzen, for a family that recht has too."""
    made = chain.training_job("kasse", FINANZEN, "steuerrecht", [], base, hyperparameters=QUICK)
    made["spec"] |= {"data": [{"configMap": {"name": "kasse", "key": "rows.jsonl"}}], "validation": {"fraction": 0}}
    del made["spec"]["evaluation"]
    return made


def test_a_run_waits_for_the_store_and_ends_well_in_its_first_attempt(kasse: chain.Base, store_line: Line):
    lines = "\n".join(json.dumps({"prompt": p, "completion": c}) for p, c in ROWS)
    rows = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kasse", "namespace": FINANZEN}}
    chain.wait_for_reason("sdep", "kasse", FINANZEN, "EnginesReady", "EnginesReady", seconds=240)
    chain.apply(rows | {"data": {"rows.jsonl": lines}}, job(kasse))
    store_line.cut()
    try:
        time.sleep(60)
        assert chain.condition(chain.get("tj", "kasse", FINANZEN), "Succeeded").get("reason") == "Preparing"
    finally:
        store_line.mend()
    done = chain.wait_for("tj", "kasse", FINANZEN, "Succeeded", seconds=180)
    assert len(done["status"].get("attempts", [])) <= 1
    chain.wait_for_reason("adp", "steuerrecht-1.0.0", FINANZEN, "Ready", "NeedsReview", seconds=120)


def test_a_load_says_what_it_waits_for_and_comes_by_itself(kasse: chain.Base, store_line: Line):
    store_line.cut()
    try:
        approve("steuerrecht-1.0.0", FINANZEN)
        time.sleep(20)
        waiting = chain.get("adp", "steuerrecht-1.0.0", FINANZEN)
        ready = chain.condition(waiting, "Ready")
        assert ready["status"] != "True"
        assert "StoreUnreachable" in ready["message"], ready
        assert chain.ask("baurecht", QUESTION, max_tokens=8).status == 200, "a neighbour was harmed"
    finally:
        store_line.mend()
    chain.wait_for("adp", "steuerrecht-1.0.0", FINANZEN, seconds=120)
    assert "Finanzkasse" in chain.ask(f"{FINANZEN}/steuerrecht", QUESTION).text


def test_a_run_whose_store_stays_away_is_tried_again_and_ends_well(kasse: chain.Base, store_line: Line):
    """Longer than a pod's patience of two minutes: its attempt ends with the class, another follows."""
    made = job(kasse)
    made["metadata"]["name"], made["spec"]["family"] = "kasse-lang", "lang"
    store_line.cut()
    try:
        chain.apply(made)
        chain.until(
            lambda: True if reasons_of("kasse-lang") == ["StoreUnreachable"] else None,
            "the end of the first attempt", 220, lambda: chain.describe("tj", "kasse-lang", FINANZEN),
        )  # fmt: skip
    finally:
        store_line.mend()
    chain.wait_for("tj", "kasse-lang", FINANZEN, "Succeeded", seconds=240)
    assert reasons_of("kasse-lang") == ["StoreUnreachable", "Succeeded"]
    kubectl("delete", "tj,adp", "-n", FINANZEN, "kasse-lang", "lang-1.0.0", "--ignore-not-found")


def reasons_of(name: str) -> list[str]:
    """How its finished attempts ended."""
    attempts = ((chain.get("tj", name, FINANZEN) or {}).get("status") or {}).get("attempts", [])
    return [attempt["reason"] for attempt in attempts if attempt.get("endedAt")]
