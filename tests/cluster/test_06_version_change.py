"""A version change under load with streams: no failed and no wrong-version answer."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import clara_chain as chain
import clara_install
import pytest
from conftest import RECHT

QUESTION = "An welchem Tag gilt ein mit der Post versandter Steuerbescheid als bekannt gegeben?"


@dataclass(slots=True)
class Clients:
    """Three clients that ask without pause: plain, streamed, and the neighbour family."""

    stop: threading.Event = field(default_factory=threading.Event)
    answers: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Clients:
        for ask in (self._plain, self._streamed, self._neighbour):
            thread = threading.Thread(target=self._on, args=(ask,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(90)

    def _on(self, ask: object) -> None:
        while not self.stop.is_set():
            try:
                ask()  # type: ignore[operator]
            except Exception as error:
                self.faults.append(repr(error))

    def _plain(self) -> None:
        answer = chain.ask("steuerrecht", QUESTION, max_tokens=40)
        if answer.status == 200:
            self.answers[answer.body["model"]] += 1
        else:
            self.faults.append(f"{answer.status} {answer.error}")

    def _streamed(self) -> None:
        chunks = list(chain.stream("steuerrecht", QUESTION, max_tokens=40))
        models = {c["model"] for c in chunks}
        if len(models) != 1 or not any(c["choices"] and c["choices"][0].get("finish_reason") for c in chunks):
            self.faults.append(f"a stream of {models} with {len(chunks)} chunks did not end")
        self.answers[models.pop()] += 1

    def _neighbour(self) -> None:
        answer = chain.ask("baurecht", QUESTION, max_tokens=8)
        if answer.status != 200 or answer.body["model"] != "baurecht-1.0.0":
            self.faults.append(f"baurecht: {answer.status} {answer.body}")
        time.sleep(0.5)


@pytest.fixture(scope="module")
def changed(served: chain.Base) -> Clients:
    """steuerrecht-1.1.0, trained from more data, takes over while clients ask."""
    with Clients() as clients:
        job = chain.training_job("steuerrecht-second", RECHT, "steuerrecht", ["steuerrecht-v2.jsonl"], served)
        chain.apply(job)
        chain.wait_for("tj", "steuerrecht-second", RECHT, "Succeeded", seconds=600)
        chain.wait_for_decision("steuerrecht-1.1.0", RECHT)
        chain.wait_for("adp", "steuerrecht-1.1.0", RECHT, seconds=120)
        chain.wait_for_reason("adp", "steuerrecht-1.0.0", RECHT, "Ready", "Superseded", seconds=60)
        time.sleep(5)
    return clients


def test_no_answer_failed_and_none_was_of_a_wrong_version(changed: Clients):
    assert changed.faults == []
    assert set(changed.answers) == {"steuerrecht-1.0.0", "steuerrecht-1.1.0"}, changed.answers


def test_changed_sources_make_a_minor_version(changed: Clients):
    job = chain.get("tj", "steuerrecht-second", RECHT)
    assert job is not None
    assert job["status"]["adapterRef"] == {"name": "steuerrecht-1.1.0"}


def test_the_superseded_version_names_its_successor(changed: Clients):
    answer = chain.ask("steuerrecht-1.0.0", QUESTION)
    assert answer.status == 404
    assert "steuerrecht-1.1.0" in answer.error["message"]


def test_the_old_version_is_unloaded_from_every_engine(changed: Clients):
    def gone() -> bool | None:
        engines = clara_install.kubectl("get", "engines.clara.vcc.dev", "-n", RECHT, "-o", "json")
        return True if "steuerrecht-1.0.0-" not in engines else None

    chain.until(gone, "steuerrecht-1.0.0 leaving all engines", 60)
