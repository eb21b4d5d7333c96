"""A base is fetched from the first place that has it, and one that cannot be loaded says why."""

import json
import shutil

import pytest
from clara_api.meta import BaseModelRef
from clara_api.training_job import TrainingBase
from clara_trainer.base_model import fetch_base, load_model, load_tokenizer
from clara_trainer.objects import Objects
from clara_trainer.outcome import Failure
from trainer_lab import Lab, tiny_base

MODELS = "volume://clara-artifacts/models"


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def another(lab, name):
    """A place that holds a different base, with one file more."""
    folder = lab.claim / "models" / name
    shutil.copytree(tiny_base(), folder)
    (folder / "added_tokens.json").write_text("{}")
    (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | {"x": 1}))
    return f"{MODELS}/{name}"


def fetch(lab, uri, *mirrors):
    base = TrainingBase(name="tiny", uri=uri, digest=lab.base["digest"], mirrors=list(mirrors))
    return fetch_base(base, Objects(lab.root / "volumes", patience=0), lab.root / "base")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("bad", [f"{MODELS}/none", "volume://not-mounted/tiny", "another"])
def test_the_next_mirror_is_tried_when_a_place_is_missing_unreachable_or_another(lab, bad):
    first = another(lab, "other") if bad == "another" else bad
    folder = fetch(lab, first, lab.base["uri"])
    assert names(folder) == names(tiny_base())
    assert load_model(folder).num_parameters() > 0


def test_a_mirror_is_not_read_when_the_first_place_is_good(lab):
    lab.write_rows("x.jsonl", [])
    assert fetch(lab, lab.base["uri"], "volume://not-mounted/tiny")


def test_when_no_place_has_it_every_place_is_named_with_its_cause(lab):
    other = another(lab, "other")
    with pytest.raises(Failure) as error:
        fetch(lab, f"{MODELS}/none", "volume://not-mounted/tiny", other)
    assert error.value.failure == "BaseModelUnavailable"
    first, second, third = error.value.message.split("; ", 2)
    assert f"no safetensors of base 'tiny' below {MODELS}/none" in first
    assert "'not-mounted'" in second
    assert other in third
    assert lab.base["digest"] in third
    assert not (lab.root / "base").exists()


def test_what_an_earlier_container_left_does_not_mix_in(lab):
    (lab.root / "base").mkdir()
    (lab.root / "base" / "chat_template.jinja").write_text("{{ another }}")
    assert names(fetch(lab, lab.base["uri"])) == names(tiny_base())


def test_a_base_without_mirrors_is_fetched_for_evaluations(lab):
    base = BaseModelRef(**lab.base)
    assert fetch_base(base, Objects(lab.root / "volumes"), lab.root / "base").is_dir()


# -- bases that cannot be loaded


def broken(tmp_path, **config):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_base(), folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


def refusal(ask, folder):
    with pytest.raises(Failure, match="put such a base into the store and name its digest") as error:
        ask(folder)
    assert error.value.failure == "BaseModelUnavailable"
    return error.value.message


def test_an_unknown_architecture_is_named(tmp_path):
    assert "`mystery`" in refusal(load_model, broken(tmp_path, model_type="mystery", architectures=["Mystery"]))


def test_code_beside_the_weights_is_never_run(tmp_path):
    code = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    folder = broken(tmp_path, model_type="own", auto_map=code)
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert "code beside the weights is never run" in refusal(load_model, folder)
    assert not (tmp_path / "ran").exists()


def test_a_config_that_is_no_json_is_named(tmp_path):
    folder = broken(tmp_path)
    (folder / "config.json").write_text("{")
    assert "config.json" in refusal(load_model, folder)


def test_safetensors_that_end_too_early_are_named(tmp_path):
    folder = broken(tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert refusal(load_model, folder)


def test_tensors_that_are_not_there_are_never_made_up(tmp_path):
    assert "lack 9 tensors of its architecture: model.layers.2." in refusal(
        load_model, broken(tmp_path, num_hidden_layers=3)
    )


def test_tensors_of_another_size_are_never_made_up(tmp_path):
    assert refusal(load_model, broken(tmp_path, intermediate_size=128))


def test_a_broken_tokenizer_is_named(tmp_path):
    folder = broken(tmp_path)
    (folder / "tokenizer.json").write_text("{}")
    assert "the base's tokenizer cannot be loaded" in refusal(load_tokenizer, folder)
