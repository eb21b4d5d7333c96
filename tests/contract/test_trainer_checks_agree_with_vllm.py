"""What the trainer calls servable is what the installed vLLM takes, and the other way round."""

from types import SimpleNamespace

import pytest
from clara_trainer.servable import config_problem

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
