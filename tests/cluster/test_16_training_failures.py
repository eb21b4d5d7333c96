"""Every way a run can fail has a class, a cure and a policy; each is provoked here and ends as promised."""

from __future__ import annotations

import json
import signal
from datetime import datetime, timedelta
from pathlib import Path

import clara_chain as chain
import clara_install
import clara_store
import numpy
import pytest
import training
from clara_api.digests import is_base_model_file, listing_digest, sha256_digest
from clara_install import kubectl
from clara_store import BUCKET
from conftest import RECHT
from node import signal_container
from safetensors.numpy import load, save

QUICK = {"rank": 4, "alpha": 8, "learningRate": 1e-3, "epochs": 1, "globalBatchSize": 8, "maxLength": 128}


def other_base(name: str, base: chain.Base, change: dict[str, bytes]) -> chain.Object:
    """The demo's base with some files replaced, under its own true digest."""
    files = {f.name: f.read_bytes() for f in base.folder.iterdir() if f.is_file() and is_base_model_file(f.name)}
    files |= change
    client = clara_store.s3(clara_install.environment())
    for path, data in files.items():
        client.put_object(Bucket=BUCKET, Key=f"models/{name}/{path}", Body=data)
    listing = [(path, len(data), sha256_digest(data).removeprefix("sha256:")) for path, data in files.items()]
    return {"name": name, "uri": f"s3://{BUCKET}/models/{name}", "digest": listing_digest(listing)}


def weights_of(base: chain.Base) -> Path:
    return base.folder / "model.safetensors"


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def no_pod_was_made(name: str) -> bool:
    return not kubectl("get", "jobs", "-n", RECHT, "-l", f"clara.vcc.dev/training-job={name}", "-o", "name")


# -- before a pod exists --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "spec", "words"),
    [
        ("dora-pur", {"method": "dora"}, "spec.conversion"),
        ("start-fehlt", {"profile": "continuous", "startFrom": {"adapterRef": {"name": "gibts-1.0.0"}}}, "gibts-1.0.0"),
        ("spiegel-fremd", {"baseModel": {"mirrors": ["s3://fremd/x"]}}, "s3://fremd/x"),
        ("rang-zu-hoch", {"family": "steuerrecht", "hyperparameters": {"rank": 512}}, "engine.maxLoraRank"),
    ],
)
def test_what_cannot_work_is_refused_before_a_pod_exists(clara: chain.Base, name: str, spec: dict, words: str):
    job = training.job(name, clara, hyperparameters=QUICK)
    mirrors = spec.pop("baseModel", {})
    job["spec"] |= spec
    job["spec"]["baseModel"] = job["spec"]["baseModel"] | mirrors
    chain.apply(job)
    found = chain.until(
        lambda: obj if chain.condition(obj := chain.get("tj", name, RECHT), "Succeeded").get("status") == "False" else None,
        f"{name} being refused", 5, lambda: chain.describe("tj", name, RECHT),
    )  # fmt: skip
    refused = chain.condition(found, "Succeeded")
    assert words in refused["message"]
    assert moment(refused["lastTransitionTime"]) - moment(found["metadata"]["creationTimestamp"]) <= timedelta(
        seconds=1
    )
    assert no_pod_was_made(name)
    training.forget(name)


# -- data -------------------------------------------------------------------------------------------------------------------
def test_a_golden_sample_among_the_rows_is_named(clara: chain.Base):
    chain.apply(chain.golden("steuerrecht-golden-v1", RECHT))
    sample = chain.golden("steuerrecht-golden-v1", RECHT)["spec"]["samples"][0]
    leaked = [*training.rows(20), {"prompt": f"Guten Tag! {sample['prompt']} Danke.", "completion": "Das steht da."}]
    source = [{"uri": training.put_rows("leck", leaked)}]
    chain.apply(training.job("leck", clara, family="steuerrecht", data=source, hyperparameters=QUICK))
    message = training.failed("leck", "DataInvalid")
    assert "line 21" in message
    assert sample["id"] in message
    assert "dataPolicy.goldenLeaks" in message
    kubectl("delete", "tj", "leck", "-n", RECHT)


def test_data_that_change_between_attempts_stop_the_run_until_it_is_rerun(clara: chain.Base):
    chain.apply(training.job("wandel", clara))
    training.wait_for_checkpoint("wandel")
    training.put_rows("wandel", training.rows(65))
    [pod] = training.pods("wandel")
    assert signal_container(pod, RECHT, "trainer", signal.SIGKILL) > 0
    message = training.failed("wandel", "DataChanged", seconds=120)
    assert "wandel.jsonl" in message
    assert "spec.rerun" in message
    training.patch("wandel", {"rerun": 1})
    assert training.succeeded("wandel")["dataReport"]["rows"] == 65
    training.forget("wandel")


