"""Fetch the frozen base to scratch and prove that it is the base that was named, before anything of it is loaded.

Called by train and evaluate. Only files that count in the digest are copied (clara_api.digests), so code beside the weights
never arrives, and nothing is ever downloaded by name from a hub. Mirrors are other places of the same bytes.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from clara_api.digests import is_base_model_file, listing_digest
from clara_api.meta import BaseModelRef
from clara_api.training_job import TrainingBase
from transformers import AutoModelForCausalLM, AutoTokenizer

from clara_trainer.manifests import below
from clara_trainer.objects import Missing, Objects
from clara_trainer.outcome import Failure, is_out_of_memory

log = logging.getLogger(__name__)


def fetch_base(base: BaseModelRef, objects: Objects, folder: Path) -> Path:
    """Copy the base into `folder`; Failure BaseModelUnavailable when no place has it."""
    places = [base.uri, *(base.mirrors if isinstance(base, TrainingBase) else ())]
    causes = []
    for uri in places:
        try:
            return _fetch(base, uri, objects, folder)
        except Failure as failure:
            if failure.failure == "StoreUnreachable" and len(places) == 1:
                raise  # it may come back; nothing is known against the base
            causes.append(failure.message)
            log.warning("base %s is not at %s: %s", base.name, uri, failure.message)
            shutil.rmtree(folder, ignore_errors=True)  # half a base must not complete another
    cure = "put the named files there, or name the digest that is there"
    raise Failure("BaseModelUnavailable", f"{'; '.join(causes)}; {cure}")


def _fetch(base: BaseModelRef, uri: str, objects: Objects, folder: Path) -> Path:
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
        message = f"base '{base.name}' at {uri} has the digest {found}, but {base.digest} was named"
        raise Failure("BaseModelUnavailable", message)
    log.info("base %s is here and verified: %d files from %s", base.name, len(triples), uri)
    return folder


def load_tokenizer(folder: Path) -> Any:
    """The base's tokenizer, from these files only."""
    with explained("tokenizer"):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def load_model(folder: Path, **more: Any) -> Any:
    """The base's weights: float32 on a CPU (bfloat16 there is slower and rounds the fingerprint away), bfloat16 on a GPU."""
    on_gpu = torch.cuda.is_available()
    with explained("model"):
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.bfloat16 if on_gpu else torch.float32,
            **more,
        )
    return model.to("cuda") if on_gpu and "quantization_config" not in more else model


@contextmanager
def explained(what: str) -> Iterator[None]:
    """What transformers cannot load is told as BaseModelUnavailable with its cause; memory that runs out stays that."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error) or isinstance(error, Failure):
            raise
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise Failure(
            "BaseModelUnavailable",
            f"the base's {what} cannot be loaded: {first[:300]}; a base needs config, tokenizer and safetensors that this "
            "version of transformers knows without code of its own",
        ) from error
