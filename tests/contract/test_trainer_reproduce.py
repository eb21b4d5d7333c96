"""`clara_trainer reproduce` repeats a published run from its manifest alone, and says what is another when it cannot."""

import json

import pytest
from clara_api.handoff.artifact import MANIFEST
from clara_trainer.outcome import Failure
from trainer_lab import Lab, pairs


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def reproduce(lab, uri, **fields):
    return lab.do({"kind": "Reproduce", "namespace": "amt", "name": "again", "artifactUri": uri} | fields)


def rewrite(lab, uri, change):
    path = lab.path(uri) / MANIFEST
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_the_same_bits_come_out(lab):
    first = lab.do(lab.train_run())
    before = sorted(str(path) for path in lab.root.rglob("*") if "scratch" not in str(path))
    again = reproduce(lab, first.artifact_uri)
    assert again.message == f"bit-identical: {first.weights_digest}"
    assert sorted(str(path) for path in lab.root.rglob("*") if "scratch" not in str(path)) == before, (
        "nothing is published"
    )


def test_a_run_that_was_interrupted_is_repeated_to_the_same_bits(lab):
    """What interrupted it is no part of the recipe."""
    run = lab.train_run(dropout=0.1) | {"runUri": "volume://clara-artifacts/runs/amt/steuerrecht/uid-1/run"}
    first = lab.do(run)
    assert reproduce(lab, first.artifact_uri).weights_digest == first.weights_digest


def test_a_run_whose_steps_had_to_be_cut_finer_is_repeated_to_the_same_bits(lab, monkeypatch):
    """Sums depend on how a step is cut, so the manifest says it, from which step on."""
    from clara_trainer import share

    likelihood, passes = share.log_likelihood, iter(range(1000))

    def greedy_from_the_third_step(model, batch):
        if next(passes) >= 2 and len(batch.borders) - 1 > 2 and model.training:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return likelihood(model, batch)

    with monkeypatch.context() as during:
        during.setattr(share, "log_likelihood", greedy_from_the_third_step)
        first = lab.do(lab.train_run())
    cuts = json.loads((lab.path(first.artifact_uri) / MANIFEST).read_bytes())["provenance"]["cuts"]
    assert [(cut["fromStep"], cut["memory"]["microBatchSize"]) for cut in cuts] == [(1, 8), (3, 2)]
    assert reproduce(lab, first.artifact_uri).weights_digest == first.weights_digest


def test_steps_computed_on_two_machines_are_no_proof_on_one(lab):
    first = lab.do(lab.train_run())

    def moved(manifest):
        manifest["provenance"]["machines"].append("another CPU, 64 threads, packages 0123456789ab")

    rewrite(lab, first.artifact_uri, moved)
    with pytest.raises(Failure, match="steps computed on 2 machines") as failed:
        reproduce(lab, first.artifact_uri)
    assert failed.value.failure == "SetupDiffers"


def test_rows_that_were_dropped_as_golden_samples_are_dropped_again(lab):
    golden = [{"name": "gold", "samples": [{"id": "s1", "prompt": pairs()[3]["prompt"]}]}]
    rows = [*pairs(), {"prompt": "Ganz andere Frage nach dem Wetter?", "completion": "Es regnet."}]
    lab.write_rows("steuerrecht.jsonl", rows)
    first = lab.do(lab.train_run() | {"golden": golden, "dataPolicy": {"goldenLeaks": "drop"}})
    assert first.data.dropped_leaks >= 1
    assert reproduce(lab, first.artifact_uri).weights_digest == first.weights_digest


def test_changed_data_are_named(lab):
    first = lab.do(lab.train_run())
    lab.write_rows("steuerrecht.jsonl", pairs(25))
    with pytest.raises(Failure, match=r"steuerrecht\.jsonl has the digest .*; restore the file") as failed:
        reproduce(lab, first.artifact_uri)
    assert failed.value.failure == "DataChanged"


def test_another_set_up_is_refused_unless_effects_are_enough(lab):
    first = lab.do(lab.train_run())

    def elsewhere(manifest):
        manifest["provenance"]["cpuModel"] = "another CPU"

    rewrite(lab, first.artifact_uri, elsewhere)
    with pytest.raises(Failure, match=r"CPU another CPU \(here .*--approximate") as failed:
        reproduce(lab, first.artifact_uri)
    assert failed.value.failure == "SetupDiffers"
    assert reproduce(lab, first.artifact_uri, approximate=True).weights_digest == first.weights_digest


def test_weights_that_came_from_elsewhere_are_found_out(lab):
    first = lab.do(lab.train_run())

    def forged(manifest):
        manifest["weightsDigest"] = "sha256:" + "0" * 64

    rewrite(lab, first.artifact_uri, forged)
    with pytest.raises(Failure, match="the manifest says sha256:000"):
        reproduce(lab, first.artifact_uri)


def test_an_artifact_without_its_run_says_so(lab):
    first = lab.do(lab.train_run())
    rewrite(lab, first.artifact_uri, lambda manifest: manifest["provenance"].pop("run"))
    with pytest.raises(Failure, match="does not say how to repeat the run"):
        reproduce(lab, first.artifact_uri)
