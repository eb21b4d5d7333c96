"""An adapter that a run continues is proven before it is opened."""

import pytest
from clara_api.handoff.artifact import MANIFEST
from clara_api.handoff.run import RUN
from clara_trainer.objects import Objects
from clara_trainer.outcome import Failure
from clara_trainer.start_from import fetch_start
from trainer_lab import Lab


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


@pytest.fixture
def published(lab):
    return lab.do(lab.train_run("first", epochs=1))


def continuing(lab, published, **fields):
    named = {"name": "steuerrecht-1.0.0", "uri": published.artifact_uri, "digest": published.artifact_digest}
    return RUN.validate_python(lab.train_run("second") | {"startFrom": named} | fields)


def fetch(lab, run):
    return fetch_start(run, Objects(lab.root / "volumes", patience=0), lab.root / "start")


def test_the_named_adapter_is_fetched_weights_and_config_only(lab, published):
    (lab.root / "start").mkdir()
    (lab.root / "start" / "left-over").touch()
    folder = fetch(lab, continuing(lab, published))
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_a_run_without_one_begins_anew(lab):
    assert fetch(lab, RUN.validate_python(lab.train_run())) is None


def test_an_altered_file_is_named(lab, published):
    path = lab.path(published.artifact_uri) / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Failure, match=r"'steuerrecht-1\.0\.0' cannot be continued: .*safetensors was altered") as error:
        fetch(lab, continuing(lab, published))
    assert error.value.failure == "ArtifactInvalid"


def test_another_manifest_than_the_named_one_is_refused(lab, published):
    path = lab.path(published.artifact_uri) / MANIFEST
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(Failure, match="altered after it was named") as error:
        fetch(lab, continuing(lab, published))
    assert error.value.failure == "ArtifactInvalid"


def test_a_missing_artifact_is_refused(lab, published):
    (lab.path(published.artifact_uri) / MANIFEST).unlink()
    with pytest.raises(Failure, match=r"there is no manifest\.json") as error:
        fetch(lab, continuing(lab, published))
    assert error.value.failure == "ArtifactInvalid"


def test_an_adapter_of_another_base_is_refused_with_both_digests(lab, published):
    other = "sha256:" + "0" * 64
    with pytest.raises(Failure, match="leave out startFrom") as error:
        fetch(lab, continuing(lab, published, baseModel=lab.base | {"digest": other}))
    assert error.value.failure == "BaseMismatch"
    assert other in error.value.message
    assert lab.base["digest"] in error.value.message


def test_a_store_that_does_not_answer_is_no_fault_of_the_adapter(lab, published):
    run = continuing(lab, published)
    lab.claim.rename(lab.claim.with_name("gone"))
    with pytest.raises(Failure, match="not mounted") as error:
        fetch(lab, run)
    assert error.value.failure == "StoreUnreachable"
