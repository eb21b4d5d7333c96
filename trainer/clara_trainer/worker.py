"""A worker process: the frozen base with its adapter, computing shares until the pipe closes. Started by workers.py."""

from __future__ import annotations

import logging
import signal
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist

from clara_trainer import attention, machine, memory, methods
from clara_trainer.batches import Layout
from clara_trainer.logs import start_logging
from clara_trainer.outcome import classify, is_out_of_memory
from clara_trainer.share import Share, compute
from clara_trainer.stop import Stop
from clara_trainer.workers import (
    AddUp,
    Agreed,
    Answer,
    Setup,
    flat,
    flat_gradients,
    leave,
    meet,
    parameters_of,
    parts_of,
)

log = logging.getLogger(__name__)


def work(setup: Setup, number: int, pipe: Connection) -> None:
    """Do what comes through the pipe, until it closes: the first process decides when the run ends."""
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, signal.SIG_IGN)
    start_logging()
    logging.getLogger().setLevel(logging.WARNING)  # what all processes do is said once
    try:
        model, device = load(setup, number)
        weights = flat(model)  # where those of the first process arrive
    except Exception as error:
        pipe.send(answer_to(error, loading=True))
        return
    try:
        pipe.send(Answer())
        pipe.recv()
        meet(setup, number)
        agreed: Agreed = pipe.recv()
        attention.use(model, agreed.attention)
        follow(model, device, agreed.layout, weights, pipe)
    except (EOFError, OSError):
        pass  # the first process has ended
    finally:
        leave()


def load(setup: Setup, number: int) -> tuple[Any, torch.device]:
    """The same model as the first process's, on this worker's own GPU, or its share of the CPUs."""
    if torch.cuda.is_available():
        torch.cuda.set_device(number)
    machine.make_deterministic(setup.run.hyperparameters.seed, setup.threads)
    model = methods.adapt(methods.load(setup.base, setup.run.method), setup.run, setup.start)
    return model, parameters_of(model)[0].device


def follow(model: Any, device: torch.device, layout: Layout, weights: torch.Tensor, pipe: Connection) -> None:
    """Order after order. Tensors to give are made before the answer, so that nobody waits for what does not fit."""
    gradients: torch.Tensor | None = None
    while True:
        order: Share | AddUp = pipe.recv()
        if isinstance(order, AddUp):
            assert gradients is not None  # only asked for after a share was answered well
            dist.reduce(gradients, dst=0)
            gradients = None
            continue
        dist.broadcast(weights, src=0)
        gradients, answer = computed(model, device, layout, order, weights)
        pipe.send(answer)


def computed(
    model: Any, device: torch.device, layout: Layout, share: Share, weights: torch.Tensor
) -> tuple[torch.Tensor | None, Answer]:
    """A share with these weights: its gradients in one row, and what the first process is told."""
    try:
        parameters = parameters_of(model)
        for parameter, part in zip(parameters, parts_of(weights, parameters), strict=True):
            parameter.data.copy_(part)
        loss = compute(model, device, layout, share, Stop())
        return flat_gradients(model) if share.learn else None, Answer(loss=loss or 0.0)
    except Exception as error:
        answer = answer_to(error)
    model.zero_grad(set_to_none=True)  # outside of the handler: the error holds the tensors that must go
    memory.free_cache(device)
    return None, answer


def answer_to(error: Exception, *, loading: bool = False) -> Answer:
    """What the first process is told. Memory that was too little for a share is tried again with a finer cut."""
    if is_out_of_memory(error) and not loading:
        return Answer(out_of_memory=(str(error).splitlines() or ["no more memory"])[0])
    failure, message = classify(error)
    log.error("a worker fails: %s", message, exc_info=error)
    return Answer(failure=failure, message=message)
