"""The agent's table of unsupported features against the function of this vLLM that decides: neither more nor less."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from clara_agent import checks
from clara_agent.errors import Permanent

CONFIG = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
CASES: list[dict[str, Any]] = [
    {},
    {"use_rslora": True},
    {"bias": "none"},
    {"bias": "lora_only"},
    {"bias": "all"},
    {"use_dora": True},
    {"lora_bias": True},
    {"modules_to_save": None},
    {"modules_to_save": []},
    {"modules_to_save": ["lm_head", "embed_tokens"]},
    *({"init_lora_weights": v} for v in (True, False, "gaussian", "EVA", "orthogonal", "mica", "lora_ga")),
    *({"init_lora_weights": v} for v in ("pissa", "pissa_niter_16", "olora", "corda", "loftq")),
    {"alora_invocation_tokens": None},
    {"alora_invocation_tokens": [1, 2]},
    {"layer_replication": [[0, 2]]},
    {"use_bdlora": {"target_modules_bd_a": ["x"]}},
    {"use_qalora": True},
    {"r": 16},
    {"r": 17},
    {"rank_pattern": {"k_proj": 16}},
    {"rank_pattern": {"k_proj": 32}},
]


def vllm_accepts(config: dict[str, Any]) -> bool:
    from vllm.lora.peft_helper import PEFTHelper

    try:
        PEFTHelper.from_dict(config).validate_legal(SimpleNamespace(max_lora_rank=16))  # type: ignore[arg-type]
    except ValueError:
        return False
    return True


def agent_accepts(config: dict[str, Any]) -> bool:
    try:
        checks.check_config(json.dumps(config).encode(), max_rank=16)
    except Permanent:
        return False
    return True


@pytest.mark.slow
def test_every_feature_is_judged_as_vllm_judges_it():
    for case in CASES:
        assert agent_accepts(CONFIG | case) == vllm_accepts(CONFIG | case), case
    assert {vllm_accepts(CONFIG | case) for case in CASES} == {True, False}
