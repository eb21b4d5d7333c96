"""THE recipe: load, adapt, train, save. Read it top to bottom.

    data ─ validated, curated, split, tokenized ─┐
    base ─ fetched, digest verified ──────────────┴─ adapter ─ all steps ─ fingerprint ─ publish (manifest last)

Called by `__main__` with a TrainRun. Succeeds only when every step was taken and the manifest lies in the store. Whatever
stops it before leaves a checkpoint from which the next pod goes on.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from clara_api.fingerprint import NOISE_FLOOR, Fingerprint, l2
from clara_api.handoff.outcome import Outcome
from clara_api.handoff.run import TrainRun
from clara_api.meta import BaseModelIdentity
from clara_api.training_job import DryRunReport

from clara_trainer import attention, base_model, curate, data, finish, machine, manifests, memory, methods, room, steps
from clara_trainer.checkpoints import Checkpoints
from clara_trainer.curate import Curated
from clara_trainer.objects import Objects
from clara_trainer.outcome import Failure, Terminated
from clara_trainer.publish import Prepared, Trained, publish
from clara_trainer.recorded_data import check_unchanged
from clara_trainer.recover import published
from clara_trainer.reporter import Reporter
from clara_trainer.settings import Settings
from clara_trainer.start_from import fetch_start
from clara_trainer.steps import Course
from clara_trainer.stop import on_request

MOST_FILES = 2_000  # each has its digest in the manifest, which readers take up to 1 MiB

log = logging.getLogger(__name__)


def train(run: TrainRun, objects: Objects, settings: Settings, reporter: Reporter) -> Outcome:
    """Run the recipe and publish. Raises Failure with the class of what went wrong, Terminated when told to stop."""
    checkpoints = Checkpoints(objects, run.run_uri, settings.scratch / "checkpoints", keep=run.checkpoints.keep)
    if not run.dry_run and (found := manifests.find(objects, run.artifact_uri)):
        checkpoints.forget()
        return published(found, objects, run.artifact_uri)  # a restarted pod must not touch sealed files
    course, prepared = prepare(run, objects, settings, reporter)
    if run.dry_run:
        return dry_run(course, prepared.curated)
    room.check_training(course.model, settings)
    try:
        trained = take_and_measure(
            run, course, prepared, checkpoints=checkpoints, folder=settings.scratch / "adapter", reporter=reporter
        )
        reporter.say("publishes the artifact")
        manifest = publish(run, trained, objects)
    except Terminated as stopped:  # between the last step and the manifest: the next pod publishes what this one saved
        checkpoints.wait()
        raise Terminated(stopped.where or "before it was published", checkpoint_step=checkpoints.newest) from stopped
    checkpoints.forget()
    taken = trained.taken
    return Outcome(
        result="Succeeded",
        message=warning_about(trained.finished.fingerprint),
        artifact_uri=run.artifact_uri,
        artifact_digest=manifest.digest(),
        weights_digest=manifest.weights_digest,
        base_model=BaseModelIdentity(name=run.base_model.name, digest=run.base_model.digest),
        rank=manifest.rank,
        step=taken.step,
        total_steps=course.total,
        loss=taken.loss,
        resumed_from_step=taken.resumed_from,
        memory=course.plan,
        data=prepared.curated.report,
    )


def prepare(run: TrainRun, objects: Objects, settings: Settings, reporter: Reporter) -> tuple[Course, Prepared]:
    """Everything before the first step."""
    # The data first: they are quick to check, and most runs that fail, fail here.
    reporter.say("reads and checks the data")
    room.check(run, objects, settings)
    files = data.read(data.fetch(run.data, objects, settings.scratch / "data"))
    if len(files) > MOST_FILES:
        raise Failure(
            "DataInvalid", f"there are {len(files)} files of data, a manifest lists at most {MOST_FILES}; join some"
        )
    check_unchanged(files, run, objects)

    # The base is proven before any of its files is parsed, and its tokenizer decides what a row is.
    reporter.say(f"fetches and verifies the base {run.base_model.name}")
    base = base_model.fetch_base(run.base_model, objects, settings.scratch / "base")
    start = fetch_start(run, objects, settings.scratch / "start")
    tokenizer = base_model.load_tokenizer(base)
    reporter.say("curates and tokenizes the data")
    curated = curate.curate(files, run, tokenizer)

    # Seeds before weights: the adapter's first values are random numbers too.
    reporter.say("loads the base")
    threads = make_deterministic(run.hyperparameters.seed)
    model = methods.adapt(methods.load(base, run.method), run, start)
    course = course_of(model, tokenizer, curated, run)
    return course, Prepared(base, tokenizer, [file.digest for file in files], curated, threads)


def take_and_measure(
    run: TrainRun, course: Course, prepared: Prepared, *, checkpoints: Checkpoints, folder: Path, reporter: Reporter
) -> Trained:
    """All steps, then the adapter as engines will load it, with its fingerprint."""
    with on_request() as stop:
        taken = steps.take_all(course, checkpoints, reporter, stop, every=run.checkpoints.every_steps)
        checkpoints.save(steps.snapshot(course, taken))  # publishing may fail; no step is taken twice for that
        if stop.requested:  # in the last step: what follows may take longer than the grace period
            raise Terminated("after the last step")

    # Measured on what engines will run; what nobody can observe must not be called a success silently.
    reporter.say("measures the fingerprint")
    course.model.eval()
    finished = finish.finish(course.model, prepared.tokenizer, run, prepared.base, folder)
    return Trained(folder, finished, prepared, course, taken)


def make_deterministic(seed: int) -> int:
    """Same seed, image, threads and CPU: same bits. Returns the number of threads: sums depend on how they are split."""
    threads = machine.threads()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(
        True, warn_only=torch.cuda.is_available()
    )  # attention kernels of GPUs have no such way back
    transformers.set_seed(seed)
    return threads


def course_of(model: Any, tokenizer: Any, curated: Curated, run: TrainRun) -> Course:
    """What the steps need: optimizer, packing proven on this model, and how a step is cut."""
    parameters = run.hyperparameters
    model.config.use_cache = False  # a cache of keys and values only costs memory while training
    device = next(p.device for p in model.parameters() if p.requires_grad)
    packed = attention.choose(model, curated.training, wanted=parameters.packing)
    lengths = [len(example.ids) for example in curated.training]
    plan = memory.first_plan(parameters, lengths, on_gpu=device.type == "cuda", level=run.memory_level)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    course = Course(
        model=model,
        optimizer=steps.optimizer_for(model, parameters.learning_rate),
        training=curated.training,
        validation=curated.validation,
        parameters=parameters,
        plan=plan,
        packed=packed,
        filler=pad if pad is not None else 0,
        device=device,
        start=run.start_from.digest if run.start_from else "",
    )
    steps.use(course, plan)
    refuse_what_cannot_fit(course, run)
    log.info(
        "%d rows to learn, %d held out; %d steps of %d example(s), %d per pass",
        len(curated.training), len(curated.validation), course.total, parameters.global_batch_size, plan.micro_batch_size,
    )  # fmt: skip
    return course


def refuse_what_cannot_fit(course: Course, run: TrainRun) -> None:
    """Failure OutOfMemory when one example at a time would not fit: said in a second, not after an hour."""
    longest = max(len(example.ids) for example in course.training)
    needed = memory.estimate_bytes(course.model, longest if not course.plan.gradient_checkpointing else 0, 0)
    available = memory.available_bytes(course.device)
    if available is not None and needed > available and course.plan.gradient_checkpointing:
        raise Failure(
            "OutOfMemory",
            f"base and adapter alone need about {needed / 2**30:.1f} GiB, and there are {available / 2**30:.1f} GiB; "
            "raise spec.resources, or use method qlora",
        )


def dry_run(course: Course, curated: Curated) -> Outcome:
    """Two steps on the longest batch (the first one warms up): what they cost, and nothing published."""
    size = course.parameters.global_batch_size
    longest = sorted(course.training, key=lambda example: -len(example.ids))[:size]
    measured = Course(
        model=course.model, optimizer=course.optimizer, training=longest, validation=(), plan=course.plan,
        parameters=course.parameters.model_copy(update={"epochs": 2}), packed=course.packed, filler=course.filler,
        device=course.device,
    )  # fmt: skip
    measured.model.train()
    with on_request() as stop:
        steps.take_step(measured, 0, stop)
        began = time.monotonic()
        steps.take_step(measured, 1, stop)
        seconds = time.monotonic() - began
        if stop.requested:
            raise Terminated("during a dry run, which begins anew")
    tokens = sum(len(example.ids) for example in longest)
    passes = measured.cut(longest)
    heaviest = max(passes, key=lambda batch: batch.computed)
    report = DryRunReport(
        total_steps=course.total,
        seconds_per_step=seconds,
        estimated_seconds=seconds * course.total,
        longest_batch_tokens=tokens,
        peak_memory_bytes=memory.peak_bytes(course.device),
        estimated_memory_bytes=memory.estimate_bytes(course.model, heaviest.computed, len(heaviest.keep)),
        available_memory_bytes=memory.available_bytes(course.device),
        memory=measured.plan,
    )
    message = (
        f"one step on the longest batch ({tokens} tokens) takes {seconds:.2f} s and {report.peak_memory_bytes / 2**30:.2f} "
        f"GiB; {course.total} steps take at most {seconds * course.total / 60:.0f} min. Set spec.dryRun to false to train"
    )
    return Outcome(result="Succeeded", message=message, dry_run=report, memory=measured.plan, data=curated.report)


def warning_about(effect: Fingerprint) -> str:
    """What a person should know about a run that worked and taught nothing; empty when there is nothing to say."""
    norm = l2(effect.vector())
    if norm > NOISE_FLOOR:
        return ""
    return (
        f"the adapter changes nothing (log-probabilities moved by {norm:.2g}), so no engine will verify it; "
        "raise hyperparameters.learningRate or epochs"
    )
