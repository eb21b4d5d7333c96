"""Arrows 5 and 6: an artifact is verified before anything of it is loaded; reports and decisions are kept and adopted."""

import json
import time

import pytest
from clara_api.digests import sha256_digest
from clara_api.handoff.artifact import ADAPTER_OBJECT, CONFIG, MANIFEST, WEIGHTS, FileEntry, Manifest, report_path
from clara_api.handoff.eval_report import EvalReport
from clara_api.handoff.run import LISTED
from clara_trainer.outcome import Failure
from trainer_lab import GOLDEN_DIGEST, Lab

CHECK_NO_TORCH = (
    "import sys; from clara_trainer.__main__ import main; code = main(sys.argv[1:]); "
    "sys.exit(code or (99 if 'torch' in sys.modules else 0))"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One artifact for all; tests that alter it work on their own copy of the manifest."""
    lab = Lab(tmp_path_factory.mktemp("lab"))
    return lab, lab.do(lab.train_run())


@pytest.fixture
def own(tmp_path):
    """An artifact of its own, for tests that spoil it."""
    lab = Lab(tmp_path)
    return lab, lab.do(lab.train_run())


def refused(lab, run, failure):
    with pytest.raises(Failure) as error:
        lab.do(run)
    assert error.value.failure == failure, error.value.message
    return error.value.message


def reseal(lab, outcome, *, add=None, **config):
    """Write config fields or a file into the artifact and a manifest that agrees with them, as a stranger could."""
    folder = lab.path(outcome.artifact_uri)
    if config:
        (folder / CONFIG).write_text(json.dumps(json.loads((folder / CONFIG).read_text()) | config))
    if add:
        (folder / add).write_bytes(b"\x80\x04N.")
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    paths = [file.path for file in manifest.files] + ([add] if add else [])
    data = {path: (folder / path).read_bytes() for path in paths}
    files = [FileEntry(path=p, size=len(d), sha256=sha256_digest(d)[7:]) for p, d in data.items()]
    changed = manifest.model_copy(update={"files": files, "rank": config.get("r", manifest.rank)})
    (folder / MANIFEST).write_bytes(changed.to_bytes())
    return outcome.model_copy(update={"artifact_digest": changed.digest()})


def test_a_report_is_made_once_and_adopted_without_torch_or_base(trained):
    lab, outcome = trained
    first = lab.do(lab.evaluation_run(outcome))
    assert first.report is not None
    assert (first.report.samples, first.report.groups, first.report.adopted) == (6, 3, False)
    stored = (lab.path(outcome.artifact_uri) / report_path(GOLDEN_DIGEST)).read_bytes()
    assert first.report.report_digest == sha256_digest(stored)
    assert len(EvalReport.model_validate_json(stored).samples) == 6

    run = lab.evaluation_run(outcome)
    run["baseModel"] = run["baseModel"] | {"uri": "volume://clara-artifacts/models/none"}
    begun = time.perf_counter()
    program = lab.start(run, program=CHECK_NO_TORCH)
    log = program.communicate(timeout=60)[1].decode()
    assert program.returncode == 0, log
    assert time.perf_counter() - begun < 30
    second = lab.outcome()
    assert second.report == first.report.model_copy(update={"adopted": True})


def test_the_adapter_object_is_kept_beside_the_manifest(trained):
    lab, outcome = trained
    lab.do(lab.evaluation_run(outcome, goldenDigest=None))
    kept = json.loads((lab.path(outcome.artifact_uri) / ADAPTER_OBJECT).read_bytes())
    assert kept["metadata"]["name"] == "steuerrecht-1.0.0"


def test_without_a_golden_set_only_the_artifact_is_verified(trained):
    lab, outcome = trained
    verified = lab.do(lab.evaluation_run(outcome, goldenDigest=None, samples=[]))
    assert (verified.result, verified.report, verified.rank) == ("Succeeded", None, 4)
    assert verified.weights_digest == outcome.weights_digest


def test_the_newest_decision_is_reported(own):
    lab, outcome = own
    for digest, decision, at in (
        ("a" * 64, "Rejected", "2026-05-02T10:00:00Z"),
        ("b" * 64, "Approved", "2026-05-01T10:00:00Z"),
    ):
        run = {
            "kind": "Record",
            "namespace": "amt",
            "name": "x",
            "uid": "u",
            "artifactUri": outcome.artifact_uri,
            "artifactDigest": outcome.artifact_digest,
            "decision": {"decision": decision, "by": "anna@amt.example", "reason": "geprüft", "at": at},
            "decisionDigest": f"sha256:{digest}",
        }
        lab.do(run)
        assert "already" in lab.do(run).message
    found = lab.do(lab.evaluation_run(outcome, goldenDigest=None)).recorded_decision
    assert found == {
        "decision": "Rejected",
        "by": "anna@amt.example",
        "reason": "geprüft",
        "at": "2026-05-02T10:00:00Z",
    }


def test_a_decision_that_was_taken_back_is_not_inherited(own):
    lab, outcome = own
    for digest, decision, at in (
        ("a" * 64, "Approved", "2026-05-01T10:00:00Z"),
        ("b" * 64, "Withdrawn", "2026-05-02T10:00:00Z"),
    ):
        lab.do(
            {
                "kind": "Record",
                "namespace": "amt",
                "name": "x",
                "uid": "u",
                "artifactUri": outcome.artifact_uri,
                "artifactDigest": outcome.artifact_digest,
                "decision": {"decision": decision, "by": "anna@amt.example", "at": at},
                "decisionDigest": f"sha256:{digest}",
            }
        )
    assert lab.do(lab.evaluation_run(outcome, goldenDigest=None)).recorded_decision is None


def test_every_adapter_of_a_namespace_is_listed_and_what_is_none_is_counted(own, capsys):
    lab, outcome = own
    lab.do(lab.evaluation_run(outcome, goldenDigest=None))
    beside = lab.path(outcome.artifact_uri).parent / "2"
    beside.mkdir()
    (beside / ADAPTER_OBJECT).write_text("[]")
    run = {"kind": "List", "namespace": "amt", "name": "x"}
    said = lab.do(run | {"adaptersUri": outcome.artifact_uri.split("/adapters/")[0] + "/adapters/amt"})
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [a["kind"] for a in listed] == ["Adapter", LISTED]
    assert (listed[0]["metadata"]["name"], listed[1]["count"]) == ("steuerrecht-1.0.0", 1)
    assert said.message == "1 Adapters, 1 unreadable, 0 artifacts that never became an Adapter"


def test_a_lost_pods_outcome_is_recovered_from_the_store(own):
    lab, outcome = own
    run = {"kind": "Recover", "namespace": "amt", "name": "x", "uid": "u", "attempt": 1}
    recovered = lab.do(run | {"artifactUri": outcome.artifact_uri})
    assert (recovered.artifact_digest, recovered.weights_digest) == (outcome.artifact_digest, outcome.weights_digest)
    assert (recovered.rank, recovered.step, recovered.loss) == (outcome.rank, outcome.step, outcome.loss)
    refused(lab, run | {"artifactUri": outcome.artifact_uri + "0"}, "ArtifactMissing")
    (lab.path(outcome.artifact_uri) / WEIGHTS).write_bytes(b"short")
    assert "has 5 bytes" in refused(lab, run | {"artifactUri": outcome.artifact_uri}, "ArtifactInvalid")


def test_a_tampered_file_is_refused(own):
    lab, outcome = own
    weights = lab.path(outcome.artifact_uri) / WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert f"{WEIGHTS} was altered" in refused(lab, lab.evaluation_run(outcome), "ArtifactInvalid")


def test_a_tampered_manifest_is_refused(own):
    lab, outcome = own
    manifest = lab.path(outcome.artifact_uri) / MANIFEST
    manifest.write_bytes(manifest.read_bytes().replace(b"CC0-1.0", b"CC0-1.1"))
    assert "it was altered after it was named" in refused(lab, lab.evaluation_run(outcome), "ArtifactInvalid")


@pytest.mark.parametrize("name", ["adapter_model.bin", "weights.pt", "x.pkl", "x.pickle", "run.py", "noname"])
def test_what_may_hold_code_is_refused_by_name(own, name):
    lab, outcome = own
    message = refused(lab, lab.evaluation_run(reseal(lab, outcome, add=name)), "ArtifactInvalid")
    assert f"'{name}' is refused" in message


def test_an_artifact_of_another_base_is_refused_before_its_files_are_read(own):
    lab, outcome = own
    (lab.path(outcome.artifact_uri) / WEIGHTS).unlink()
    other = lab.base | {"digest": "sha256:" + "1" * 64}
    message = refused(lab, lab.evaluation_run(outcome, baseModel=other), "BaseMismatch")
    assert lab.base["digest"] in message


def test_what_engines_would_refuse_is_not_servable(own):
    lab, outcome = own
    assert "DoRA" in refused(lab, lab.evaluation_run(reseal(lab, outcome, use_dora=True)), "NotServable")


def test_a_rank_above_the_engines_limit_is_not_servable(trained):
    lab, outcome = trained
    run = lab.evaluation_run(outcome, limits={"maxLoraRank": 2})
    assert "its rank is 4, and the engines take at most 2" in refused(lab, run, "NotServable")


def test_tensors_that_disagree_with_the_rank_are_refused(own):
    lab, outcome = own
    assert "its rank is 8" in refused(lab, lab.evaluation_run(reseal(lab, outcome, r=8)), "ArtifactInvalid")
