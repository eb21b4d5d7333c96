"""From the trained model to what engines load: the servable adapter on disk, and its fingerprint. Called by train.py, last.

lora    saved as it is, measured where it was trained
qlora   saved as it is, measured on the plain base: engines do not run the 4-bit one
dora    re-fitted to a plain LoRA (convert.py), measured after that; too far from what was trained is NotServable
"""

from __future__ import annotations

import gc
import json
import logging
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from clara_api.fingerprint import Fingerprint
from clara_api.handoff.artifact import CONFIG, WEIGHTS, ConversionReport
from clara_api.handoff.run import TrainRun
from peft import PeftModel

from clara_trainer import base_model, convert, fingerprint, memory, servable
from clara_trainer.outcome import Failure
from clara_trainer.safetensors_header import read_shapes

LARGEST_RANK = 512  # the API's own

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finished:
    """What is published beside the weights."""

    fingerprint: Fingerprint
    dtype: str  # of the base the fingerprint was measured on
    conversion: ConversionReport | None = None


def finish(model: Any, tokenizer: Any, run: TrainRun, base: Path, out: Path) -> Finished:
    """Write adapter_model.safetensors and adapter_config.json into `out` and measure what engines will run.

    The model is used up: afterwards it may hold no weights, or another adapter. Failure NotServable when no engine would
    take the result, or when the conversion changed too much; Diverged when it computes not-a-number.
    """
    model.eval()
    if run.method == "dora":
        finished = _finish_dora(model, tokenizer, run, out)
    else:
        # Not asked whether embeddings were trained: they are not, and peft would look the base up on the hub.
        model.save_pretrained(out, safe_serialization=True, save_embedding_layers=False)
        if run.method == "qlora":
            release(model)
            plain = base_model.load_model(base, on_cpu=too_large_for_gpu(base))
            model = PeftModel.from_pretrained(plain, out, torch_device=str(plain.device)).eval()
        finished = measured(model, tokenizer)
    check_servable(out)
    return finished


def _finish_dora(model: Any, tokenizer: Any, run: TrainRun, out: Path) -> Finished:
    if run.conversion is None:
        raise Failure("NotServable", "engines refuse DoRA; add spec.conversion, or use method lora")
    trained = measured(model, tokenizer).fingerprint
    weight_error = convert.write_plain_lora(model, run.conversion.rank, out)
    finished = measured(PeftModel.from_pretrained(model.unload(), out).eval(), tokenizer)
    error = convert.relative_error(finished.fingerprint, trained)
    log.info("converted to rank %d: weights off by %.3g, effect by %.3g", run.conversion.rank, weight_error, error)
    if error > run.conversion.max_error:
        raise Failure(
            "NotServable",
            f"as a plain LoRA of rank {run.conversion.rank} the adapter's effect is off by {error:.1%}, and "
            f"conversion.maxError allows {run.conversion.max_error:.1%}; raise conversion.rank, or use method lora",
        )
    report = ConversionReport(
        from_method="dora", rank=run.conversion.rank, weight_error=weight_error, logit_error=error
    )
    return Finished(finished.fingerprint, finished.dtype, report)


def measured(model: Any, tokenizer: Any) -> Finished:
    """The fingerprint of a model in memory, without a conversion."""
    dtype = str(model.dtype).removeprefix("torch.")
    return Finished(fingerprint.measure(model, tokenizer, dtype=dtype), dtype)


def release(model: Any) -> None:
    """Give a model's memory back although others still hold it: two bases at once may not fit."""
    for tensor in chain(model.parameters(), model.buffers()):
        tensor.data = torch.empty(0, dtype=tensor.dtype)
    gc.collect()
    torch.cuda.empty_cache()


def too_large_for_gpu(base: Path) -> bool:
    """Whether the plain base does not fit where its 4-bit form was trained: then the CPU measures, slowly."""
    if not torch.cuda.is_available():
        return False
    needed, free = 2 * base_model.weights_in(base), torch.cuda.mem_get_info()[0]
    if needed <= memory.USABLE * free:
        return False
    log.warning("the plain base needs %.1f GiB of the GPU's %.1f; the CPU measures", needed / 2**30, free / 2**30)
    return True


def refuse_unmeasurable(run: TrainRun, base: Path) -> None:
    """Failure OutOfMemory when the 4-bit base may fit and the plain one, on which its result is measured, does not.

    Asked before the first step: after the last one it would cost the whole run.
    """
    if run.method != "qlora" or torch.cuda.is_available():
        return
    needed, available = base_model.bytes_of_its_own(base), memory.available_bytes(torch.device("cpu"))
    if available is not None and needed > memory.USABLE * available:
        raise Failure(
            "OutOfMemory",
            f"what qlora trains is measured on the plain base, as engines run it; in float32 that needs {needed / 2**30:.1f} "
            f"GiB, and there are {available / 2**30:.1f}; raise spec.resources, or put the base into the store in float32",
        )


def check_servable(adapter: Path) -> None:
    """The same questions evaluation and engines ask, before anything is published."""
    config = json.loads((adapter / CONFIG).read_bytes())
    problem = servable.config_problem(config, max_lora_rank=LARGEST_RANK)
    if problem := problem or servable.tensor_problem(read_shapes(adapter / WEIGHTS), config):
        raise Failure("NotServable", f"engines would refuse the adapter: {problem}")
