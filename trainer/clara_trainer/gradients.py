"""Gradients of a step's examples, in one process or several, walking down the memory ladder as far as they must. For steps.py.

examples ─ cut and dealt (course.py) ─┬─ own share ─────────────┐
                                      └─ workers' (workers.py) ─┴─ added up ─▶ one gradient, as if computed at once
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from clara_trainer import memory
from clara_trainer.course import Course
from clara_trainer.outcome import Failure, is_out_of_memory
from clara_trainer.share import Share, compute
from clara_trainer.stop import Stop
from clara_trainer.tokens import Example

log = logging.getLogger(__name__)


def gradients(course: Course, chosen: Sequence[Example], step: int, stop: Stop) -> float | None:
    """Mean loss over the step's supervised tokens, its gradients in the parameters; None when told to stop before the end."""
    while True:
        try:
            loss = together(course, course.shares(chosen, step=step), stop)
            if loss is not None:
                course.workers.add_gradients(course.model)
            return loss
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            why = f"out of memory at step {step + 1}: {str(error).splitlines()[0]}"
        cut_finer(course, why)  # outside of the handler: the error holds the tensors that must go


def mean_loss(course: Course, examples: Sequence[Example], stop: Stop) -> float | None:
    """Mean loss per supervised token of rows that are not learned from; None when told to stop before the end."""
    return together(course, course.shares(examples, step=0, learn=False), stop)


def together(course: Course, shares: Sequence[Share], stop: Stop) -> float | None:
    """Compute every share, each in its process, and add up their losses."""
    course.workers.begin(course.model, shares[1:])
    own = compute(course.model, course.device, course.layout, shares[0], stop)
    return None if own is None else own + course.workers.finish()


def cut_finer(course: Course, why: str) -> None:
    """The next rung of the memory ladder; Failure OutOfMemory at its end."""
    course.model.zero_grad(set_to_none=True)
    memory.free_cache(course.device)
    plan = memory.lower(course.plan, course.parameters.global_batch_size, why)
    if plan is None:
        raise Failure(
            "OutOfMemory",
            f"{why}; one example at a time with gradient checkpointing does not fit. Raise spec.resources, or lower "
            "hyperparameters.maxLength or rank, or use method qlora",
        )
    log.warning("%s; now %d example(s) per pass, %d passes per step", why, plan.micro_batch_size, plan.accumulation)
    course.plan = plan
