"""The other processes of a run, one for each further GPU: each computes its share of every step. Used by gradients.py.

    this process ─ share ──▶ worker   by pipe: also says what went wrong, and that a worker is gone
                 ◀─ loss ──
                 ─ weights ▶          by torch.distributed (NCCL on GPUs, Gloo on CPUs): the adapter's only
                 ◀ gradients ─        added up over all processes

Workers hold the frozen base and nothing of the run's state: optimizer, checkpoints and progress stay in this process, so a
run resumes with any number of them, and what one process does or many do is the same up to the rounding of sums. A tensor is
only exchanged when every pipe has said that its process is ready for it: nobody waits for one that is gone.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from clara_api.handoff.outcome import FailureClass
from clara_api.handoff.run import TrainRun

from clara_trainer.batches import Layout
from clara_trainer.checkpoints import trainable
from clara_trainer.outcome import Failure
from clara_trainer.share import Share

JOIN = timedelta(minutes=5)  # until all processes have met
POLL = 0.0005  # seconds between two looks at an exchange; a share takes a thousand times as long

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker needs to load what this process has loaded."""

    run: TrainRun
    base: Path
    start: Path | None
    rendezvous: Path  # file at which the processes meet; no port is opened
    processes: int
    threads: int  # each


@dataclass(frozen=True, slots=True)
class Agreed:
    """How examples become batches, decided by this process for all."""

    layout: Layout
    attention: str


@dataclass(frozen=True, slots=True)
class AddUp:
    """Give your gradients to the sum."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker says when it has done what it was told."""

    loss: float = 0.0
    out_of_memory: str = ""
    failure: FailureClass | None = None
    message: str = ""


class Workers:
    """All of them; with none, everything here does nothing."""

    def __init__(self, processes: int = 1) -> None:
        self.processes = processes
        self._running: list[tuple[Any, Connection]] = []
        self._unanswered: set[Connection] = set()

    def start(self, setup: Setup) -> None:
        """Start them; they load the base while this process does."""
        if self.processes == 1:
            return
        from clara_trainer.worker import work  # noqa: PLC0415 - it imports this file

        setup.rendezvous.unlink(missing_ok=True)  # of an earlier container of this pod
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, "lo")  # all of them are in this pod
        spawn = multiprocessing.get_context("spawn")
        for number in range(1, self.processes):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=work, args=(setup, number, theirs), daemon=True, name=f"worker-{number}")
            process.start()
            theirs.close()  # the worker's end is the worker's: when it dies, ours reads the end of the file
            self._running.append((process, ours))
            self._unanswered.add(ours)

    def join(self, setup: Setup, agreed: Agreed) -> None:
        """Wait until all have loaded, meet, and agree on how examples are laid out."""
        if not self._running:
            return
        self.finish()
        meet(setup, 0)
        self._tell([agreed] * len(self._running))
        log.info("%d processes share each step", self.processes)

    def begin(self, model: Any, shares: Sequence[Share]) -> None:
        """Give each its share and the weights of now; what an interrupted step left unanswered is waited for first."""
        if not self._running:
            return
        self._answers()
        self._tell(shares)
        self._unanswered = {pipe for _, pipe in self._running}
        self._exchange(dist.broadcast(flat(model), src=0, async_op=True))

    def finish(self) -> float:
        """Wait for all; the sum of their losses. Raises torch.OutOfMemoryError when one had too little memory, Failure."""
        answers = self._answers()
        for number, answer in answers.items():
            if answer.failure is not None:
                raise Failure(answer.failure, f"{answer.message} (in process {number + 1} of {self.processes})")
        if short := next((answer for answer in answers.values() if answer.out_of_memory), None):
            raise torch.OutOfMemoryError(short.out_of_memory)
        return sum(answers[number].loss for number in sorted(answers))  # in their order: sums repeat

    def add_gradients(self, model: Any) -> None:
        """Put the sum of all processes' gradients into this one's parameters."""
        if not self._running:
            return
        self._tell([AddUp()] * len(self._running))
        total = flat_gradients(model)
        self._exchange(dist.reduce(total, dst=0, async_op=True))
        parameters = [parameter for _, parameter in trainable(model)]
        parts = total.split([parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def close(self) -> None:
        """End them, whatever they do."""
        for process, pipe in self._running:
            pipe.close()
            process.kill()
        for process, _ in self._running:
            process.join()
        if self._running and dist.is_initialized():
            dist.destroy_process_group()
        self._running, self._unanswered = [], set()

    def _tell(self, orders: Sequence[object]) -> None:
        for (process, pipe), order in zip(self._running, orders, strict=True):
            try:
                pipe.send(order)
            except OSError as error:
                raise gone(process) from error

    def _answers(self) -> dict[int, Answer]:
        """By the worker's number (from 1); those whose order is still open."""
        answers: dict[int, Answer] = {}
        while self._unanswered:
            ready = set(wait(list(self._unanswered)))
            for number, (process, pipe) in enumerate(self._running, 1):
                if pipe in ready:
                    self._unanswered.discard(pipe)
                    try:
                        answers[number] = pipe.recv()
                    except (EOFError, OSError) as error:
                        raise gone(process) from error
        return answers

    def _exchange(self, exchange: Any) -> None:
        """Until the tensors have arrived; Failure when a process is gone."""
        while not exchange.is_completed():
            if dead := next((process for process, _ in self._running if not process.is_alive()), None):
                raise gone(dead)
            time.sleep(POLL)
        exchange.wait()


@contextmanager
def sharing(processes: int) -> Iterator[Workers]:
    """Workers for as long as the run lasts."""
    workers = Workers(processes)
    try:
        yield workers
    finally:
        workers.close()


def processes_for(run: TrainRun) -> int:
    """As many as the run asks for; never more than there are GPUs, where there are any."""
    if not torch.cuda.is_available() or run.processes <= torch.cuda.device_count():
        return run.processes
    found = int(torch.cuda.device_count())
    log.warning("the run asks for %d GPUs and this pod has %d", run.processes, found)
    return found


def meet(setup: Setup, number: int) -> None:
    """Join the group of all processes; waits for the others."""
    dist.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        init_method=f"file://{setup.rendezvous}",
        rank=number,
        world_size=setup.processes,
        timeout=JOIN,
    )


def flat(model: Any) -> torch.Tensor:
    """The adapter's weights in one row."""
    return torch.cat([parameter.detach().flatten() for _, parameter in trainable(model)])


def flat_gradients(model: Any) -> torch.Tensor:
    """Their gradients in one row; zeros where no text of this process reached."""
    parameters = [parameter for _, parameter in trainable(model)]
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])


def gone(process: Any) -> Failure:
    """A worker that ended without a word."""
    process.join(timeout=1)
    return Failure(
        "Bug",
        f"{process.name} ended without a word (exit code {process.exitcode}); code -9 is most often the node's memory: "
        "raise resources.limits.memory, which all processes of the pod share",
    )
