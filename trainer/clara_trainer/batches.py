"""How examples become batches: micro-batch size, padding, steps. The arithmetic of train.py; no state, no files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from clara_trainer.tokens import IGNORED, Example

AUTO_ON_CPU = 8  # beyond this a CPU gains nothing from wider batches and pays for the padding
AUTO_ON_GPU = 16  # a start that fits 24 GB with 8 B parameters in bfloat16 at 1,024 tokens


def micro_batch(wanted: Literal["auto"] | int, global_batch: int, *, on_gpu: bool) -> int:
    """The largest divisor of the global batch not above what is wanted.

    A divisor, because accumulation must reach exactly globalBatchSize: memory may change how a step is cut, never the step.
    """
    most = (AUTO_ON_GPU if on_gpu else AUTO_ON_CPU) if wanted == "auto" else wanted
    return next(size for size in range(min(most, global_batch), 0, -1) if global_batch % size == 0)


def as_rows(examples: Sequence[Example]) -> list[dict[str, list[int]]]:
    """What the Trainer's sampler picks from."""
    return [{"input_ids": list(example.ids), "labels": list(example.labels)} for example in examples]


def collate(rows: Sequence[dict[str, list[int]]], *, pad: int) -> dict[str, Any]:
    """Pad on the right to the longest of the batch; padding is neither attended to nor learned."""
    width = max(len(row["input_ids"]) for row in rows)

    def padded(key: str, filler: int) -> list[list[int]]:
        return [row[key] + [filler] * (width - len(row[key])) for row in rows]

    return {
        "input_ids": torch.tensor(padded("input_ids", pad)),
        "labels": torch.tensor(padded("labels", IGNORED)),
        "attention_mask": torch.tensor([[1] * len(r["input_ids"]) + [0] * (width - len(r["input_ids"])) for r in rows]),
    }
