"""Each method learns, repeats itself, and refuses what it cannot do."""

import json
import shutil

import pytest
import torch
from clara_trainer import methods
from clara_trainer.outcome import Failure
from trained import a_run, adapted, learn, learned, logits
from trainer_lab import tiny_base

METHODS = ("lora", "qlora", "dora")


def trainable(model):
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


@pytest.mark.parametrize("method", METHODS)
def test_twenty_steps_change_the_adapter_alone_and_lower_the_loss(tmp_path, method):
    model = adapted(a_run(tmp_path, method))
    before, frozen = trainable(model), {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    losses = learn(model)
    assert losses[-1] < losses[0] - 0.2
    assert all(".lora_" in name for name in before)
    assert all(not torch.equal(value, before[name]) for name, value in trainable(model).items())
    assert all(torch.equal(value, dict(model.named_parameters())[name]) for name, value in frozen.items())


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_alone_decides_the_first_values(tmp_path, method):
    run = a_run(tmp_path, method, seed=5)
    first = trainable(adapted(run))
    torch.rand(7)  # whatever was drawn before
    second = trainable(adapted(run))
    other = trainable(adapted(a_run(tmp_path / "other", method, seed=6)))
    assert all(torch.equal(second[name], value) for name, value in first.items())
    assert any(not torch.equal(other[name], value) for name, value in first.items())


@pytest.mark.parametrize("method", METHODS)
def test_every_linear_layer_but_the_head_is_adapted(tmp_path, method):
    names = {
        name.partition(".lora_")[0].removeprefix("base_model.model.")
        for name in trainable(adapted(a_run(tmp_path, method)))
    }
    assert names == set(methods.linear_layers(methods.load(tiny_base(), "lora")))
    assert len(names) == 14


def test_rank_stabilised_scales_by_the_root_of_the_rank(tmp_path):
    plain = adapted(a_run(tmp_path, rank=16, alpha=8))
    stabilised = adapted(a_run(tmp_path / "rs", rank=16, alpha=8, rankStabilized=True))
    q_proj = "base_model.model.model.layers.0.self_attn.q_proj"
    assert plain.get_submodule(q_proj).scaling == {"default": 0.5}
    assert stabilised.get_submodule(q_proj).scaling == {"default": 2.0}


def test_the_base_of_qlora_is_nf4_with_double_quantisation():
    model = methods.load(tiny_base(), "qlora")
    weight = model.get_submodule("model.layers.0.mlp.up_proj").weight
    assert (weight.dtype, weight.quant_type, weight.quant_state.nested) == (torch.uint8, "nf4", True)
    assert model.lm_head.weight.dtype == torch.float32


def test_gradients_reach_every_adapter_of_qlora_through_checkpointed_blocks(tmp_path):
    model = adapted(a_run(tmp_path, "qlora"))
    assert model.get_input_embeddings()(torch.tensor([[1]])).requires_grad
    model.gradient_checkpointing_enable()
    before = trainable(model)
    learn(model, steps=2)
    assert all(not torch.equal(value, before[name]) for name, value in trainable(model).items())


def test_an_evaluation_between_steps_never_repacks_the_four_bit_weights(monkeypatch, tmp_path):
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)  # as on newer CPUs
    model = adapted(a_run(tmp_path, "qlora"))
    learn(model, steps=2)
    logits(model)
    losses = learn(model, steps=10)
    assert losses[-1] < losses[0]


def test_a_base_that_is_quantised_already_is_no_base_for_qlora(tmp_path):
    shutil.copytree(tiny_base(), tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    with pytest.raises(Failure, match=r"quantised already \(gptq\); name the unquantised base, or use method lora"):
        methods.load(tmp_path / "base", "qlora")


def test_odd_widths_are_refused_by_name_before_training(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=33,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(Failure, match=r"'model\.layers\.0\.mlp\.down_proj' reads 33 values.*use method lora"):
        methods.load(tmp_path, "qlora")


def test_dora_without_a_conversion_ends_before_a_step_is_taken(tmp_path):
    with pytest.raises(Failure, match=r"engines refuse DoRA; add spec\.conversion, or use method lora") as error:
        adapted(a_run(tmp_path, "dora", fields={"conversion": None}))
    assert error.value.failure == "NotServable"


# -- continuing an adapter


@pytest.fixture
def start(tmp_path):
    """A saved rsLoRA of rank 4 and alpha 8, and its logits."""
    model = learned(a_run(tmp_path / "start", rankStabilized=True))
    model.save_pretrained(tmp_path / "saved", save_embedding_layers=False)
    return tmp_path / "saved", logits(model)


def continuing(tmp_path, method="lora", **hyperparameters):
    """A run that says of the adapter only what is given here; the rest is the profile's."""
    return a_run(tmp_path / "next", method, fields={"hyperparameters": hyperparameters})


def test_a_continued_adapter_begins_where_it_ended_and_goes_on(tmp_path, start):
    folder, expected = start
    model = adapted(continuing(tmp_path, dropout=0.1), folder)
    assert torch.allclose(logits(model), expected, atol=1e-6)
    config = model.peft_config["default"]
    assert (config.r, config.lora_alpha, config.use_rslora, config.lora_dropout) == (4, 8, True, 0.1)
    losses = learn(model, rate=1e-3)
    assert losses[-1] < losses[0]


def test_an_adapter_can_be_continued_on_the_base_in_four_bits(tmp_path, start):
    model = adapted(continuing(tmp_path, "qlora"), start[0])
    losses = learn(model, rate=1e-3)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"rank": 8}, r"has rank 4, and hyperparameters\.rank asks for 8; leave out hyperparameters\.rank"),
        ({"alpha": 16}, r"has alpha 8, and hyperparameters\.alpha asks for 16; leave out"),
    ],
)
def test_another_rank_or_scale_than_the_adapter_has_is_refused_with_the_cure(tmp_path, start, asked, words):
    with pytest.raises(Failure, match=words) as error:
        adapted(continuing(tmp_path, **asked), start[0])
    assert error.value.failure == "ArtifactInvalid"


def test_asking_for_what_the_adapter_has_is_fine(tmp_path, start):
    assert adapted(continuing(tmp_path, rank=4, alpha=8, rankStabilized=True), start[0]).peft_config["default"].r == 4


def test_an_adapter_on_some_of_the_layers_is_not_continued_on_all(tmp_path):
    from peft import LoraConfig, get_peft_model

    few = get_peft_model(methods.load(tiny_base(), "lora"), LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    few.save_pretrained(tmp_path / "few")
    with pytest.raises(
        Failure, match=r"leaves 10 of 14 linear layers alone \(model\.layers\.0\.mlp\.down_proj"
    ) as error:
        adapted(continuing(tmp_path), tmp_path / "few")
    assert "leave out startFrom" in error.value.message


def test_a_plain_adapter_is_not_continued_as_dora(tmp_path, start):
    with pytest.raises(Failure, match="cannot be continued as DoRA; use method lora or qlora"):
        adapted(continuing(tmp_path, "dora"), start[0])