# -- the base ---------------------------------------------------------------------------------------------------------------
def test_a_base_that_is_away_comes_from_its_mirror(clara: chain.Base):
    base = {**clara.reference, "uri": f"s3://{BUCKET}/models/nowhere", "mirrors": [clara.reference["uri"]]}
    chain.apply(training.job("spiegel", clara, baseModel=base, hyperparameters=QUICK))
    training.succeeded("spiegel")
    training.forget("spiegel")


def test_a_base_that_cannot_be_loaded_says_why(clara: chain.Base):
    config = json.loads((clara.folder / "config.json").read_text()) | {
        "model_type": "unknown-kind", "architectures": ["UnknownForCausalLM"]
    }  # fmt: skip
    base = other_base("tiny-unknown", clara, {"config.json": json.dumps(config).encode()})
    chain.apply(training.job("fremdbasis", clara, baseModel=base, hyperparameters=QUICK))
    assert "unknown-kind" in training.failed("fremdbasis", "BaseModelUnavailable")
    training.forget("fremdbasis")


def test_a_base_that_cannot_be_loaded_gives_way_to_a_fallback_that_engines_run(clara: chain.Base):
    """Engines of this family run the demo's base; a fallback nobody runs would be passed over."""
    config = json.loads((clara.folder / "config.json").read_text()) | {"model_type": "unknown-kind"}
    base = other_base("tiny-unknown-2", clara, {"config.json": json.dumps(config).encode()})
    spec = {"baseModel": base, "fallbackBaseModels": [clara.reference], "hyperparameters": QUICK}
    chain.apply(training.job("ausweich", clara, family="steuerrecht", **spec))
    done = training.succeeded("ausweich")
    assert [a["reason"] for a in done["attempts"]] == ["BaseModelUnavailable", "Succeeded"]
    assert done["baseModel"]["digest"] == clara.reference["digest"]
    kubectl("delete", "adp", done["adapterRef"]["name"], "-n", RECHT)
    training.forget("ausweich")


def test_a_run_that_unlearns_what_its_base_knew_is_no_success(clara: chain.Base):
    steep = training.SLOW | {"learningRate": 1.0, "warmupRatio": 0, "alpha": 2048}
    chain.apply(training.job("steil", clara, hyperparameters=steep))
    assert "lower hyperparameters.learningRate" in training.failed("steil", "Diverged")
    assert training.status("steil")["dataReport"]["trainingRows"] > 0, "what was learned from is known all the same"
    training.forget("steil")


def test_a_loss_that_is_no_number_stops_the_run(clara: chain.Base):
    tensors = load(weights_of(clara).read_bytes())
    tensors["model.norm.weight"] = numpy.full_like(tensors["model.norm.weight"], numpy.nan)
    base = other_base("tiny-nan", clara, {"model.safetensors": save(tensors, metadata={"format": "pt"})})
    chain.apply(training.job("nan", clara, baseModel=base, hyperparameters=QUICK))
    assert "nan" in training.failed("nan", "Diverged")
    assert len(training.status("nan")["attempts"]) == 1, "a diverged run is not tried again"
    training.forget("nan")


