"""A DoRA adapter as a plain LoRA: exact at full rank, optimal below it, measured always."""

import pytest
import torch
from clara_api.fingerprint import Fingerprint
from clara_trainer.convert import fit, relative_error, write_plain_lora
from trained import a_run, adapted, learned, logits, reloaded

FULL = 64  # no layer of the tiny base is larger


def test_at_full_rank_the_converted_adapter_computes_what_dora_computed(tmp_path):
    model = learned(a_run(tmp_path, "dora"))
    expected = logits(model)
    error = write_plain_lora(model, FULL, tmp_path / "out")
    assert torch.allclose(logits(reloaded(tmp_path / "out")), expected, atol=1e-4)
    assert error < 1e-5
    with model.disable_adapter():
        assert (logits(model) - expected).abs().max() > 0.05  # there was something to convert


def test_a_rank_stabilised_dora_keeps_its_scale(tmp_path):
    model = learned(a_run(tmp_path, "dora", rank=16, rankStabilized=True))
    expected = logits(model)
    write_plain_lora(model, FULL, tmp_path / "out")
    assert torch.allclose(logits(reloaded(tmp_path / "out")), expected, atol=1e-4)


def test_the_conversion_agrees_with_merging_by_peft(tmp_path):
    model = learned(a_run(tmp_path, "dora"))
    write_plain_lora(model, FULL, tmp_path / "out")
    merged = logits(model.merge_and_unload())
    assert torch.allclose(logits(reloaded(tmp_path / "out").merge_and_unload()), merged, atol=1e-4)


def test_a_lower_rank_loses_more_and_says_how_much(tmp_path):
    model = learned(a_run(tmp_path, "dora"))
    errors = [write_plain_lora(model, rank, tmp_path / str(rank)) for rank in (2, 8, 16, FULL)]
    assert errors == sorted(errors, reverse=True)
    assert 0.1 < errors[0] < 1


def test_the_same_adapter_is_converted_to_the_same_bytes(tmp_path):
    model = learned(a_run(tmp_path, "dora"))
    for out in ("a", "b"):
        torch.rand(3)  # whatever was drawn before
        write_plain_lora(model, 4, tmp_path / out)
    first, second = ((tmp_path / out / "adapter_model.safetensors").read_bytes() for out in ("a", "b"))
    assert first == second


def test_an_adapter_that_learned_nothing_is_converted_without_an_error(tmp_path):
    assert write_plain_lora(adapted(a_run(tmp_path, "dora")), 4, tmp_path / "out") < 1e-3


@pytest.mark.parametrize("shape", [(96, 160), (160, 96)])
def test_the_fit_is_as_good_as_the_exact_svd_also_with_a_flat_tail(shape):
    torch.manual_seed(1)
    change = torch.randn(shape) * 0.01 + torch.randn(shape[0], 8) @ torch.randn(8, shape[1]) * 0.01
    b, a = fit(change, 16)
    optimal = torch.linalg.svdvals(change)[16:].norm()
    assert (change - b @ a).norm() <= 1.005 * optimal


def test_fitting_draws_nothing_from_the_runs_own_random_numbers():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    fit(torch.eye(8), 2)
    assert torch.equal(torch.rand(4), expected)


def test_the_error_is_a_share_of_what_was_learned():
    learned_effect = Fingerprint(prompts=[[1, 2, 3]], differences=[[3.0, 4.0]])
    converted = Fingerprint(prompts=[[1, 2, 3]], differences=[[3.0, 3.5]])
    assert relative_error(converted, learned_effect) == pytest.approx(0.1)
