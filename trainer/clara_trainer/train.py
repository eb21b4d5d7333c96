"""THE recipe: load, adapt, train, save. Read it top to bottom.

    data ─ validated, split, tokenized ─┐
    base ─ fetched, digest verified ─────┴─ LoRA on every linear layer ─ all steps ─ fingerprint ─ publish (manifest last)

Called by `__main__` with a TrainRun. Succeeds only when every step was taken and the manifest lies in the store.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from clara_api.fingerprint import NOISE_FLOOR, Fingerprint, l2
from clara_api.handoff.outcome import Outcome
from clara_api.handoff.progress import ENV_URL
from clara_api.handoff.run import TrainRun
from clara_api.training_job import Hyperparameters
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from clara_trainer import base_model, data, fingerprint, machine, manifests
from clara_trainer.batches import as_rows, collate, micro_batch
from clara_trainer.objects import Objects
from clara_trainer.outcome import Terminated
from clara_trainer.publish import Trained, publish
from clara_trainer.recover import published
from clara_trainer.settings import Settings
from clara_trainer.tokens import Examples, tokenize
from clara_trainer.watch import Watch

LOGGED_LINES = 200  # a run logs about this often, whatever its length

log = logging.getLogger(__name__)


def train(run: TrainRun, objects: Objects, settings: Settings) -> Outcome:
    """Run the recipe and publish. Raises Failure with the class of what went wrong, Terminated when told to stop."""
    if found := manifests.find(objects, run.artifact_uri):
        return published(found, objects, run.artifact_uri)  # a restarted pod must not touch sealed files

    # The data first: they are quick to check, and most runs that fail, fail here.
    parameters = run.hyperparameters
    files = data.read(data.fetch(run.data, objects, settings.scratch / "data"))
    split = data.split(files, fraction=run.validation_fraction, seed=parameters.seed)
    log.info("%d rows to learn, %d held out", len(split.training), len(split.validation))

    # The base is proven before any of its files is parsed, and its tokenizer decides what a row is.
    base = base_model.fetch_base(run.base_model, objects, settings.scratch / "base")
    tokenizer = base_model.load_tokenizer(base)
    examples = tokenize(split, tokenizer, max_length=parameters.max_length)
    summary = examples.summary(sum(file.digest.rows for file in files))

    # Seeds before weights: the adapter's first values are random numbers too.
    threads = make_deterministic(parameters.seed)
    model = adapt(base_model.load_model(base), parameters)
    metrics = take_all_steps(model, tokenizer, examples, parameters, settings.scratch / "work")

    # Measured on the very weights that are saved; what nobody can observe must not be called a success silently.
    model.eval()
    dtype = str(model.dtype).removeprefix("torch.")
    effect = fingerprint.measure(model, tokenizer, dtype=dtype)
    model.save_pretrained(settings.scratch / "adapter", safe_serialization=True)
    trained = Trained(
        folder=settings.scratch / "adapter",
        fingerprint=effect,
        data=[file.digest for file in files],
        summary=summary,
        metrics=metrics,
        threads=threads,
        dtype=dtype,
    )
    manifest = publish(run, trained, objects)
    return Outcome(
        result="Succeeded",
        message=warning_about(effect),
        artifact_uri=run.artifact_uri,
        artifact_digest=manifest.digest(),
        weights_digest=manifest.weights_digest,
        rank=manifest.rank,
        step=int(metrics["steps"]),
        total_steps=int(metrics["steps"]),
        loss=metrics["loss"],
        data=summary,
    )


def make_deterministic(seed: int) -> int:
    """Same seed, image, threads and CPU: same bits. Returns the number of threads: sums depend on how they are split."""
    threads = machine.threads()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    transformers.set_seed(seed)
    return threads


def adapt(model: Any, parameters: Hyperparameters) -> Any:
    """LoRA on every linear layer but the head (Hu et al. 2021; all-linear as in Dettmers et al. 2023, §4)."""
    config = LoraConfig(
        r=parameters.rank,
        lora_alpha=parameters.alpha,
        lora_dropout=parameters.dropout,
        target_modules="all-linear",
        bias="none",  # engines refuse adapters with a bias
        task_type="CAUSAL_LM",
    )
    model.config.use_cache = False  # a cache of keys and values only costs memory while training
    return get_peft_model(model, config)


def take_all_steps(
    model: Any, tokenizer: Any, examples: Examples, parameters: Hyperparameters, folder: Path
) -> dict[str, float]:
    """Train to the last step; returns steps, loss and validationLoss. Failure Diverged when the loss is no number."""
    watch = Watch()
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    trainer = Trainer(
        model=model,
        args=arguments(parameters, folder, examples=len(examples.training), on_gpu=model.device.type == "cuda"),
        train_dataset=as_rows(examples.training),
        eval_dataset=as_rows(examples.validation) or None,
        data_collator=partial(collate, pad=pad),
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)  # the watch logs JSON instead
    trainer.train()

    # The loop returns normally also when it was stopped early; only the count says whether it is complete.
    if trainer.state.global_step != trainer.state.max_steps:
        log.error("only %d of %d steps were taken", trainer.state.global_step, trainer.state.max_steps)
        raise Terminated()
    metrics = {"steps": float(trainer.state.global_step), "loss": watch.loss}
    if examples.validation:
        metrics["validationLoss"] = float(trainer.evaluate()["eval_loss"])
    return metrics


def arguments(parameters: Hyperparameters, folder: Path, *, examples: int, on_gpu: bool) -> Any:
    """What the Trainer is told; everything not said here is its default of the pinned version."""
    micro = micro_batch(parameters.micro_batch_size, parameters.global_batch_size, on_gpu=on_gpu)
    steps = parameters.epochs * examples / parameters.global_batch_size  # about; only for how often to log
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=parameters.epochs,
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=parameters.global_batch_size // micro,
        learning_rate=parameters.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=parameters.warmup_ratio,  # below 1 it is a share of all steps
        seed=parameters.seed,
        data_seed=parameters.seed,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        logging_steps=max(1, int(steps) // LOGGED_LINES),
        logging_nan_inf_filter=False,  # the default hides exactly the losses that must stop the run
        save_strategy="no",
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
        disable_tqdm=True,
        report_to=["kubeflow"] if os.environ.get(ENV_URL) else [],  # KEP-2779, by the stock callback
    )


def warning_about(effect: Fingerprint) -> str:
    """What a person should know about a run that worked and taught nothing; empty when there is nothing to say."""
    norm = l2(effect.vector())
    if norm > NOISE_FLOOR:
        return ""
    return (
        f"the adapter changes nothing (log-probabilities moved by {norm:.2g}), so no engine will verify it; "
        "raise hyperparameters.learningRate or epochs"
    )
