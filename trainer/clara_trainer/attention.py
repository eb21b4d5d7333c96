"""Attention over packed examples that never looks across a border, and the proof of it on the model at hand. For train.py.

transformers hands the borders (`cu_seq_lens_q`) down to whatever function is registered; ours computes each example by itself.
A mask over the whole row would be right too, but costs the square of the row instead of the squares of the examples.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from clara_trainer.batches import only, pack
from clara_trainer.tokens import Example

NAME = "clara_packed"
# Of the largest logit's size. float32 measures 1e-6 where packing is right; bfloat16 rounds at 4e-3. Layers that mix neighbours
# by other means than attention (short convolutions, states) show at 3e-4 and above.
TOLERANCE = {torch.float32: 3e-5, torch.bfloat16: 2e-2}

COMPARED = 64  # places per example

log = logging.getLogger(__name__)


def packed_attention(  # noqa: PLR0917 - transformers' signature
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int = 0,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention signature: query [1, heads, n, d], key and value [1, kv heads, n, d] → [1, n, heads, d].

    Raises ValueError for what it cannot compute (soft caps, sinks, windows shorter than an example): see `prove`.
    """
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise ValueError("this model caps or sinks its attention")
    if (
        sliding_window is not None
        and max(max_length_q, 1 if cu_seq_lens_q is not None else query.shape[2]) > sliding_window
    ):
        raise ValueError(f"an example is longer than the model's sliding window of {sliding_window} tokens")
    grouped = key.shape[1] != query.shape[1]
    if cu_seq_lens_q is None:  # plain rows: the fingerprint, the validation of a single prompt
        out = scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, scale=scaling, is_causal=query.shape[2] > 1, enable_gqa=grouped
        )
        return out.transpose(1, 2), None
    if query.is_cuda:
        from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - one kernel for all examples, GPUs only

        flat = [t[0].transpose(0, 1).contiguous() for t in (query, key, value)]
        borders, longest = cu_seq_lens_q, max_length_q
        out = varlen_attn(
            *flat, borders, borders, longest, longest, scale=scaling, window_size=(-1, 0), enable_gqa=grouped
        )
        return out[None], None
    marks = cu_seq_lens_q.tolist()
    parts = [
        scaled_dot_product_attention(
            query[:, :, a:b], key[:, :, a:b], value[:, :, a:b], dropout_p=dropout, scale=scaling, is_causal=True,
            enable_gqa=grouped,
        )
        for a, b in itertools.pairwise(marks)
    ]  # fmt: skip
    return torch.cat(parts, dim=2).transpose(1, 2), None


def use(model: Any, name: str) -> None:
    """Switch a model to `packed_attention` (NAME), or to one of transformers' own."""
    if name == NAME:
        AttentionInterface.register(NAME, packed_attention)
    model.set_attn_implementation(name)


def choose(model: Any, examples: Sequence[Example], *, wanted: bool) -> bool:
    """Whether to pack: sets the model's attention and proves on the first and the longest example that packing changes nothing.

    Tries our attention, then the mask that transformers builds from position ids; pads where neither gives the same logits.
    """
    if not wanted:
        return False
    usual = model.config._attn_implementation
    probe = (
        examples[0],
        max(examples, key=lambda example: len(example.ids)),
    )  # a window shorter than the longest shows here
    for name in (NAME, "sdpa"):
        try:
            use(model, name)
            with torch.inference_mode():
                difference = prove(model, probe, usual)
        except Exception as error:  # whatever a model's own code raises: it cannot be packed this way
            log.info("attention %s does not fit this model: %s", name, error)
            continue
        if difference <= TOLERANCE[model.dtype]:
            log.info("examples are packed; packed and single logits differ by at most %.1e", difference)
            return True
        log.info("attention %s mixes packed examples (logits differ by %.1e)", name, difference)
    model.set_attn_implementation(usual)
    log.warning("this model cannot be packed; examples of like length are padded together instead")
    return False


def compared(length: int) -> list[int]:
    """Places of an example whose logits are compared: near its borders, where a neighbour would show most.

    All of them would need memory for the whole vocabulary at each.

    >>> compared(5), len(compared(4096))
    ([0, 1, 2, 3, 4], 64)
    """
    ends = COMPARED // 2
    return list(range(length)) if length <= COMPARED else [*range(ends), *range(length - ends, length)]


def prove(model: Any, examples: Sequence[Example], usual: str) -> float:
    """Largest difference between logits of packed and of single examples, as a share of the largest logit."""
    name = model.config._attn_implementation
    training = model.training
    kept, begin = [], 0
    for example in examples:
        kept += [begin + place for place in compared(len(example.ids))]
        begin += len(example.ids)
    model.eval()
    try:
        batch = pack(list(examples)).to(model.device)
        places = torch.tensor(kept, device=model.device)
        assert batch.borders is not None
        together = model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            cu_seq_lens_q=batch.borders,
            cu_seq_lens_k=batch.borders,
            max_length_q=batch.longest,
            max_length_k=batch.longest,
            logits_to_keep=places,
            use_cache=False,
        ).logits[0]
        together = only(together, places)
        model.set_attn_implementation(usual)
        alone = []
        for example in examples:
            ids = torch.tensor([example.ids], device=model.device)
            places = torch.tensor(compared(len(example.ids)), device=model.device)
            found = model(input_ids=ids, logits_to_keep=places, use_cache=False).logits[0]
            alone.append(only(found, places))
    finally:
        model.set_attn_implementation(name)
        model.train(training)
    single = torch.cat(alone)
    return float((together - single).abs().max() / single.abs().max())