# -- memory, disk, time -----------------------------------------------------------------------------------------------------
def test_a_pod_killed_for_its_memory_comes_back_with_a_finer_cut_and_succeeds(clara: chain.Base):
    greedy = QUICK | {"globalBatchSize": 128, "microBatchSize": 128, "maxLength": 256, "rank": 8}
    source = [{"uri": training.put_rows("eng", training.rows(256, words=30))}]
    limits = {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1300Mi"}}
    chain.apply(training.job("eng", clara, data=source, hyperparameters=greedy, resources=limits))
    done = training.succeeded("eng", seconds=400)
    assert done["attempts"][0]["reason"] == "OutOfMemory"
    assert done["attempts"][-1]["memoryLevel"] >= 1
    assert done["progress"]["memory"]["microBatchSize"] < 128
    assert done["effective"]["globalBatchSize"] == 128
    training.forget("eng")


def test_memory_that_is_never_enough_ends_with_a_cure(clara: chain.Base):
    limits = {"requests": {"cpu": "250m", "memory": "100Mi"}, "limits": {"cpu": "1", "memory": "200Mi"}}
    chain.apply(training.job("zu-eng", clara, hyperparameters=QUICK, resources=limits, retry={"maxAttempts": 2}))
    message = training.failed("zu-eng", "OutOfMemory", seconds=240)
    assert "resources.limits.memory" in message
    training.forget("zu-eng")


def test_a_full_scratch_disk_is_named_and_the_run_goes_on_with_more(clara: chain.Base):
    chain.apply(training.job("voll", clara, hyperparameters=QUICK, scratch="2Mi"))
    assert "spec.scratch" in training.failed("voll", "DiskFull")
    training.patch("voll", {"scratch": "10Gi"})
    assert [a["reason"] for a in training.succeeded("voll")["attempts"]] == ["DiskFull", "Succeeded"]
    training.forget("voll")


def test_a_pod_that_fills_its_scratch_space_is_evicted_and_not_tried_again(clara: chain.Base):
    chain.apply(training.job("schreibt", clara, hyperparameters=training.SLOW | {"epochs": 200}, scratch="200Mi"))
    training.wait_for_step("schreibt", 2)
    [pod] = training.pods("schreibt")
    fill = "open('/clara/scratch/unexpected', 'wb').write(bytes(300 << 20))"
    kubectl("exec", pod, "-n", RECHT, "-c", "trainer", "--", "python3", "-c", fill)
    message = training.failed("schreibt", "DiskFull", seconds=150)
    assert "spec.scratch" in message
    assert len(training.status("schreibt")["attempts"]) == 1
    assert training.pods("schreibt") == []
    training.forget("schreibt")


def test_an_error_that_nobody_understood_is_tried_once_more(clara: chain.Base):
    chain.apply(training.job("fehler", clara))
    training.wait_for_checkpoint("fehler")
    [pod] = training.pods("fehler")
    in_the_way = "open('/clara/scratch/adapter', 'w').close()"  # a file where the adapter's folder will be
    kubectl("exec", pod, "-n", RECHT, "-c", "trainer", "--", "python3", "-c", in_the_way)
    done = training.succeeded("fehler")
    first, second = done["attempts"]
    assert (first["reason"], second["reason"]) == ("Bug", "Succeeded")
    assert first["lastLogLines"]
    assert done["progress"]["resumedFromStep"] == done["progress"]["totalSteps"], "no step is taken twice for it"
    training.forget("fehler")


def test_a_conversion_that_loses_too_much_is_refused_with_a_cure(clara: chain.Base):
    conversion = {"rank": 1, "maxError": 1e-6}
    spec = {"method": "dora", "conversion": conversion, "hyperparameters": QUICK | {"epochs": 4}}
    chain.apply(training.job("verlust", clara, **spec))
    message = training.failed("verlust", "NotServable")
    assert "raise conversion.rank" in message
    assert len(training.status("verlust")["attempts"]) == 1
    training.forget("verlust")


def test_a_run_over_its_time_stops_and_goes_on_when_it_is_given_more(clara: chain.Base):
    endless = training.SLOW | {"epochs": 200}
    chain.apply(training.job("lang", clara, hyperparameters=endless, retry={"maxDuration": "45s"}))
    message = training.failed("lang", "DeadlineExceeded", seconds=150)
    assert "retry.maxDuration" in message
    reached = training.status("lang")["progress"]["step"]
    training.patch("lang", {"retry": {"maxDuration": "10m"}})
    chain.until(
        lambda: (training.status("lang").get("progress") or {}).get("resumedFromStep"), "the run going on", 120,
        lambda: chain.describe("tj", "lang", RECHT),
    )  # fmt: skip
    assert training.status("lang")["progress"]["resumedFromStep"] >= reached - 50
    training.forget("lang")


# -- the queue --------------------------------------------------------------------------------------------------------------
def test_two_run_at_once_and_the_third_waits_for_its_turn(clara: chain.Base):
    jobs = [training.job(name, clara) for name in ("erste", "zweite")]
    chain.apply(*jobs)
    training.wait_for_step("zweite", 1)
    chain.apply(
        training.job("hinten", clara, hyperparameters=QUICK, queue={"priority": 1}),
        training.job("vorn", clara, hyperparameters=QUICK, queue={"priority": 5}),
    )
    chain.wait_for_reason("tj", "vorn", RECHT, "Succeeded", "Queued", seconds=20)
    chain.until(lambda: True if training.status("hinten").get("queuePosition") == 2 else None, "place 2", 20)
    assert training.status("vorn")["queuePosition"] == 1
    assert "2" in chain.condition(chain.get("tj", "vorn", RECHT), "Succeeded")["message"]
    for name in ("erste", "zweite", "vorn", "hinten"):
        training.succeeded(name)
    training.forget("erste", "zweite", "vorn", "hinten")


def test_a_dry_run_measures_and_publishes_nothing(clara: chain.Base):
    chain.apply(training.job("probe", clara, dryRun=True))
    done = training.succeeded("probe")
    assert done["dryRun"]["totalSteps"] > 100
    assert done["dryRun"]["peakMemoryBytes"] > 100 << 20
    assert "adapterRef" not in done
    training.patch("probe", {"dryRun": False, "hyperparameters": QUICK})
    chain.until(lambda: training.status("probe").get("adapterRef"), "the real run's adapter", 180)
    training.forget("probe")
