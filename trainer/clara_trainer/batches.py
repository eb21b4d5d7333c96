"""From the examples of one step to what the model is given: micro-batches without padding where the model allows it. For steps.py.

    packed    examples lie end to end in one row [1, n]; position ids restart at each; attention never crosses a border
    padded    rows of like length together, padded on the right; for models whose packing could not be proven

A label stands where its token is predicted (one to the left), and logits are computed there only: on prompts and padding the
head of the model, its largest matrix, does no work.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from clara_trainer.tokens import IGNORED, Example


@dataclass(frozen=True, slots=True)
class Layout:
    """How examples become what the model is given."""

    packed: bool
    filler: int  # token id that pads

    def deal(self, examples: Sequence[Example], most: int, processes: int = 1) -> list[list[list[Example]]]:
        """For each process the examples of its forward passes: at most `most` each, as few passes as fit, about equal work."""
        lengths = [len(example.ids) for example in examples]
        if self.packed:
            groups = cut(lengths, passes(len(examples), most, processes), most)
            dealt = [groups[process::processes] for process in range(processes)]
        else:
            dealt = [
                [[hand[i] for i in group] for group in alike([lengths[i] for i in hand], most)]
                for hand in cut(lengths, processes, len(lengths))
            ]
        return [[[examples[i] for i in group] for group in groups] for groups in dealt]

    def batch(self, examples: Sequence[Example]) -> MicroBatch:
        """One forward pass."""
        return pack(examples) if self.packed else pad(examples, filler=self.filler)


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Tensors of one forward pass. `keep`: positions [s] of the flattened row that carry loss; `targets`: their tokens [s]."""

    input_ids: torch.Tensor  # [rows, width]
    position_ids: torch.Tensor  # [rows, width]
    attention_mask: torch.Tensor | None  # [rows, width]; None when packed
    borders: torch.Tensor | None  # [examples + 1] int32, where packed examples begin and end; None when padded
    longest: int
    keep: torch.Tensor  # packed: places in the row; padded: places in rows laid end to end
    targets: torch.Tensor

    @property
    def computed(self) -> int:
        """Tokens that cost work, padding included."""
        return int(self.input_ids.numel())

    def to(self, device: torch.device | str) -> MicroBatch:
        """The same on another device."""
        moved = {
            name: value.to(device, non_blocking=True)
            if isinstance(value := getattr(self, name), torch.Tensor)
            else value
            for name in self.__slots__
        }
        return MicroBatch(**moved)


def passes(examples: int, most: int, processes: int = 1) -> int:
    """Forward passes of a step: as few as hold `most` examples each, and a multiple of `processes` where there are enough.

    >>> passes(64, 8), passes(64, 24), passes(64, 24, processes=4), passes(3, 8, processes=4)
    (8, 3, 4, 3)
    """
    fewest = -(-examples // most)
    return min(examples, -(-fewest // processes) * processes)


def cut(lengths: Sequence[int], count: int, most: int) -> list[list[int]]:
    """The indices of `lengths` in `count` groups of at most `most` and of about equal sums: longest first into the lightest
    group that has room. Deterministic.

    >>> cut([5, 1, 1, 3], 2, 3)
    [[0], [1, 2, 3]]
    """
    groups: list[list[int]] = [[] for _ in range(count)]
    open_ones = [(0, g) for g in range(count)]  # weight and group, a heap
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        weight, lightest = heapq.heappop(open_ones)
        groups[lightest].append(index)
        if len(groups[lightest]) < most:
            heapq.heappush(open_ones, (weight + lengths[index], lightest))
    return [sorted(group) for group in groups]


def alike(lengths: Sequence[int], most: int) -> list[list[int]]:
    """The indices of `lengths` in groups of at most `most` of like length, for padding.

    >>> alike([5, 1, 1, 3], 2)
    [[1, 2], [0, 3]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return [sorted(order[start : start + most]) for start in range(0, len(order), most)]


def pack(examples: Sequence[Example]) -> MicroBatch:
    """Examples end to end in one row."""
    lengths = [len(example.ids) for example in examples]
    targets = list(itertools.chain.from_iterable(_shifted(example) for example in examples))
    labels = torch.tensor(targets)
    keep = (labels != IGNORED).nonzero().squeeze(-1)
    return MicroBatch(
        input_ids=torch.tensor([list(itertools.chain.from_iterable(example.ids for example in examples))]),
        position_ids=torch.tensor([list(itertools.chain.from_iterable(range(length) for length in lengths))]),
        attention_mask=None,
        borders=torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32),
        longest=max(lengths),
        keep=keep,
        targets=labels[keep],
    )


def pad(examples: Sequence[Example], *, filler: int) -> MicroBatch:
    """Examples under each other, padded on the right; padding is neither attended to nor learned."""
    width = max(len(example.ids) for example in examples)

    def padded(row: Sequence[int], with_: int) -> list[int]:
        return [*row, *[with_] * (width - len(row))]

    labels = torch.tensor([padded(_shifted(example), IGNORED) for example in examples]).flatten()
    keep = (labels != IGNORED).nonzero().squeeze(-1)
    return MicroBatch(
        input_ids=torch.tensor([padded(example.ids, filler) for example in examples]),
        position_ids=torch.arange(width).repeat(len(examples), 1),
        attention_mask=torch.tensor([padded([1] * len(example.ids), 0) for example in examples]),
        borders=None,
        longest=width,
        keep=keep,
        targets=labels[keep],
    )


def _shifted(example: Example) -> list[int]:
    """Labels where they are predicted: each moves one to the left, the last place predicts nothing."""
    return [*example.labels[1:], IGNORED]


def supervised(examples: Sequence[Example]) -> int:
    """Tokens of these examples that carry loss: what the step's loss is divided by."""
    return sum(example.supervised for example in examples)


def only(logits: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """The rows of [n, vocabulary] at these places, also of a model that ignores `logits_to_keep` and computes them all."""
    return logits if len(logits) == len(keep) else logits[keep]


def log_likelihood(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Sum of -log p over the batch's targets, float32; divide by the step's supervised tokens for its loss."""
    if batch.borders is not None:
        logits = model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            cu_seq_lens_q=batch.borders,
            cu_seq_lens_k=batch.borders,
            max_length_q=batch.longest,
            max_length_k=batch.longest,
            logits_to_keep=batch.keep,
            use_cache=False,
        ).logits[0]
        logits = only(logits, batch.keep)
    else:
        every = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
        logits = every.flatten(0, 1)[batch.keep]
    return torch.nn.functional.cross_entropy(logits.float(), batch.targets, reduction="sum")
