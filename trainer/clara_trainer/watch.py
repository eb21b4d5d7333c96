"""What is watched while steps are taken: the loss goes to the log, and a loss that is no number ends the run. For train.py."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

from clara_trainer.outcome import Failure

log = logging.getLogger(__name__)


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Remembers the last logged loss. The only callback besides transformers' own progress report."""

    def __init__(self) -> None:
        self.loss = math.nan

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Called by the training loop with what it measured since the last time."""
        if not logs or "loss" not in logs:
            return  # the loop's summary at the end
        check_finite(logs, step=state.global_step, total=state.max_steps)
        self.loss = float(logs["loss"])
        fields = {"step": state.global_step, "totalSteps": state.max_steps, "loss": self.loss}
        log.info("step %d of %d, loss %.4f", *fields.values(), extra={"fields": fields})


def check_finite(logs: Mapping[str, float], *, step: int, total: int) -> None:
    """Failure Diverged when loss or gradient is not finite: an infinite gradient spoils the weights of the last step too."""
    for name in ("loss", "grad_norm"):
        value = float(logs.get(name, 0.0))
        if not math.isfinite(value):
            what = name.replace("_", " ")
            cure = "lower hyperparameters.learningRate, or look for odd rows in the data"
            raise Failure("Diverged", f"the {what} became {value} at step {step} of {total}; {cure}")
