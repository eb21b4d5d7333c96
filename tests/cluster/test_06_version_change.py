"""A version change under load with streams: no failed and no wrong-version answer."""

from __future__ import annotations

import time

import clara_chain as chain
import clara_install
import pytest
from conftest import RECHT
from load import Load, plain, streamed

QUESTION = "An welchem Tag gilt ein mit der Post versandter Steuerbescheid als bekannt gegeben?"


@pytest.fixture(scope="module")
def changed(served: chain.Base) -> Load:
    """steuerrecht-1.1.0, trained from more data, takes over while clients ask."""
    neighbour = plain("baurecht", QUESTION, expects="baurecht-1.0.0", max_tokens=8, pause=0.5)
    with Load((plain("steuerrecht", QUESTION), streamed("steuerrecht", QUESTION), neighbour)) as clients:
        job = chain.training_job("steuerrecht-second", RECHT, "steuerrecht", ["steuerrecht-v2.jsonl"], served)
        chain.apply(job)
        chain.wait_for("tj", "steuerrecht-second", RECHT, "Succeeded", seconds=600)
        chain.wait_for_decision("steuerrecht-1.1.0", RECHT)
        chain.wait_for("adp", "steuerrecht-1.1.0", RECHT, seconds=120)
        chain.wait_for_reason("adp", "steuerrecht-1.0.0", RECHT, "Ready", "Superseded", seconds=60)
        time.sleep(5)
    return clients


def test_no_answer_failed_and_none_was_of_a_wrong_version(changed: Load):
    assert changed.faults == []
    assert set(changed.answers) == {"steuerrecht-1.0.0", "steuerrecht-1.1.0", "baurecht-1.0.0"}, changed.answers


def test_changed_sources_make_a_minor_version(changed: Load):
    job = chain.get("tj", "steuerrecht-second", RECHT)
    assert job is not None
    assert job["status"]["adapterRef"] == {"name": "steuerrecht-1.1.0"}


def test_the_superseded_version_names_its_successor(changed: Load):
    answer = chain.ask("steuerrecht-1.0.0", QUESTION)
    assert answer.status == 404
    assert "steuerrecht-1.1.0" in answer.error["message"]


def test_the_old_version_is_unloaded_from_every_engine(changed: Load):
    def gone() -> bool | None:
        engines = clara_install.kubectl("get", "engines.clara.vcc.dev", "-n", RECHT, "-o", "json")
        return True if "steuerrecht-1.0.0-" not in engines else None

    chain.until(gone, "steuerrecht-1.0.0 leaving all engines", 60)
