"""Worker processes that something happens to: started in place of clara_trainer.worker.work, which they run themselves."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from typing import Any

from clara_trainer import share, worker
from clara_trainer.workers import Setup


def with_little_memory(setup: Setup, number: int, pipe: Connection) -> None:
    """More than two examples in one pass do not fit."""
    likelihood = share.log_likelihood

    def greedy(model: Any, batch: Any) -> Any:
        if len(batch.borders) - 1 > 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return likelihood(model, batch)

    share.log_likelihood = greedy
    worker.work(setup, number, pipe)


def killed_in_its_third_pass(setup: Setup, number: int, pipe: Connection) -> None:
    """As the kernel does when a node runs out of memory."""
    likelihood, passes = share.log_likelihood, iter(range(3))

    def short_lived(model: Any, batch: Any) -> Any:
        if next(passes) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return likelihood(model, batch)

    share.log_likelihood = short_lived
    worker.work(setup, number, pipe)


def without_a_base(setup: Setup, number: int, pipe: Connection) -> None:
    """Its memory is used up before the base is loaded."""

    def greedy(*args: Any) -> Any:
        raise MemoryError("no room for the base")

    worker.load = greedy
    worker.work(setup, number, pipe)


def with_an_error(setup: Setup, number: int, pipe: Connection) -> None:
    """Something that nobody foresaw."""

    def broken(model: Any, batch: Any) -> Any:
        raise ValueError("an odd batch")

    share.log_likelihood = broken
    worker.work(setup, number, pipe)


def killed_before_they_meet(setup: Setup, number: int, pipe: Connection) -> None:
    """The first process waits for one that is gone."""
    worker.meet = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    worker.work(setup, number, pipe)


def killed_in_an_exchange(setup: Setup, number: int, pipe: Connection) -> None:
    """Its gradients were promised and never come."""
    worker.dist.reduce = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL)
    worker.work(setup, number, pipe)
