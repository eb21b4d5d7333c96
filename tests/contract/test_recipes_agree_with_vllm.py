"""What a TrainingJob may ask for is what the installed vLLM loads, and the other way round."""

from __future__ import annotations

from types import SimpleNamespace
from typing import get_args

import pytest
from clara_api import servable
from clara_api.serving_deployment import EngineSpec
from clara_api.training_job import Conversion, Method

# What peft writes into adapter_config.json for each method of a recipe.
WRITTEN = {"lora": {}, "qlora": {}, "dora": {"use_dora": True}}


def loads(max_lora_rank: int = 512, **fields: object) -> bool:
    from vllm.lora.peft_helper import PEFTHelper

    config = {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj"], "bias": "none"} | fields
    try:
        PEFTHelper.from_dict(config).validate_legal(SimpleNamespace(max_lora_rank=max_lora_rank))
    except ValueError:
        return False
    return True


def test_the_table_has_a_row_for_the_installed_version():
    import vllm

    installed = ".".join(vllm.__version__.split(".")[:2])
    assert servable.LOADERS[installed] is servable.CURRENT


@pytest.mark.parametrize("method", get_args(Method))
def test_a_method_needs_a_conversion_if_and_only_if_vllm_refuses_its_result(method: Method):
    assert (servable.method_problem(method, None) is None) == loads(**WRITTEN[method])
    assert servable.method_problem(method, Conversion()) is None


@pytest.mark.parametrize("rank_stabilized", [False, True])
def test_rank_stabilized_adapters_are_loaded(rank_stabilized: bool):
    assert loads(use_rslora=rank_stabilized)


def test_the_ranks_engines_may_be_started_with_are_vllms():
    from vllm.config.lora import MaxLoRARanks

    assert get_args(MaxLoRARanks) == servable.CURRENT.max_lora_ranks
    assert set(get_args(EngineSpec.model_fields["max_lora_rank"].annotation)) <= set(servable.CURRENT.max_lora_ranks)


@pytest.mark.parametrize("rank", [1, 8, 9, 64, 65, 321, 512])
def test_the_limit_that_is_named_as_the_cure_takes_the_rank_and_no_smaller_one_does(rank: int):
    named = servable.smallest_limit(rank)
    assert loads(named, r=rank)
    assert not any(loads(limit, r=rank) for limit in servable.CURRENT.max_lora_ranks if limit < named)


def test_no_engine_takes_more_than_the_highest_rank():
    assert not loads(servable.HIGHEST_RANK, r=servable.HIGHEST_RANK + 1)
