"""What is learned, from what, and how a step is cut. Made by train.py; used by steps.py and gradients.py."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from clara_api.handoff.artifact import StepsCut
from clara_api.training_job import Hyperparameters, MemoryPlan

from clara_trainer import order
from clara_trainer.batches import Layout, supervised
from clara_trainer.checkpoints import trainable
from clara_trainer.share import Share, seed_of
from clara_trainer.tokens import Example
from clara_trainer.workers import Workers


@dataclass(slots=True)
class Course:
    """Everything a step needs; only `plan` and the weights change."""

    model: Any
    optimizer: torch.optim.Optimizer
    training: Sequence[Example]
    validation: Sequence[Example]
    parameters: Hyperparameters
    plan: MemoryPlan
    layout: Layout
    device: torch.device
    start: str = ""  # digest of the adapter that is continued
    workers: Workers = field(default_factory=Workers)
    cuts: Sequence[StepsCut] = ()  # of the run that is repeated: sums repeat only when they are cut alike
    total: int = field(init=False)
    learns: str = field(init=False)  # digest of what is learned, and from where: no other checkpoint is taken up

    def __post_init__(self) -> None:
        p = self.parameters
        self.total = order.total_steps(len(self.training), epochs=p.epochs, global_batch=p.global_batch_size)
        sha = hashlib.sha256(self.start.encode())
        for example in self.training:
            sha.update(array("q", (len(example.ids), *example.ids, *example.labels)).tobytes())
        self.learns = sha.hexdigest()

    def chosen(self, step: int) -> list[Example]:
        """The examples of a step (from 0)."""
        p = self.parameters
        places = order.batch(
            step, examples=len(self.training), epochs=p.epochs, global_batch=p.global_batch_size, seed=p.seed
        )
        return [self.training[place] for place in places]

    def cut_at(self, step: int) -> MemoryPlan:
        """How a step (from 0) is cut: as it is now, or as the run that is repeated did."""
        return next((cut.memory for cut in reversed(self.cuts) if cut.from_step <= step + 1), self.plan)

    def rate(self, step: int) -> float:
        """Learning rate of a step (from 0)."""
        p = self.parameters
        return order.learning_rate(step, peak=p.learning_rate, steps=self.total, warmup_ratio=p.warmup_ratio)

    def shares(self, examples: Sequence[Example], *, step: int, learn: bool = True) -> list[Share]:
        """These examples, dealt to the processes; the first share is this process's own."""
        dealt = self.layout.deal(examples, self.plan.micro_batch_size, self.workers.processes)
        divisor = supervised(examples)
        twice = self.plan.gradient_checkpointing
        return [
            Share(passes, divisor, seed_of(self.parameters.seed, step, process), twice, learn)
            for process, passes in enumerate(dealt)
        ]


def optimizer_for(model: Any, rate: float) -> torch.optim.Optimizer:
    """AdamW on the adapter (Loshchilov & Hutter 2019), without weight decay: B begins at zero and A must not go there."""
    return torch.optim.AdamW([p for _, p in trainable(model)], lr=rate, weight_decay=0.0, fused=True)
