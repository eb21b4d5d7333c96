"""The steps: gradients of the global batch, clipped, AdamW; saved while they are taken. Called by train.py.

    step k ─ its examples (order.py) ─ cut into micro-batches (batches.py) ─ gradients ─ clip ─ AdamW ─▶ step k + 1
              └ out of memory: cut finer (memory.py), same step again          └ every N steps: checkpoint beside it

A step is a function of the weights, the seed and its number. That is why a resumed run needs only weights, moments and the
number to end in the same bits, and why a step that was begun and not finished costs nothing but its time.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from array import array
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from clara_api.training_job import Hyperparameters, MemoryPlan

from clara_trainer import memory, order
from clara_trainer.batches import MicroBatch, alike, cut, log_likelihood, pack, pad, supervised
from clara_trainer.checkpoints import CheckpointFile, Checkpoints, Snapshot, restore, tensors_of, trainable
from clara_trainer.outcome import Failure, Terminated, is_out_of_memory
from clara_trainer.reporter import Reporter
from clara_trainer.stop import Stop
from clara_trainer.tokens import Example

CLIP_NORM = 1.0
LOGGED_LINES = 200  # a run logs about this often, whatever its length
VALIDATIONS = 10  # at most; each costs a forward pass over the held-out rows
HOPELESS = 2.0  # nats above knowing nothing at all
REMEMBERED = 0.9  # of the smoothed loss

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Course:
    """Everything a step needs; only `plan` and the weights change."""

    model: Any
    optimizer: torch.optim.Optimizer
    training: Sequence[Example]
    validation: Sequence[Example]
    parameters: Hyperparameters
    plan: MemoryPlan
    packed: bool
    filler: int  # token id that pads
    device: torch.device
    start: str = ""  # digest of the adapter that is continued
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
        """The examples of a step."""
        p = self.parameters
        places = order.batch(
            step, examples=len(self.training), epochs=p.epochs, global_batch=p.global_batch_size, seed=p.seed
        )
        return [self.training[place] for place in places]

    def cut(self, chosen: Sequence[Example]) -> list[MicroBatch]:
        """A step's examples as forward passes."""
        most = self.plan.micro_batch_size
        lengths = [len(example.ids) for example in chosen]
        if self.packed:
            return [pack([chosen[i] for i in group]) for group in cut(lengths, most)]
        return [pad([chosen[i] for i in group], filler=self.filler) for group in alike(lengths, most)]


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
    resumed_from: int | None = None
    interruptions: int = 0
    points: list[list[float]] = field(default_factory=list)  # step, loss, rate, tokens, seconds[, validation loss]
    stretch: list[float] = field(default_factory=list)  # losses since the last point
    smoothed: float | None = None
    first: float | None = None


def optimizer_for(model: Any, rate: float) -> torch.optim.Optimizer:
    """AdamW on the adapter (Loshchilov & Hutter 2019), without weight decay: B begins at zero and A must not go there."""
    return torch.optim.AdamW([p for _, p in trainable(model)], lr=rate, weight_decay=0.0, fused=True)


