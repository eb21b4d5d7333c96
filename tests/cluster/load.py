"""Clients that ask without pause while something else happens, and count what they got."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import clara_chain as chain

Ask = Callable[["Load"], None]


@dataclass(slots=True)
class Load:
    """Each of `asks` in a thread of its own, until the end of the block. `answers` counts by the model that answered."""

    asks: tuple[Ask, ...]
    answers: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        for ask in self.asks:
            thread = threading.Thread(target=self._on, args=(ask,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
            if thread.is_alive():
                self.faults.append("a request has no end")

    def _on(self, ask: Ask) -> None:
        while not self._stop.is_set():
            try:
                ask(self)
            except Exception as error:
                self.faults.append(repr(error))
                time.sleep(0.1)


def plain(model: str, question: str, *, expects: str | None = None, max_tokens: int = 40, pause: float = 0) -> Ask:
    """Ask and count; an answer of a model that does not begin with `expects` is a fault, as is any but a 200."""
    prefix = expects or f"{model}-"

    def ask(load: Load) -> None:
        answer = chain.ask(model, question, max_tokens=max_tokens)
        if answer.status == 200 and str(answer.body["model"]).startswith(prefix):
            load.answers[answer.body["model"]] += 1
        else:
            load.faults.append(f"{model}: {answer.status} {answer.body}")
        time.sleep(pause)

    return ask


def streamed(model: str, question: str, *, max_tokens: int = 40) -> Ask:
    """Ask for a stream; it must end, and every chunk must be of one model."""

    def ask(load: Load) -> None:
        chunks = list(chain.stream(model, question, max_tokens=max_tokens))
        models = {c["model"] for c in chunks}
        if len(models) != 1 or not any(c["choices"] and c["choices"][0].get("finish_reason") for c in chunks):
            load.faults.append(f"a stream of {models} with {len(chunks)} chunks did not end")
        load.answers[models.pop()] += 1

    return ask
