"""What vLLM's LoRA loader takes, known before anything is trained. Pure; called by the operator's preflight.

One row per vLLM version that Clara runs; tests/contract/test_recipes_agree_with_vllm.py holds the newest against the
installed loader (`PEFTHelper.validate_legal`). What a finished artifact holds is checked again by trainer and agent.
"""

from __future__ import annotations

from dataclasses import dataclass

from clara_api.training_job import Conversion, Method


@dataclass(frozen=True, slots=True)
class Loader:
    """One version's loader. rsLoRA is plain LoRA to it: the scale is computed from the config."""

    methods: frozenset[Method]  # whose result is loaded as it is
    max_lora_ranks: tuple[int, ...]  # the values its --max-lora-rank may have


LOADERS: dict[str, Loader] = {
    "0.32": Loader(frozenset({"lora", "qlora"}), (1, 8, 16, 32, 64, 128, 256, 320, 512)),
}
CURRENT = LOADERS["0.32"]
HIGHEST_RANK = max(CURRENT.max_lora_ranks)


def method_problem(method: Method, conversion: Conversion | None) -> str | None:
    """Why the result of a method would be refused, with the cure; None when it is taken as it is, or converted."""
    if method in CURRENT.methods or conversion is not None:
        return None
    return (
        f"engines refuse adapters of method {method}; add spec.conversion: {{rank: 32}} to have the result re-fitted to a "
        "plain LoRA, or use method lora"
    )


def published_rank(rank: int, conversion: Conversion | None) -> tuple[str, int]:
    """The rank engines see, and the field that decides it."""
    return ("conversion.rank", conversion.rank) if conversion else ("hyperparameters.rank", rank)


def smallest_limit(rank: int) -> int:
    """The smallest engine.maxLoraRank that takes `rank`."""
    return min((limit for limit in CURRENT.max_lora_ranks if limit >= rank), default=HIGHEST_RANK)
