"""THE recipe: load, adapt, train, save. Read it top to bottom.

    data ─ validated, curated, split, tokenized ─┐
    base ─ fetched, digest verified ──────────────┴─ adapter ─ all steps ─ fingerprint ─ publish (manifest last)

Called by `__main__` with a TrainRun. Succeeds only when every step was taken and the manifest lies in the store. Whatever
stops it before leaves a checkpoint from which the next pod goes on. Further processes (workers.py) only help with the steps.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from clara_api.fingerprint import NOISE_FLOOR, Fingerprint, l2
from clara_api.handoff.outcome import Outcome
from clara_api.handoff.progress import data_metrics
from clara_api.handoff.run import TrainRun
from clara_api.meta import BaseModelIdentity
from clara_api.training_job import DryRunReport, MemoryPlan

from clara_trainer import attention, base_model, curate, data, finish, machine, manifests, memory, methods, room, steps
from clara_trainer.batches import Layout
from clara_trainer.checkpoints import Checkpoints
from clara_trainer.course import Course, optimizer_for
from clara_trainer.curate import Curated
from clara_trainer.memory import Lengths
from clara_trainer.objects import Objects
from clara_trainer.outcome import Failure, Terminated
from clara_trainer.publish import Prepared, Trained, publish
from clara_trainer.recorded_data import check_unchanged
from clara_trainer.recover import published
from clara_trainer.reporter import Reporter
from clara_trainer.settings import Settings
from clara_trainer.start_from import fetch_start
from clara_trainer.stop import on_request
from clara_trainer.workers import Agreed, Setup, Workers, processes_for, sharing

MOST_FILES = 2_000  # each has its digest in the manifest, which readers take up to 1 MiB

log = logging.getLogger(__name__)


def train(run: TrainRun, objects: Objects, settings: Settings, reporter: Reporter) -> Outcome:
    """Run the recipe and publish. Raises Failure with the class of what went wrong, Terminated when told to stop."""
    checkpoints = Checkpoints(objects, run.run_uri, settings.scratch / "checkpoints", keep=run.checkpoints.keep)
    if not run.dry_run and (found := manifests.find(objects, run.artifact_uri)):
        checkpoints.forget(job_folder(run))
        return published(found, objects, run.artifact_uri)  # a restarted pod must not touch sealed files
    refuse_idle_gpus(run)
    try:
        with sharing(processes_for(run)) as workers:
            course, prepared = prepare(run, objects, settings, reporter, workers)
            if run.dry_run:
                return dry_run(course, prepared.curated)
            room.check_training(course.model, settings)
            trained = take_and_measure(
                run, course, prepared, checkpoints=checkpoints, folder=settings.scratch / "adapter", reporter=reporter
            )
        reporter.say("publishes the artifact")
        manifest = publish(run, trained, objects)
    except Terminated as stopped:  # between the last step and the manifest: the next pod publishes what this one saved
        checkpoints.wait()
        raise Terminated(stopped.where or "before it was published", checkpoint_step=checkpoints.newest) from stopped
    finally:
        checkpoints.wait()  # what fails now goes on from there, too
    checkpoints.forget(job_folder(run))
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


def job_folder(run: TrainRun) -> str:
    """What all runs of this TrainingJob keep: other recipes, after a failure, and other bases have folders beside this one's."""
    before, uid, _ = run.run_uri.partition(f"/{run.uid}/")
    return f"{before}/{run.uid}" if uid else ""


def refuse_idle_gpus(run: TrainRun) -> None:
    """Failure when the pod has GPUs that torch does not find: they would stand idle for hours."""
    if run.gpus and not torch.cuda.is_available():
        raise Failure(
            "Bug",
            f"the run has {run.gpus} GPU(s) and torch {torch.__version__} finds none: the image {run.image} is built for "
            "CPUs, or the node's driver is too old; build it with --variant gpu",
        )


