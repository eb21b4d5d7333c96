"""Each method learns, is saved as a plain LoRA that engines load, and does there what it did in training."""

import json
import socket

import pytest
import torch
from clara_api.fingerprint import NOISE_FLOOR, compare, l2
from clara_api.handoff.run import TrainRun
from clara_trainer import attention, base_model, convert, finish, methods, steps
from clara_trainer.memory import first_plan, flops_per_token
from clara_trainer.outcome import Failure
from clara_trainer.servable import config_problem
from clara_trainer.steps import Course, optimizer_for
from clara_trainer.stop import Stop
from peft import PeftModel
from trainer_lab import Lab, tiny_base, tiny_tokenizer
from training_bench import examples

PLAIN = {"method": "lora"}
STABLE = {"method": "lora", "hyperparameters": {"rankStabilized": True}}
QUANTISED = {"method": "qlora"}
DORA = {"method": "dora", "conversion": {"rank": 32, "maxError": 0.2}}
METHODS = {"lora": PLAIN, "rslora": STABLE, "qlora": QUANTISED, "dora": DORA}


def run_of(lab, method):
    changes = METHODS[method]
    run = lab.train_run(epochs=7, **changes.get("hyperparameters", {}))
    return TrainRun.model_validate(run | {k: v for k, v in changes.items() if k != "hyperparameters"})


@pytest.fixture
def lab(tmp_path):
    torch.set_num_threads(1)
    return Lab(tmp_path)


def started(run, start=None):
    torch.manual_seed(1)
    model = methods.adapt(methods.load(tiny_base(), run.method), run, start)
    attention.use_packed(model)
    return model


def trained(run, start=None, steps_taken=20):
    """The model after some steps, and the losses of the first and the last."""
    model = started(run, start)
    rows = examples(24)
    plan = first_plan(run.hyperparameters, [20] * 24, on_gpu=False)
    course = Course(
        model, optimizer_for(model, 5e-3), rows, (), run.hyperparameters, plan, True, 0, torch.device("cpu")
    )
    course.total = steps_taken
    losses = [steps.take_step(course, step, Stop()) for step in range(steps_taken)]
    return model, losses


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_its_adapter_has_the_effect_engines_are_asked_to_prove(lab, tmp_path, method):
    run = run_of(lab, method)
    model, losses = trained(run)
    assert losses[-1] < losses[0] - 0.03
    done = finish.finish(model, tiny_tokenizer(), run, tiny_base(), tmp_path / "out")
    assert l2(done.fingerprint.vector()) > NOISE_FLOOR
    assert done.dtype == "float32"

    config = json.loads((tmp_path / "out" / "adapter_config.json").read_bytes())
    assert config_problem(config, max_lora_rank=64) is None
    reloaded = PeftModel.from_pretrained(base_model.load_model(tiny_base()), tmp_path / "out").eval()
    measured = finish.measured(reloaded, tiny_tokenizer())
    assert compare(done.fingerprint.vector(), measured.vector(), noise=0).cosine > 0.9999


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_begins_with_the_same_weights(lab, method):
    run = run_of(lab, method)
    first, second = (started(run).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first if "lora_" in name)


def test_the_base_of_qlora_is_four_bits_wide(lab):
    model = started(run_of(lab, "qlora"))
    packed = [m for m in model.modules() if type(m).__module__.startswith("bitsandbytes")]
    assert len(packed) == 14  # seven in each of two layers; the head stays as it is
    assert all(m.weight.dtype == torch.uint8 for m in packed)
    assert flops_per_token(model) == pytest.approx(flops_per_token(started(run_of(lab, "lora"))))


