"""Adapters of every method, learned on the tiny base in a second, for the tests of methods, conversion and servability."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clara_api.handoff.run import RUN, TrainRun
from trainer_lab import Lab, pairs, tiny_base


def a_run(
    folder: Path, method: str = "lora", *, fields: dict[str, Any] | None = None, **hyperparameters: Any
) -> TrainRun:
    """What the operator asks for; DoRA with a conversion that loses nothing."""
    run = Lab(folder / "lab").train_run(**hyperparameters) | {"method": method}
    if method == "dora":
        run |= {"conversion": {"rank": 64, "maxError": 0.05}}
    return RUN.validate_python(run | (fields or {}))


def tokenizer() -> Any:
    """The tiny base's."""
    from clara_trainer.base_model import load_tokenizer

    return load_tokenizer(tiny_base())


def adapted(run: TrainRun, start: Path | None = None) -> Any:
    """The tiny base with an adapter that has learned nothing yet."""
    from clara_trainer import methods

    return methods.adapt(methods.load(tiny_base(), run.method), run, start)


def learn(model: Any, *, steps: int = 20, rate: float = 1e-2) -> list[float]:
    """Take steps on one batch; the loss of each."""
    import torch

    rows = [f"{row['prompt']} {row['completion']}" for row in pairs(4)]
    batch = tokenizer()(rows, return_tensors="pt", padding=True).input_ids
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    losses = []
    for _ in range(steps):
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def learned(run: TrainRun) -> Any:
    """The tiny base with an adapter that has learned something."""
    model = adapted(run)
    learn(model)
    return model


def logits(model: Any) -> Any:
    """What the model computes on a fixed text."""
    import torch

    ids = tokenizer()("Maßgeblich ist § 122 AO.", return_tensors="pt").input_ids
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def reloaded(folder: Path) -> Any:
    """The adapter in `folder` on the plain base, by plain peft."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base()), folder)
