"""The operator is killed at each step of the chain: the end is the same, and nothing was made twice."""

from __future__ import annotations

import json
from collections.abc import Iterator

import chain_names as names
import clara_chain as chain
import pytest
from artifacts import approve
from clara_install import kubectl
from conftest import RECHT
from operator_pod import kill

FAMILY = "sozialrecht"
NAME = f"{FAMILY}-1.0.0"
FAMILIES = ("steuerrecht", "baurecht")


def state() -> tuple[str, str]:
    """Reasons of the TrainingJob's and the Adapter's top conditions."""
    job, adapter = chain.get("tj", FAMILY, RECHT), chain.get("adp", NAME, RECHT)
    return str(chain.condition(job, "Succeeded").get("reason")), str(chain.condition(adapter, "Ready").get("reason"))


@pytest.fixture(scope="module")
def third_family(served: chain.Base) -> Iterator[chain.Base]:
    """Served for a while; cleans up also when the scenario broke off."""
    chain.apply(chain.serving_deployment("verwaltung", RECHT, [*FAMILIES, FAMILY], served))
    yield served
    chain.apply(chain.serving_deployment("verwaltung", RECHT, list(FAMILIES), served))
    for kind, name in (("tj", FAMILY), ("adp", NAME), ("cm", FAMILY)):
        kubectl("delete", kind, name, "-n", RECHT, "--ignore-not-found")
    chain.wait_for("sdep", "verwaltung", RECHT, seconds=60)


@pytest.fixture(scope="module")
def steps(third_family: chain.Base) -> list[tuple[str, str]]:
    """The states at which the operator was killed, from manifest to served."""
    rows = "\n".join(
        json.dumps({"prompt": f"Wo beantrage ich Hilfe Nummer {i}?", "completion": "Beim Sozialamt im Rathaus."})
        for i in range(24)
    )
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": FAMILY, "namespace": RECHT}}
    quick = {"rank": 4, "alpha": 8, "learningRate": 3e-3, "epochs": 4, "globalBatchSize": 4, "maxLength": 64}
    data = [{"configMap": {"name": FAMILY, "key": "rows.jsonl"}}]
    chain.apply(config | {"data": {"rows.jsonl": rows}})
    chain.apply(names.small_job(FAMILY, third_family, data=data, hyperparameters=quick))
    killed: list[tuple[str, str]] = []
    approved = False

    def ended() -> bool | None:
        nonlocal approved
        now = state()
        if now not in killed:
            killed.append(now)
            kill()
        if now[1] == "NeedsReview" and not approved:
            approve(NAME, RECHT)
            approved = True
        return True if now[1] == "Served" else None

    chain.until(ended, f"{NAME} being served", 600, lambda: f"{killed}\n{chain.describe('adp', NAME, RECHT)}")
    return killed


def test_it_was_killed_at_every_step_that_lasts(steps: list[tuple[str, str]]):
    jobs, adapters = {j for j, _ in steps}, {a for _, a in steps}
    assert len(steps) >= 4, steps  # on a busy machine two states may pass while the operator comes back
    assert "Succeeded" in jobs, steps
    assert {"NeedsReview", "Served"} <= adapters, steps


def test_nothing_was_made_twice(steps: list[tuple[str, str]]):
    listed = kubectl("get", "adp", "-n", RECHT, "-l", f"clara.vcc.dev/family={FAMILY}", "-o", "name").split()
    assert [name.partition("/")[2] for name in listed] == [NAME]
    expected = {("train", "1"), ("evaluate", "1"), ("record", "1")}
    chain.until(
        lambda: True if sorted(jobs()) == sorted(expected) else None, "exactly these Jobs", 60, lambda: str(jobs())
    )


def jobs() -> list[tuple[str, str]]:
    """Purpose and attempt of every Job of the run and its Adapter that has succeeded; a failed one is named."""
    found = []
    for label in (f"clara.vcc.dev/training-job={FAMILY}", f"clara.vcc.dev/adapter={NAME}"):
        for job in json.loads(kubectl("get", "jobs", "-n", RECHT, "-l", label, "-o", "json"))["items"]:
            marks = job["metadata"]["labels"]
            done = "" if job["status"].get("succeeded") else " unfinished"
            found.append((marks["clara.vcc.dev/purpose"] + done, marks["clara.vcc.dev/attempt"]))
    return found


def test_it_answers(steps: list[tuple[str, str]]):
    answer = chain.ask(FAMILY, "Wo beantrage ich Hilfe Nummer 3?")
    assert (answer.status, answer.body["model"]) == (200, NAME)