def test_loading_a_four_bit_base_asks_nothing_of_the_network(lab, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    trained(run_of(lab, "qlora"), steps_taken=1)


def test_the_scale_of_rank_stabilized_adapters_is_alpha_by_the_root_of_the_rank(lab):
    plain, stable = started(run_of(lab, "lora")), started(run_of(lab, "rslora"))
    name = "base_model.model.model.layers.0.mlp.up_proj"
    scale = {m.get_submodule(name).scaling["default"] for m in (plain,)}, stable.get_submodule(name).scaling["default"]
    assert scale == ({8 / 4}, 8 / 4**0.5)


# -- DoRA → LoRA ------------------------------------------------------------------------------------------------------------
def logits(model, ids=tuple(range(6, 40))):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits


def test_a_dora_adapter_refitted_at_full_rank_is_the_same_model(lab):
    model, _ = trained(run_of(lab, "dora"))
    model.eval()
    expected = logits(model)
    parts = {name: convert.refit(change, 64) for name, change in convert.changes(model).items()}
    assert len(parts) == 14
    plain = convert.plain(base_model.load_model(tiny_base()), parts, 64)
    assert (logits(plain) - expected).abs().max() < 1e-4
    merged = model.merge_and_unload()
    assert (logits(merged) - expected).abs().max() < 1e-4
    assert convert.weight_error(parts) < 1e-4


def test_the_error_of_a_lower_rank_is_measured_and_falls_with_the_rank(lab):
    model, _ = trained(run_of(lab, "dora"))
    errors = []
    for rank in (1, 4, 16, 32):
        parts = {name: convert.refit(change, rank) for name, change in convert.changes(model).items()}
        errors.append(convert.weight_error(parts))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.1
    assert errors[-1] < 1e-4


def test_the_randomised_refit_of_large_matrices_is_nearly_the_best_one(monkeypatch):
    torch.manual_seed(3)
    change = torch.randn(300, 8) @ torch.randn(8, 200) + 0.01 * torch.randn(300, 200)
    best = convert.refit(change, 8)
    monkeypatch.setattr(convert, "EXACT_UP_TO", 100)
    randomised = convert.refit(change, 8)
    assert randomised.lost < best.lost * 1.01
    assert torch.equal(randomised.up, convert.refit(change, 8).up)


def test_a_conversion_that_loses_too_much_is_no_success(lab, tmp_path):
    run = run_of(lab, "dora").model_copy(update={"conversion": None})
    strict = run.model_validate(run.wire() | {"conversion": {"rank": 1, "maxError": 0.0001}})
    model, _ = trained(run_of(lab, "dora"))
    with pytest.raises(Failure, match=r"rank 1, the adapter's effect is off by .*; raise conversion\.rank") as failed:
        finish.finish(model, tiny_tokenizer(), strict, tiny_base(), tmp_path / "out")
    assert failed.value.failure == "NotServable"


# -- continuing ---------------------------------------------------------------------------------------------------------------
def test_a_continued_adapter_begins_where_the_other_ended(lab, tmp_path):
    run = run_of(lab, "lora")
    model, losses = trained(run)
    model.save_pretrained(tmp_path / "first")
    _, continued = trained(run, tmp_path / "first")
    assert continued[0] == pytest.approx(losses[-1], abs=0.35)
    assert continued[-1] < losses[-1]


def test_an_adapter_of_another_shape_is_not_continued(lab, tmp_path):
    model, _ = trained(run_of(lab, "lora"), steps_taken=1)
    model.save_pretrained(tmp_path / "first")
    other = TrainRun.model_validate(lab.train_run(rank=8))
    with pytest.raises(Failure, match=r"set hyperparameters \{rank: 4, alpha: 8, rankStabilized: false\}"):
        methods.adapt(methods.load(tiny_base(), "lora"), other, tmp_path / "first")


# -- bases that cannot be loaded ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("file", "content", "cause"),
    [
        ("config.json", b'{"model_type": "no-such-kind"}', "no-such-kind"),
        ("config.json", b"{", "config"),
        ("model.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00garbage!", "model"),
    ],
)
def test_a_base_that_cannot_be_loaded_is_told_with_its_cause(tmp_path, file, content, cause):
    for path in tiny_base().iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).write_bytes(content)
    with pytest.raises(Failure, match=cause) as failed:
        methods.load(tmp_path, "lora")
    assert failed.value.failure == "BaseModelUnavailable"


def test_a_base_comes_from_the_first_place_that_has_the_same_bytes(lab, tmp_path):
    from clara_api.training_job import TrainingBase
    from clara_trainer.objects import Objects

    objects = Objects(lab.root / "volumes", patience=1)
    right = lab.base["uri"]
    base = TrainingBase.model_validate(lab.base | {"uri": "volume://clara-artifacts/models/none", "mirrors": [right]})
    assert (base_model.fetch_base(base, objects, tmp_path / "base") / "config.json").exists()
    nowhere = base.model_copy(update={"mirrors": ["volume://clara-artifacts/models/neither"]})
    with pytest.raises(Failure, match=r"models/none; .*models/neither; put the named files there"):
        base_model.fetch_base(nowhere, objects, tmp_path / "other")
