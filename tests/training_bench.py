"""A tiny model, its adapter, examples and a course of steps, for the tests of the training loop."""

from __future__ import annotations

from typing import Any

import torch
from clara_api.training_job import Hyperparameters, MemoryPlan
from clara_trainer import attention
from clara_trainer.batches import Layout
from clara_trainer.checkpoints import Checkpoints
from clara_trainer.course import Course, optimizer_for
from clara_trainer.objects import Objects
from clara_trainer.reporter import Reporter
from clara_trainer.steps import Taken, take_all
from clara_trainer.stop import Stop
from clara_trainer.tokens import IGNORED, Example
from trainer_lab import CLAIM, tiny_base

RUN_URI = f"volume://{CLAIM}/runs/amt/steuerrecht/uid/run"


def tiny_model() -> Any:
    """The random base, in float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_base(), dtype=torch.float32)


def adapter(seed: int = 1, dropout: float = 0.0) -> Any:
    """The base with a fresh adapter of rank 4."""
    from peft import LoraConfig, get_peft_model

    model = tiny_model()
    torch.manual_seed(seed)
    config = LoraConfig(
        r=4, lora_alpha=8, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM",
        init_lora_weights="gaussian",
    )  # fmt: skip
    return get_peft_model(model, config)


def examples(count: int, *, longest: int = 40) -> list[Example]:
    """Different lengths, the first third of each a prompt."""
    made = []
    for n in range(count):
        length = 4 + (n * 7) % longest
        ids = [6 + (n * 31 + i * 17) % 300 for i in range(length)]
        labels = [IGNORED if i < length // 3 else token for i, token in enumerate(ids)]
        made.append(Example(tuple(ids), tuple(labels)))
    return made


def course(*, micro: int = 8, packed: bool = True, dropout: float = 0.0, **changes: Any) -> Course:
    """Twelve steps of eight examples."""
    values: dict[str, Any] = {"rank": 4, "epochs": 4, "global_batch_size": 8, "learning_rate": 5e-3, "dropout": dropout}
    parameters = Hyperparameters(**(values | changes))
    model = adapter(parameters.seed, dropout)
    if packed:
        attention.use(model, attention.NAME)
    return Course(
        model=model,
        optimizer=optimizer_for(model, parameters.learning_rate),
        training=examples(24),
        validation=examples(5),
        parameters=parameters,
        plan=MemoryPlan(micro_batch_size=micro, accumulation=-(-parameters.global_batch_size // micro)),
        layout=Layout(packed, filler=0),
        device=torch.device("cpu"),
    )


def store(root: Any) -> Objects:
    """An empty volume."""
    (root / CLAIM).mkdir(parents=True, exist_ok=True)
    return Objects(root, patience=1)


def run(made: Course, root: Any, *, stop: Stop | None = None, every: int = 3, keep: int = 2) -> Taken:
    """Take the course's steps with checkpoints below `root`."""
    torch.set_num_threads(1)
    checkpoints = Checkpoints(store(root), RUN_URI, root / "scratch", keep=keep)
    try:
        return take_all(made, checkpoints, Reporter({}), stop or Stop(), every=every)
    finally:
        checkpoints.wait()


def weights(made: Course) -> torch.Tensor:
    """All trained weights in one row."""
    return torch.cat([p.detach().flatten() for p in made.model.parameters() if p.requires_grad])
