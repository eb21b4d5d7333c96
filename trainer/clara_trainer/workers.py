"""The other processes of a run, one for each further GPU: each computes its share of every step. Used by gradients.py.

    this process ─ share ──▶ worker   by pipe: also says what went wrong, and that a worker is gone
                 ◀─ loss ──
                 ─ weights ▶          by torch.distributed (NCCL on GPUs, Gloo on CPUs): the adapter's only
                 ◀ gradients ─        added up over all processes

Workers hold the frozen base and nothing of the run's state: optimizer, checkpoints and progress stay in this process, so a
run resumes with any number of them. A tensor is only exchanged when both sides hold it ready, and an exchange is watched: it
ends when a process does. What one process learns or many do differs by the rounding of sums, and by dropout's places.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
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
from torch.distributed import distributed_c10d

from clara_trainer.batches import Layout
from clara_trainer.checkpoints import trainable
from clara_trainer.outcome import Failure
from clara_trainer.share import Share

JOIN = timedelta(minutes=5)  # until all processes have met
POLL = 0.0005  # seconds between two looks at an exchange; a share takes a thousand times as long
FAREWELL = 2.0  # seconds in which workers may end by themselves

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
class Meet:
    """All have loaded: join the group."""


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
        self._tell([Meet()] * len(self._running))
        self._meet(setup)
        self._tell([agreed] * len(self._running))
        log.info("%d processes share each step", self.processes)

    def begin(self, model: Any, shares: Sequence[Share]) -> None:
        """Give each its share and the weights of now; what an interrupted step left unanswered is waited for first."""
        if not self._running:
            return
        self._answers()
        weights = flat(model)  # before anybody waits for it: it may be what does not fit
        self._tell(shares)
        self._unanswered = {pipe for _, pipe in self._running}
        self._exchange(lambda: dist.broadcast(weights, src=0, async_op=True))

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
        total = flat_gradients(model)
        self._tell([AddUp()] * len(self._running))
        self._exchange(lambda: dist.reduce(total, dst=0, async_op=True))
        for parameter, part in zip(parameters := parameters_of(model), parts_of(total, parameters), strict=True):
            parameter.grad = part

    def close(self) -> None:
        """End them: those that wait at once, the others after a moment, whatever they do."""
        for _, pipe in self._running:
            pipe.close()
        deadline = time.monotonic() + FAREWELL
        for process, _ in self._running:
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.join()
        if self._running:
            leave()
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

    def _meet(self, setup: Setup) -> None:
        """Meet the others in a thread: the wait for them is one that only the operating system could end."""
        errors: list[BaseException] = []

        def attempt() -> None:
            try:
                meet(setup, 0)
            except BaseException as error:
                errors.append(error)

        meeting = threading.Thread(target=attempt, name="meeting", daemon=True)
        meeting.start()
        while meeting.is_alive():
            self._check_alive()
            meeting.join(0.05)
        if errors:
            raise self._broken(errors[0]) from errors[0]

    def _exchange(self, start: Callable[[], Any]) -> None:
        """Until the tensors have arrived. Failure whatever happens: the others are past the point where a step is repeated."""
        try:
            exchange = start()
            while not exchange.is_completed():
                self._check_alive()
                time.sleep(POLL)
            exchange.wait()
        except Failure:
            raise
        except Exception as error:
            raise self._broken(error) from error

    def _check_alive(self, patience: float = 0.0) -> None:
        for process, _ in self._running:
            if patience:
                process.join(patience)
            if not process.is_alive():
                raise gone(process)

    def _broken(self, error: BaseException) -> Failure:
        """The connection often breaks a moment before the process that held it is seen to have ended."""
        try:
            self._check_alive(patience=0.5)
        except Failure as failure:
            return failure
        return Failure("Bug", f"the processes of the pod cannot exchange tensors: {error}")


@contextmanager
def sharing(processes: int) -> Iterator[Workers]:
    """Workers for as long as the run lasts."""
    workers = Workers(processes)
    try:
        yield workers
    finally:
        workers.close()


def processes_for(run: TrainRun) -> int:
    """As many as the run asks for, but never more than there are GPUs when it is GPUs that it asks for."""
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not run.gpus or found >= run.gpus:
        return run.processes
    log.warning("the run asks for %d GPU(s), and torch finds %d", run.gpus, found)
    return max(1, found)


def meet(setup: Setup, number: int) -> None:
    """Join the group of all processes and exchange a first number, for which NCCL makes its connections."""
    on_gpu = torch.cuda.is_available()
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=f"file://{setup.rendezvous}",
        rank=number,
        world_size=setup.processes,
        timeout=JOIN,
    )
    dist.broadcast(torch.zeros(1, device=torch.device("cuda", number) if on_gpu else "cpu"), src=0)


def leave() -> None:
    """Leave the group. NCCL would wait for what a dead process left unfinished, so it is told to drop it."""
    if not dist.is_initialized():
        return
    if dist.get_backend() == "nccl":
        distributed_c10d._abort_process_group()
    else:
        dist.destroy_process_group()


def parameters_of(model: Any) -> list[torch.nn.Parameter]:
    """The adapter's."""
    return [parameter for _, parameter in trainable(model)]


def flat(model: Any) -> torch.Tensor:
    """The adapter's weights in one row."""
    return torch.cat([parameter.detach().flatten() for parameter in parameters_of(model)])


def flat_gradients(model: Any) -> torch.Tensor:
    """Their gradients in one row; zeros where no text of this process reached."""
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters_of(model)])


def parts_of(row: torch.Tensor, parameters: Sequence[torch.nn.Parameter]) -> list[torch.Tensor]:
    """The row in the shapes of these parameters."""
    parts = row.split([parameter.numel() for parameter in parameters])
    return [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]


def gone(process: Any) -> Failure:
    """A worker that ended without a word."""
    process.join(timeout=1)
    return Failure(
        "Bug",
        f"{process.name} ended without a word (exit code {process.exitcode}); code -9 is most often the node's memory: "
        "raise resources.limits.memory, which all processes of the pod share",
    )
