"""Fetch the frozen base to scratch and prove that it is the base that was named, before anything of it is loaded.

Called by train and evaluate. Only files that count in the digest are copied (clara_api.digests), so code beside the weights
never arrives, and nothing is ever downloaded by name from a hub.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from clara_api.digests import is_base_model_file, listing_digest
from clara_api.meta import BaseModelRef
from transformers import AutoModelForCausalLM, AutoTokenizer

from clara_trainer.manifests import below
from clara_trainer.objects import Missing, Objects
from clara_trainer.outcome import Failure

log = logging.getLogger(__name__)


def fetch_base(base: BaseModelRef, objects: Objects, folder: Path) -> Path:
    """Copy the base into `folder`; Failure BaseModelUnavailable when it is not there or is another."""
    entries = [entry for entry in objects.list(base.uri) if is_base_model_file(entry.path)]
    if not any(entry.path.endswith(".safetensors") for entry in entries):
        raise Failure("BaseModelUnavailable", f"there are no safetensors of base '{base.name}' below {base.uri}")
    triples = []
    for entry in entries:
        try:
            copied = objects.download(below(base.uri, entry.path), folder / entry.path)
        except Missing as error:
            raise Failure("BaseModelUnavailable", f"base '{base.name}' changed while it was read: {error}") from error
        triples.append((entry.path, copied.size, copied.sha256))
    found = listing_digest(triples)
    if found != base.digest:
        raise Failure(
            "BaseModelUnavailable",
            f"base '{base.name}' at {base.uri} has the digest {found}, but {base.digest} was named; "
            "put the named files there, or name the digest that is there",
        )
    log.info("base %s is here and verified: %d files", base.name, len(triples))
    return folder


def load_tokenizer(folder: Path) -> Any:
    """The base's tokenizer, from these files only."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def load_model(folder: Path) -> Any:
    """The base's weights: float32 on a CPU (bfloat16 there is slower and rounds the fingerprint away), bfloat16 on a GPU."""
    on_gpu = torch.cuda.is_available()
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.bfloat16 if on_gpu else torch.float32,
    )
    return model.to("cuda") if on_gpu else model
