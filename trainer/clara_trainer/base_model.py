"""Fetch the frozen base to scratch and prove that it is the base that was named, before anything of it is loaded.

Called by train, evaluate and finish. Only files that count in the digest are copied (clara_api.digests), so code beside the
weights never arrives, and nothing is ever downloaded by name from a hub. What cannot be loaded is `BaseModelUnavailable`.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from clara_api.digests import is_base_model_file, listing_digest
from clara_api.meta import BaseModelRef
from clara_api.training_job import TrainingBase
from transformers import AutoModelForCausalLM, AutoTokenizer

from clara_trainer.manifests import below
from clara_trainer.objects import Missing, Objects
from clara_trainer.outcome import Failure, is_out_of_memory
from clara_trainer.safetensors_header import Tensor, read_tensors

NAMED_TENSORS = 3  # of the missing ones; the first few say which part of a model is not there

log = logging.getLogger(__name__)


def fetch_base(base: BaseModelRef, objects: Objects, folder: Path) -> Path:
    """Copy the base into `folder` from the first place that has it; the Failure names every place's cause."""
    mirrors = base.mirrors if isinstance(base, TrainingBase) else []
    failures = []
    for uri in (base.uri, *mirrors):
        shutil.rmtree(folder, ignore_errors=True)  # what another place, or an earlier container, left there
        try:
            return _copy(base, uri, objects, folder)
        except Failure as error:
            if error.failure not in ("BaseModelUnavailable", "StoreUnreachable"):
                raise
            log.warning("base %s cannot be had from %s: %s", base.name, uri, error.message)
            failures.append(error)
    shutil.rmtree(folder, ignore_errors=True)
    away = all(
        error.failure == "StoreUnreachable" for error in failures
    )  # it may come back: no reason for another base
    raise Failure(
        "StoreUnreachable" if away else "BaseModelUnavailable", "; ".join(error.message for error in failures)
    )


def _copy(base: BaseModelRef, uri: str, objects: Objects, folder: Path) -> Path:
    entries = [entry for entry in objects.list(uri) if is_base_model_file(entry.path)]
    if not any(entry.path.endswith(".safetensors") for entry in entries):
        raise Failure("BaseModelUnavailable", f"there are no safetensors of base '{base.name}' below {uri}")
    triples = []
    for entry in entries:
        try:
            copied = objects.download(below(uri, entry.path), folder / entry.path)
        except Missing as error:
            raise Failure("BaseModelUnavailable", f"base '{base.name}' changed while it was read: {error}") from error
        triples.append((entry.path, copied.size, copied.sha256))
    found = listing_digest(triples)
    if found != base.digest:
        raise Failure(
            "BaseModelUnavailable",
            f"base '{base.name}' at {uri} has the digest {found}, but {base.digest} was named; "
            "put the named files there, or name the digest that is there",
        )
    log.info("base %s is here from %s and verified: %d files", base.name, uri, len(triples))
    return folder


def load_tokenizer(folder: Path) -> Any:
    """The base's tokenizer, from these files only."""
    with unloadable("tokenizer"):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def dtype() -> Any:
    """What the base computes in: float32 on a CPU (bfloat16 there is slower and rounds the fingerprint away), bfloat16 on a GPU."""
    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def weights_in(folder: Path) -> int:
    """How many weights the base has, by its headers."""
    return _count(_tensors(folder))


def bytes_of_its_own(folder: Path) -> int:
    """Memory that the plain base takes on a CPU besides pages of its files: nothing when they hold the type it computes in."""
    tensors = _tensors(folder)
    return 4 * _count(tensors) if any(tensor.dtype != "F32" for tensor in tensors) else 0


def _count(tensors: Iterable[Tensor]) -> int:
    return sum(math.prod(tensor.shape) for tensor in tensors)


def _tensors(folder: Path) -> list[Tensor]:
    with unloadable("safetensors"):
        return [tensor for path in folder.rglob("*.safetensors") for tensor in read_tensors(path).values()]


def load_model(folder: Path, quantization: Any = None, *, on_cpu: bool = False) -> Any:
    """The base's weights on the device, quantised while they are read when a configuration for that is given."""
    on_gpu = torch.cuda.is_available() and not on_cpu
    quantised = {
        "quantization_config": quantization,
        "device_map": {"": torch.cuda.current_device() if on_gpu else "cpu"},
    }
    with unloadable("model"):
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype(),
            output_loading_info=True,
            **(quantised if quantization else {}),
        )
        check_complete(report)
    return model.to("cuda") if on_gpu and not quantization else model


def check_complete(report: Any) -> None:
    """ValueError when transformers filled tensors with random numbers because the files lack them: it only warns."""
    absent = sorted(str(name) for name in report["missing_keys"])
    if absent:
        named = ", ".join(absent[:NAMED_TENSORS])
        raise ValueError(f"its safetensors lack {len(absent)} tensors of its architecture: {named}")


@contextmanager
def unloadable(what: str) -> Iterator[None]:
    """Whatever transformers raises on a base it cannot load, in one sentence. Memory and devices are no fault of the base."""
    try:
        yield
    except Exception as error:
        if isinstance(error, Failure | torch.AcceleratorError) or is_out_of_memory(error):
            raise
        cause = " ".join(str(error).split())[:400] or type(error).__name__
        raise Failure(
            "BaseModelUnavailable",
            f"the base's {what} cannot be loaded: {cause}; the base needs an architecture that transformers "
            f"{transformers.__version__} brings (code beside the weights is never run) and whole safetensors: "
            "put such a base into the store and name its digest",
        ) from error
