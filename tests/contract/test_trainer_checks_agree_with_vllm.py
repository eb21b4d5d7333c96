"""What the trainer calls servable is what the installed vLLM takes, and the other way round."""

import json
from types import SimpleNamespace

import pytest
from clara_trainer.servable import config_problem
from trained import a_run, learned, tokenizer
from trainer_lab import tiny_base

PLAIN = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"bias": "all"},
        {"lora_bias": True},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "corda"},
        {"init_lora_weights": "loftq"},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "lora_ga"},
        {"init_lora_weights": False},
        {"alora_invocation_tokens": [1]},
        {"layer_replication": [[0, 1]]},
        {"use_bdlora": {"x": 1}},
        {"use_qalora": True},
        {"use_rslora": True},
        {"r": 16},
        {"r": 17},
        {"r": 0},
        {"rank_pattern": {"q_proj": 17}},
        {"rank_pattern": {"q_proj": 4}},
    ],
    ids=str,
)
def test_both_take_or_both_refuse(fields):
    from vllm.lora.peft_helper import PEFTHelper

    try:
        PEFTHelper.from_dict(PLAIN | fields).validate_legal(SimpleNamespace(max_lora_rank=16))
        engine_takes = True
    except ValueError:
        engine_takes = False
    assert (config_problem(PLAIN | fields, max_lora_rank=16) is None) == engine_takes


@pytest.mark.parametrize(
    ("method", "stabilised", "scale"),
    [
        ("lora", False, 2),
        ("lora", True, 4),
        ("qlora", False, 2),
        ("qlora", True, 4),
        ("dora", False, 1),
        ("dora", True, 1),
    ],
)
def test_what_every_method_leaves_is_taken_with_the_scale_it_was_trained_with(tmp_path, method, stabilised, scale):
    from clara_trainer.finish import finish
    from vllm.lora.peft_helper import PEFTHelper

    run = a_run(tmp_path, method, rank=4, alpha=8, rankStabilized=stabilised)
    finish(learned(run), tokenizer(), run, tiny_base(), tmp_path / "out")
    helper = PEFTHelper.from_local_dir(str(tmp_path / "out"), None)
    helper.validate_legal(SimpleNamespace(max_lora_rank=64))
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config_problem(config, max_lora_rank=64) is None
    assert helper.get_rank_and_scaling("model.layers.0.self_attn.q_proj") == (64 if method == "dora" else 4, scale)
