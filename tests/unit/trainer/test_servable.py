"""What engines refuse is known before an engine is asked."""

import pytest
from clara_trainer.servable import config_problem, fit_problem, tensor_problem

Q = "base_model.model.model.layers.0.self_attn.q_proj"


def config(**fields):
    return {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none"} | fields


def shapes(rank=8, out=32, into=16, module=Q):
    return {f"{module}.lora_A.weight": (rank, into), f"{module}.lora_B.weight": (out, rank)}


def test_a_plain_lora_is_taken():
    assert config_problem(config(), max_lora_rank=8) is None
    assert tensor_problem(shapes(), config()) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "biases"),
        ({"lora_bias": True}, "lora_bias"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base's weights"),
        ({"alora_invocation_tokens": [1]}, "aLoRA"),
        ({"r": 16}, "its rank is 16, and the engines take at most 8"),
        ({"rank_pattern": {"q_proj": 32}}, "its rank is 32"),
        ({"r": 0}, "no positive numbers"),
        ({"r": None}, "no positive numbers"),
    ],
)
def test_what_engines_refuse_is_named(fields, words):
    assert words in (config_problem(config(**fields), max_lora_rank=8) or "")


@pytest.mark.parametrize("init", [True, False, "gaussian", "eva", None])
def test_inits_that_only_choose_first_values_are_taken(init):
    assert config_problem(config(init_lora_weights=init), max_lora_rank=8) is None


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({}, "no tensors"),
        ({"lm_head.weight": (8, 8)}, "belongs to no LoRA pair"),
        ({f"{Q}.lora_A.weight": (8, 16)}, "without"),
        (shapes(rank=4), "its rank is 8"),
        (shapes(module="base_model.model.model.layers.0.mlp.up_proj"), "target_modules does not name"),
    ],
)
def test_tensors_must_agree_with_the_config(tensors, words):
    assert words in (tensor_problem(tensors, config()) or "")


def test_a_rank_pattern_holds_for_the_modules_it_names():
    assert tensor_problem(shapes(rank=4), config(rank_pattern={"q_proj": 4})) is None


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ({"model.layers.0.self_attn.q_proj.weight": (32, 16)}, None),
        ({"model.layers.0.self_attn.q_proj.weight": (64, 16)}, "as 32 x 16; the base model has 64 x 16"),
        ({}, "which the base model does not have"),
    ],
)
def test_the_adapter_must_fit_the_base(base, words):
    problem = fit_problem(shapes(), base)
    assert problem is None if words is None else words in (problem or "")
