"""What leaves the trainer is what engines load, and its fingerprint is what they will measure."""

import json

import pytest
import torch
from clara_api.fingerprint import NOISE_FLOOR, compare, l2
from clara_trainer.fingerprint import measure
from clara_trainer.finish import finish, refuse_unmeasurable
from clara_trainer.outcome import Failure
from trained import a_run, adapted, learned, logits, reloaded, tokenizer
from trainer_lab import tiny_base

KINDS = [("lora", False), ("lora", True), ("qlora", False), ("qlora", True), ("dora", False), ("dora", True)]


def finished(run, model, folder):
    return finish(model, tokenizer(), run, tiny_base(), folder)


@pytest.mark.parametrize(("method", "stabilised"), KINDS)
def test_plain_peft_on_the_plain_base_shows_the_recorded_effect(tmp_path, method, stabilised):
    run = a_run(tmp_path, method, rankStabilized=stabilised)
    result = finished(run, learned(run), tmp_path / "out")
    again = measure(reloaded(tmp_path / "out").eval(), tokenizer(), dtype="float32")
    found = compare(result.fingerprint.vector(), again.vector(), noise=0)
    assert found.verified
    assert found.cosine > 0.999999
    assert found.norm > 100 * NOISE_FLOOR
    assert result.dtype == result.fingerprint.dtype == "float32"


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_rank_stabilised_scale_survives_saving_and_merging(tmp_path, method):
    run = a_run(tmp_path, method, rank=16, alpha=4, rankStabilized=True)
    model = learned(run)
    expected = logits(model)
    finished(run, model, tmp_path / "out")
    again = logits(reloaded(tmp_path / "out"))
    assert torch.allclose(logits(reloaded(tmp_path / "out").merge_and_unload()), again, atol=1e-4)
    assert torch.allclose(again, expected, atol=1e-5 if method == "lora" else 0.5)  # 4 bits are not the plain base
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["use_rslora"] is True


def test_the_effect_of_qlora_is_not_measured_on_four_bits(tmp_path):
    run = a_run(tmp_path, "qlora")
    model = learned(run)
    in_four_bits = measure(model.eval(), tokenizer(), dtype="float32").vector()
    result = finished(run, model, tmp_path / "out")
    assert l2([a - b for a, b in zip(result.fingerprint.vector(), in_four_bits, strict=True)]) > NOISE_FLOOR


def test_the_four_bit_weights_are_given_back_although_the_caller_still_holds_the_model(tmp_path):
    run = a_run(tmp_path, "qlora")
    model = learned(run)
    finished(run, model, tmp_path / "out")
    assert sum(tensor.numel() for tensor in model.parameters()) == 0


@pytest.mark.parametrize("stabilised", [False, True])
def test_dora_leaves_as_a_plain_lora_with_its_errors_measured(tmp_path, stabilised):
    run = a_run(tmp_path, "dora", rankStabilized=stabilised)
    result = finished(run, learned(run), tmp_path / "out")
    assert result.conversion is not None
    assert (result.conversion.from_method, result.conversion.rank) == ("dora", 64)
    assert result.conversion.weight_error < 1e-5
    assert result.conversion.logit_error < 1e-3
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["use_dora"], config["use_rslora"], config["r"], config["lora_alpha"]) == (False, False, 64, 64)


def test_a_conversion_that_loses_too_much_names_the_error_and_the_cure(tmp_path):
    run = a_run(tmp_path, "dora", fields={"conversion": {"rank": 1, "maxError": 0.01}})
    words = (
        r"rank 1 the adapter's effect is off by \d+\.\d%, and conversion\.maxError allows 1\.0%; raise conversion\.rank"
    )
    with pytest.raises(Failure, match=words) as error:
        finished(run, learned(run), tmp_path / "out")
    assert error.value.failure == "NotServable"


def test_what_engines_would_refuse_is_not_let_out(tmp_path):
    run = a_run(tmp_path)
    model = adapted(run)
    model.peft_config["default"].modules_to_save = ["lm_head"]
    with pytest.raises(Failure, match="engines would refuse the adapter") as error:
        finished(run, model, tmp_path / "out")
    assert error.value.failure == "NotServable"


def test_a_base_that_fits_in_four_bits_only_is_refused_before_the_first_step(tmp_path, monkeypatch):
    from clara_trainer import memory
    from safetensors.torch import load_file, save_file

    stored = load_file(tiny_base() / "model.safetensors")
    save_file({name: tensor.bfloat16() for name, tensor in stored.items()}, tmp_path / "model.safetensors")
    monkeypatch.setattr(memory, "available_bytes", lambda *args: 4 * sum(t.numel() for t in stored.values()))
    with pytest.raises(Failure, match="measured on the plain base") as failed:
        refuse_unmeasurable(a_run(tmp_path, "qlora"), tmp_path)
    assert failed.value.failure == "OutOfMemory"
    refuse_unmeasurable(a_run(tmp_path / "b", "qlora"), tiny_base())  # in float32 it stays in its file
