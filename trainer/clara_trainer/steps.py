"""The steps: gradients of the global batch, clipped, AdamW; saved while they are taken. Called by train.py.

    step k ─ its examples (course.py) ─ their gradients (gradients.py) ─ clip ─ AdamW ─▶ step k + 1
                                                                                └ every N steps: checkpoint beside it

A step is a function of the weights, the seed and its number. That is why a resumed run needs only weights, moments and the
number to end in the same bits, and why a step that was begun and not finished costs nothing but its time.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field

import torch
from clara_api.handoff.artifact import StepsCut
from clara_api.training_job import MemoryPlan

from clara_trainer import machine, memory
from clara_trainer.checkpoints import CheckpointFile, Checkpoints, Snapshot, restore, tensors_of, trainable
from clara_trainer.course import Course
from clara_trainer.gradients import gradients, mean_loss
from clara_trainer.outcome import Failure, Terminated
from clara_trainer.reporter import Reporter
from clara_trainer.stop import Stop

CLIP_NORM = 1.0
LOGGED_LINES = 200  # a run logs about this often, whatever its length
VALIDATIONS = 10  # at most; each costs a forward pass over the held-out rows
HOPELESS = 2.0  # nats above knowing nothing at all
COLLAPSED = 0.5  # nats: this near to knowing nothing, and this far above the beginning
REMEMBERED = 0.9  # of the smoothed loss

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Taken:
    """What the steps until now came to."""

    step: int = 0
    total: int = 0
    tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    loss: float = math.nan  # mean of the last logged stretch
    validation_loss: float | None = None
    validated: int = 0  # step after which that was
    resumed_from: int | None = None
    interruptions: int = 0
    points: list[list[float]] = field(default_factory=list)  # step, loss, rate, tokens, seconds[, validation loss]
    stretch: list[float] = field(default_factory=list)  # losses since the last point
    smoothed: float | None = None
    first: float | None = None
    cuts: list[StepsCut] = field(default_factory=list)
    machines: list[str] = field(default_factory=list)


def take_all(course: Course, checkpoints: Checkpoints, reporter: Reporter, stop: Stop, *, every: int) -> Taken:
    """From the newest checkpoint, or the start, to the last step. Terminated when told to stop: then the state is saved."""
    taken = resume(course, checkpoints)
    taken.total = course.total
    per_token = memory.flops_per_token(course.model)
    log_every = max(1, course.total // LOGGED_LINES)
    validated = validation_steps(course)
    began, before = time.monotonic(), taken.seconds
    if taken.step in validated and taken.validated < taken.step:  # the pod before was stopped in the middle of it
        validate(course, taken, stop)
    here = machine.here()
    if taken.machines[-1:] != [here]:
        taken.machines.append(here)
    while taken.step < course.total:
        step_began = time.monotonic()
        loss = take_step(course, taken.step, stop)
        if loss is None:
            break
        note_cut(taken, course.plan)
        chosen = course.chosen(taken.step)
        tokens = sum(len(example.ids) for example in chosen)
        taken.step += 1
        taken.tokens += tokens
        taken.flops += tokens * per_token
        taken.seconds = before + time.monotonic() - began
        taken.stretch.append(loss)
        taken.first = loss if taken.first is None else taken.first
        taken.smoothed = loss if taken.smoothed is None else REMEMBERED * taken.smoothed + (1 - REMEMBERED) * loss
        check_hopeless(taken.smoothed, taken.first, course, taken.step)
        if taken.step % log_every == 0 or taken.step == course.total:
            taken.loss = sum(taken.stretch) / len(taken.stretch)
            taken.stretch = []
            taken.points.append([taken.step, taken.loss, course.rate(taken.step - 1), taken.tokens, taken.seconds])
            say_step(taken, course, checkpoints)
        if taken.step in validated:
            validate(course, taken, stop)
        report(
            reporter, taken, course, checkpoints, loss=loss, tokens_per_second=tokens / (time.monotonic() - step_began)
        )
        if taken.step % every == 0 and taken.step < course.total and not checkpoints.busy:
            checkpoints.save(snapshot(course, taken))
        if stop.requested:
            break
    if taken.step < course.total:
        stop_here(course, taken, checkpoints, reporter)
    check_collapsed(taken, course)
    return taken


def take_step(course: Course, step: int, stop: Stop) -> float | None:
    """One optimizer step; its loss, or None when told to stop before it was complete: then nothing has changed."""
    course.plan = course.cut_at(step)
    loss = gradients(course, course.chosen(step), step, stop)
    if loss is None:
        course.model.zero_grad(set_to_none=True)
        return None
    weights = [parameter for _, parameter in trainable(course.model)]
    norm = float(torch.nn.utils.clip_grad_norm_(weights, CLIP_NORM))
    for name, value in (("loss", loss), ("gradient norm", norm)):
        if not math.isfinite(value):  # before the weights are touched
            cure = "lower hyperparameters.learningRate, or look for odd rows in the data"
            raise Failure("Diverged", f"the {name} became {value} at step {step + 1} of {course.total}; {cure}")
    for group in course.optimizer.param_groups:
        group["lr"] = course.rate(step)
    course.optimizer.step()
    course.optimizer.zero_grad(set_to_none=True)
    return loss


def note_cut(taken: Taken, plan: MemoryPlan) -> None:
    """How the step that is just taken was cut, when that is another way than the one before."""
    if not taken.cuts or taken.cuts[-1].memory != plan:
        taken.cuts.append(StepsCut(from_step=taken.step + 1, memory=plan))


def check_hopeless(smoothed: float, first: float, course: Course, step: int) -> None:
    """Failure Diverged when the smoothed loss is far above both its beginning and knowing nothing: no step brings it back."""
    ignorance = math.log(course.model.config.get_text_config().vocab_size)
    if smoothed > max(first, ignorance) + HOPELESS:
        raise Failure(
            "Diverged",
            f"the loss rose to {smoothed:.1f} at step {step} of {course.total}, from {first:.1f} at the start; "
            "lower hyperparameters.learningRate, or raise warmupRatio",
        )


def check_collapsed(taken: Taken, course: Course) -> None:
    """Failure Diverged when the run ends at knowing nothing and began with knowing more: norms keep such a loss from rising."""
    ignorance = math.log(course.model.config.get_text_config().vocab_size)
    if taken.smoothed is None or taken.first is None:
        return
    if taken.smoothed > max(taken.first + COLLAPSED, ignorance - COLLAPSED):
        raise Failure(
            "Diverged",
            f"the loss ended at {taken.smoothed:.1f}, which is knowing nothing, and began with {taken.first:.1f}; "
            "lower hyperparameters.learningRate or alpha, or raise warmupRatio",
        )


# -- validation ---------------------------------------------------------------------------------------------------------
def validation_steps(course: Course) -> set[int]:
    """After which steps the held-out rows are looked at: the end of each epoch, thinned to VALIDATIONS, and the last."""
    if not course.validation:
        return set()
    per_epoch = len(course.training) / course.parameters.global_batch_size
    ends = [min(course.total, math.ceil(per_epoch * epoch)) for epoch in range(1, math.ceil(course.parameters.epochs))]
    stride = max(1, -(-len(ends) // (VALIDATIONS - 1)))
    return {*ends[stride - 1 :: stride], course.total}


def validate(course: Course, taken: Taken, stop: Stop) -> None:
    """Look at the held-out rows; nothing is known of them when told to stop meanwhile."""
    found = mean_loss(course, course.validation, stop)
    if found is None:
        return
    taken.validation_loss, taken.validated = found, taken.step
    if taken.points and taken.points[-1][0] == taken.step:
        taken.points[-1] = [*taken.points[-1][:5], found]


# -- saving and taking up -------------------------------------------------------------------------------------------------
def snapshot(course: Course, taken: Taken) -> Snapshot:
    """The run at this moment."""
    description = CheckpointFile(
        step=taken.step,
        total_steps=course.total,
        learns=course.learns,
        sha256="",
        size=0,
        interruptions=taken.interruptions,
        memory=course.plan,
        tokens=taken.tokens,
        flops=taken.flops,
        seconds=taken.seconds,
        points=taken.points,
        stretch=taken.stretch,
        smoothed=taken.smoothed,
        first=taken.first,
        cuts=list(taken.cuts),
        machines=list(taken.machines),
        validation_loss=taken.validation_loss,
        validated=taken.validated,
    )
    return Snapshot(description, tensors_of(course.model, course.optimizer))


def resume(course: Course, checkpoints: Checkpoints) -> Taken:
    """Take up the newest complete checkpoint; a fresh start when there is none."""
    found = checkpoints.find(learns=course.learns, total_steps=course.total)
    if found is None:
        return Taken()
    description = found.description
    restore(course.model, course.optimizer, found.tensors)
    # What did not fit then does not fit now.
    course.plan = memory.finer(description.memory, course.plan, course.parameters.global_batch_size)
    log.info(
        "resumed at step %d of %d",
        description.step,
        course.total,
        extra={"fields": {"resumedFromStep": description.step}},
    )
    return Taken(
        step=description.step,
        tokens=description.tokens,
        flops=description.flops,
        seconds=description.seconds,
        loss=description.points[-1][1] if description.points else math.nan,
        resumed_from=description.step,
        interruptions=description.interruptions + 1,
        points=list(description.points),
        stretch=list(description.stretch),
        smoothed=description.smoothed,
        first=description.first,
        cuts=list(description.cuts),
        machines=list(description.machines),
        validation_loss=description.validation_loss,
        validated=description.validated,
    )


def stop_here(course: Course, taken: Taken, checkpoints: Checkpoints, reporter: Reporter) -> None:
    """Save what is complete, then Terminated."""
    reporter.say("saves a checkpoint before it stops")
    if taken.step and checkpoints.newest != taken.step:
        checkpoints.save(snapshot(course, taken))
    checkpoints.wait()
    raise Terminated(f"stopped at step {taken.step} of {course.total}", checkpoint_step=checkpoints.newest)


# -- telling --------------------------------------------------------------------------------------------------------------
def say_step(taken: Taken, course: Course, checkpoints: Checkpoints) -> None:
    """One log line of where the run is."""
    fields = {
        "step": taken.step,
        "totalSteps": course.total,
        "loss": taken.loss,
        "peakMemoryBytes": memory.peak_bytes(course.device),
        "checkpointStep": checkpoints.newest,
    }
    log.info("step %d of %d, loss %.4f", taken.step, course.total, taken.loss, extra={"fields": fields})


def report(
    reporter: Reporter, taken: Taken, course: Course, checkpoints: Checkpoints, *, loss: float, tokens_per_second: float
) -> None:
    """Tell the operator."""
    plan = course.plan
    reporter.say(
        "takes steps",
        current_step=taken.step,
        total_steps=course.total,
        current_epoch=round(taken.step * course.parameters.global_batch_size / len(course.training), 2),
        loss=round(loss, 4),
        learning_rate=f"{course.rate(taken.step - 1):.3g}",
        tokens_per_second=round(tokens_per_second, 1),
        checkpoint_step=checkpoints.newest,
        resumed_from_step=taken.resumed_from,
        interruptions=taken.interruptions,
        peak_memory_bytes=memory.peak_bytes(course.device),
        micro_batch_size=plan.micro_batch_size,
        accumulation=plan.accumulation,
        processes=plan.processes,
        gradient_checkpointing=int(plan.gradient_checkpointing),
        memory_reason=plan.reason[:64] or None,
    )
