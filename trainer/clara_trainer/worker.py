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
from clara_trainer.checkpoints import trainable
from clara_trainer.logs import start_logging
from clara_trainer.outcome import classify, is_out_of_memory
from clara_trainer.share import Share, compute
from clara_trainer.stop import Stop
from clara_trainer.workers import AddUp, Agreed, Answer, Setup, flat, flat_gradients, meet

log = logging.getLogger(__name__)


def work(setup: Setup, number: int, pipe: Connection) -> None:
    """Do what comes through the pipe, until it closes: the first process decides when the run ends."""
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, signal.SIG_IGN)
    start_logging()
    logging.getLogger().setLevel(logging.WARNING)  # what all processes do is said once
    try:
        model, device = load(setup, number)
    except Exception as error:
        failure, message = classify(error)
        pipe.send(Answer(failure=failure, message=message))
        return
    try:
        pipe.send(Answer())
        meet(setup, number)
        agreed: Agreed = pipe.recv()
        attention.use(model, agreed.attention)
        while True:
            follow(pipe.recv(), model, device, agreed.layout, pipe)
    except (EOFError, OSError):
        return  # the first process has ended


def load(setup: Setup, number: int) -> tuple[Any, torch.device]:
    """The same model as the first process's, on this worker's own GPU, or its share of the CPUs."""
    if torch.cuda.is_available():
        torch.cuda.set_device(number)
    machine.make_deterministic(setup.run.hyperparameters.seed, setup.threads)
    model = methods.adapt(methods.load(setup.base, setup.run.method), setup.run, setup.start)
    return model, next(parameter.device for _, parameter in trainable(model))


def follow(order: Share | AddUp, model: Any, device: torch.device, layout: Layout, pipe: Connection) -> None:
    """One order."""
    if isinstance(order, AddUp):
        dist.reduce(flat_gradients(model), dst=0)
        return
    take_over(model)
    try:
        answer = Answer(loss=compute(model, device, layout, order, Stop()) or 0.0)
    except Exception as error:
        answer = answer_to(error)
    if answer.out_of_memory:  # outside of the handler: the error holds the tensors that must go
        model.zero_grad(set_to_none=True)
        memory.free_cache(device)
    pipe.send(answer)


def take_over(model: Any) -> None:
    """The weights of the first process."""
    weights = flat(model)
    dist.broadcast(weights, src=0)
    parameters = [parameter for _, parameter in trainable(model)]
    parts = weights.split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.data.copy_(part.view_as(parameter))


def answer_to(error: Exception) -> Answer:
    """What the first process is told: memory that was too little is tried again with a finer cut."""
    if is_out_of_memory(error):
        return Answer(out_of_memory=(str(error).splitlines() or ["no more memory"])[0])
    failure, message = classify(error)
    log.error("a share could not be computed", exc_info=error)
    return Answer(failure=failure, message=message)