def prepare(
    run: TrainRun, objects: Objects, settings: Settings, reporter: Reporter, workers: Workers
) -> tuple[Course, Prepared]:
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
    finish.refuse_unmeasurable(run, base)
    start = fetch_start(run, objects, settings.scratch / "start")
    tokenizer = base_model.load_tokenizer(base)
    reporter.say("curates and tokenizes the data")
    curated = curate.curate(files, run, tokenizer)
    reporter.say(None, **data_metrics(curated.report))

    # Seeds before weights: the adapter's first values are random numbers too.
    reporter.say("loads the base")
    threads = machine.threads()
    setup = Setup(
        run, base, start, settings.scratch / "rendezvous", workers.processes, max(1, threads // workers.processes)
    )
    workers.start(setup)
    machine.make_deterministic(run.hyperparameters.seed, setup.threads)
    model = methods.adapt(methods.load(base, run.method), run, start)
    course = course_of(model, tokenizer, curated, run, workers)
    workers.join(setup, Agreed(course.layout, model.config._attn_implementation))
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

    course.workers.close()  # what they hold is not needed any more; a second base may be
    # Measured on what engines will run; what nobody can observe must not be called a success silently.
    reporter.say("measures the fingerprint")
    course.model.eval()
    finished = finish.finish(course.model, prepared.tokenizer, run, prepared.base, folder)
    return Trained(folder, finished, prepared, course, taken)


def course_of(model: Any, tokenizer: Any, curated: Curated, run: TrainRun, workers: Workers) -> Course:
    """What the steps need: optimizer, packing proven on this model, and how a step is cut."""
    parameters = run.hyperparameters
    model.config.use_cache = False  # a cache of keys and values only costs memory while training
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    packed = attention.choose(model, curated.training, wanted=parameters.packing)
    course = Course(
        model=model,
        optimizer=optimizer_for(model, parameters.learning_rate),
        training=curated.training,
        validation=curated.validation,
        parameters=parameters,
        plan=first_plan(model, curated, run, packed=packed, processes=workers.processes),
        layout=Layout(packed, filler=pad if pad is not None else 0),
        device=device_of(model),
        start=run.start_from.digest if run.start_from else "",
        workers=workers,
    )
    log.info(
        "%d rows to learn, %d held out; %d steps of %d example(s), %d per pass",
        len(curated.training), len(curated.validation), course.total, parameters.global_batch_size, course.plan.micro_batch_size,
    )  # fmt: skip
    return course


def first_plan(model: Any, curated: Curated, run: TrainRun, *, packed: bool, processes: int) -> MemoryPlan:
    """The first cut of a step that is computed to fit; Failure OutOfMemory when not even the last one would.

    Said in a second, not after an hour. A micro-batch size that a person chose is tried as it is.
    """
    device, parameters = device_of(model), run.hyperparameters
    lengths = lengths_of(curated)
    plan = memory.first_plan(parameters, lengths.mean, on_gpu=device.type == "cuda", processes=processes)
    available = memory.available_bytes(device, processes)
    needed = partial(memory.needed_bytes, model, lengths=lengths, packed=packed)
    lowest = memory.fitting(plan, parameters.global_batch_size, needed, available)
    if available is not None and lowest.gradient_checkpointing and needed(lowest) > available:
        raise Failure(
            "OutOfMemory",
            f"one example at a time needs about {needed(lowest) / 2**30:.1f} GiB, and there are "
            f"{available / 2**30:.1f} GiB for each process; raise spec.resources, lower hyperparameters.maxLength, or use "
            "method qlora",
        )
    first = lowest if parameters.micro_batch_size == "auto" else plan
    return memory.after_kills(first, parameters.global_batch_size, run.memory_level)


def lengths_of(curated: Curated) -> Lengths:
    """Of the examples to learn."""
    return Lengths.of([len(e.ids) for e in curated.training], [e.supervised for e in curated.training])


def device_of(model: Any) -> Any:
    """Where the adapter is."""
    return next(parameter.device for parameter in model.parameters() if parameter.requires_grad)


def dry_run(course: Course, curated: Curated) -> Outcome:
    """Two steps on the longest batch (the first one warms up): what they cost, and nothing published."""
    size = course.parameters.global_batch_size
    longest = sorted(course.training, key=lambda example: -len(example.ids))[:size]
    measured = Course(
        model=course.model, optimizer=course.optimizer, training=longest, validation=(), plan=course.plan,
        parameters=course.parameters.model_copy(update={"epochs": 2}), layout=course.layout, device=course.device,
        workers=course.workers,
    )  # fmt: skip
    lengths = lengths_of(curated)
    estimated = memory.needed_bytes(course.model, course.plan, lengths, packed=course.layout.packed)
    with on_request() as stop:
        steps.take_step(measured, 0, stop)
        memory.forget_peak(course.device)
        began = time.monotonic()
        steps.take_step(measured, 1, stop)
        seconds = time.monotonic() - began
        if stop.requested:
            raise Terminated("during a dry run, which begins anew")
    tokens = sum(len(example.ids) for example in longest)
    report = DryRunReport(
        total_steps=course.total,
        seconds_per_step=seconds,
        estimated_seconds=seconds * course.total,
        longest_batch_tokens=tokens,
        peak_memory_bytes=memory.peak_bytes(course.device),
        estimated_memory_bytes=estimated,
        available_memory_bytes=memory.available_bytes(course.device, course.workers.processes),
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