def take_all(course: Course, checkpoints: Checkpoints, reporter: Reporter, stop: Stop, *, every: int) -> Taken:
    """From the newest checkpoint, or the start, to the last step. Terminated when told to stop: then the state is saved."""
    taken = resume(course, checkpoints)
    taken.total = course.total
    per_token = memory.flops_per_token(course.model)
    log_every = max(1, course.total // LOGGED_LINES)
    validated = validation_steps(course)
    began, before = time.monotonic(), taken.seconds
    course.model.train()
    while taken.step < course.total:
        step_began = time.monotonic()
        loss = take_step(course, taken.step, stop)
        if loss is None:
            break
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
            taken.points.append([taken.step, taken.loss, rate_of(course, taken.step - 1), taken.tokens, taken.seconds])
            say_step(taken, course, checkpoints)
        if taken.step in validated:
            taken.validation_loss = validation_loss(course)
            if taken.points and taken.points[-1][0] == taken.step:
                taken.points[-1] = [*taken.points[-1][:5], taken.validation_loss]
        report(
            reporter, taken, course, checkpoints, loss=loss, tokens_per_second=tokens / (time.monotonic() - step_began)
        )
        if taken.step % every == 0 and taken.step < course.total and not checkpoints.busy:
            checkpoints.save(snapshot(course, taken))
        if stop.requested:
            break
    if taken.step < course.total:
        stop_here(course, taken, checkpoints, reporter)
    return taken


def take_step(course: Course, step: int, stop: Stop) -> float | None:
    """One optimizer step; its loss, or None when told to stop before it was complete: then nothing has changed."""
    chosen = course.chosen(step)
    divisor = supervised(chosen)
    loss = gradients(course, chosen, divisor, step, stop)
    if loss is None:
        return None
    weights = [parameter for _, parameter in trainable(course.model)]
    norm = float(torch.nn.utils.clip_grad_norm_(weights, CLIP_NORM))
    for name, value in (("loss", loss), ("gradient norm", norm)):
        if not math.isfinite(value):  # before the weights are touched
            cure = "lower hyperparameters.learningRate, or look for odd rows in the data"
            raise Failure("Diverged", f"the {name} became {value} at step {step + 1} of {course.total}; {cure}")
    for group in course.optimizer.param_groups:
        group["lr"] = rate_of(course, step)
    course.optimizer.step()
    course.optimizer.zero_grad(set_to_none=True)
    return loss


def gradients(course: Course, chosen: Sequence[Example], divisor: int, step: int, stop: Stop) -> float | None:
    """Gradients of the mean loss over the step's supervised tokens; walks down the memory ladder as far as it must."""
    while True:
        try:
            return _gradients(course, chosen, divisor, step, stop)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            why = f"out of memory at step {step + 1}: {str(error).splitlines()[0]}"
        cut_finer(course, why)  # outside of the handler: the error holds the tensors that must go


def _gradients(course: Course, chosen: Sequence[Example], divisor: int, step: int, stop: Stop) -> float | None:
    course.optimizer.zero_grad(set_to_none=True)
    torch.manual_seed(seed_of(course.parameters.seed, step))
    total = 0.0
    for micro in course.cut(chosen):
        if stop.requested:
            course.optimizer.zero_grad(set_to_none=True)
            return None
        with autocast(course.device):
            loss = log_likelihood(course.model, micro.to(course.device)) / divisor
        loss.backward()
        total += float(loss.detach())
    return total


def cut_finer(course: Course, why: str) -> None:
    """The next rung of the memory ladder; Failure OutOfMemory at its end."""
    course.optimizer.zero_grad(set_to_none=True)
    memory.free_cache(course.device)
    plan = memory.lower(course.plan, course.parameters.global_batch_size, why)
    if plan is None:
        raise Failure(
            "OutOfMemory",
            f"{why}; one example at a time with gradient checkpointing does not fit. Raise spec.resources, or lower "
            "hyperparameters.maxLength or rank, or use method qlora",
        )
    log.warning("%s; now %d example(s) per pass, %d passes per step", why, plan.micro_batch_size, plan.accumulation)
    use(course, plan)


def use(course: Course, plan: MemoryPlan) -> None:
    """Cut steps by this plan from now on."""
    if plan.gradient_checkpointing and not course.model.is_gradient_checkpointing:
        course.model.enable_input_require_grads()  # frozen embeddings would cut the way back
        course.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    course.plan = plan


def seed_of(seed: int, step: int) -> int:
    """Randomness of a step (dropout) is a function of seed and step: nothing to save, nothing to restore."""
    return int.from_bytes(hashlib.sha256(f"{seed}\nstep\n{step}".encode()).digest()[:7])


def autocast(device: torch.device) -> Any:
    """bfloat16 matrices on a GPU; on a CPU nothing changes."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


def rate_of(course: Course, step: int) -> float:
    """Learning rate of a step (from 0)."""
    p = course.parameters
    return order.learning_rate(step, peak=p.learning_rate, steps=course.total, warmup_ratio=p.warmup_ratio)


def check_hopeless(smoothed: float, first: float, course: Course, step: int) -> None:
    """Failure Diverged when the smoothed loss is far above both its beginning and knowing nothing: no step brings it back."""
    ignorance = math.log(course.model.config.get_text_config().vocab_size)
    if smoothed > max(first, ignorance) + HOPELESS:
        raise Failure(
            "Diverged",
            f"the loss rose to {smoothed:.1f} at step {step} of {course.total}, from {first:.1f} at the start; "
            "lower hyperparameters.learningRate, or raise warmupRatio",
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


def validation_loss(course: Course) -> float:
    """Mean loss per supervised token of the held-out rows."""
    course.model.eval()
    width = course.plan.micro_batch_size
    chunks = [course.validation[i : i + width] for i in range(0, len(course.validation), width)]
    total = 0.0
    for chunk in chunks:
        batch = pack(chunk) if course.packed else pad(chunk, filler=course.filler)
        with torch.inference_mode(), autocast(course.device):
            total += float(log_likelihood(course.model, batch.to(course.device)))
    course.model.train()
    return total / supervised(course.validation)


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
        validation_loss=taken.validation_loss,
    )
    return Snapshot(description, tensors_of(course.model, course.optimizer))


def resume(course: Course, checkpoints: Checkpoints) -> Taken:
    """Take up the newest complete checkpoint; a fresh start when there is none."""
    found = checkpoints.find(learns=course.learns, total_steps=course.total)
    if found is None:
        return Taken()
    description = found.description
    restore(course.model, course.optimizer, found.tensors)
    if description.memory is not None and description.memory.micro_batch_size < course.plan.micro_batch_size:
        use(course, description.memory)  # what did not fit then does not fit now
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
        validation_loss=description.validation_loss,
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
        learning_rate=f"{rate_of(course, taken.step - 1):.3g}",
        tokens_per_second=round(tokens_per_second, 1),
        checkpoint_step=checkpoints.newest,
        resumed_from_step=taken.resumed_from,
        interruptions=taken.interruptions,
        peak_memory_bytes=memory.peak_bytes(course.device),
        micro_batch_size=plan.micro_batch_size,
        accumulation=plan.accumulation,
        gradient_checkpointing=int(plan.gradient_checkpointing),
        memory_reason=plan.reason[:64] or None,
    )
