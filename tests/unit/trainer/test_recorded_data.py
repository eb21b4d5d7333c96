"""A later attempt learns from the very bytes that the first one read, or not at all."""

import json

import pytest
from clara_testing.curating import pairs, read_files, train_run
from clara_trainer.objects import Objects
from clara_trainer.outcome import Failure
from clara_trainer.recorded_data import check_unchanged, digest_of

RUN = train_run(runUri="volume://clara-artifacts/runs/amt/steuerrecht/uid-1/r1")


@pytest.fixture
def objects(tmp_path):
    (tmp_path / "clara-artifacts").mkdir()
    return Objects(tmp_path, patience=0)


def files(tmp_path, **contents):
    return read_files(tmp_path, **(contents or {"a": pairs(3), "b": pairs(2)}))


def refusal(tmp_path, objects, **contents):
    check_unchanged(files(tmp_path), RUN, objects)
    with pytest.raises(Failure) as error:
        check_unchanged(files(tmp_path, **contents), RUN, objects)
    assert error.value.failure == "DataChanged"
    return error.value.message


def recorded(tmp_path):
    return tmp_path / "clara-artifacts/runs/amt/steuerrecht/uid-1/data.json"


def test_the_first_attempt_writes_down_what_it_read(tmp_path, objects):
    digest = check_unchanged(files(tmp_path), RUN, objects)
    record = json.loads(recorded(tmp_path).read_text())
    assert record["digest"] == digest == digest_of(files(tmp_path))
    assert [(source["name"], source["rows"]) for source in record["sources"]] == [("a.jsonl", 3), ("b.jsonl", 2)]


def test_a_later_attempt_with_the_same_data_goes_on(tmp_path, objects):
    first = check_unchanged(files(tmp_path), RUN, objects)
    before = recorded(tmp_path).stat().st_mtime_ns
    assert check_unchanged(files(tmp_path), RUN, objects) == first
    assert recorded(tmp_path).stat().st_mtime_ns == before


def test_a_source_that_changed_is_named_with_both_digests_and_the_cure(tmp_path, objects):
    old, new = (read_files(tmp_path, b=pairs(count))[0].digest.sha256[:12] for count in (2, 4))
    assert refusal(tmp_path, objects, a=pairs(3), b=pairs(4)) == (
        f"b.jsonl has the digest sha256:{new}; the first attempt read sha256:{old}; "
        "restore it, or raise spec.rerun to start anew"
    )


def test_another_base_is_no_reason_to_learn_from_other_rows(tmp_path, objects):
    check_unchanged(files(tmp_path), RUN, objects)
    fallback = RUN.model_copy(update={"run_uri": RUN.run_uri.rpartition("/")[0] + "/r2"})
    with pytest.raises(Failure, match=r"b\.jsonl has the digest"):
        check_unchanged(files(tmp_path, a=pairs(3), b=pairs(4)), fallback, objects)


def test_a_source_that_is_gone_or_new_or_moved_is_named(tmp_path, objects):
    assert refusal(tmp_path, objects, a=pairs(3)).startswith("b.jsonl (sha256:")
    assert "c.jsonl (sha256:" in refusal(tmp_path, objects, a=pairs(3), b=pairs(2), c=pairs(1))
    assert "another order" in refusal(tmp_path, objects, b=pairs(2), a=pairs(3))


def test_the_order_of_sources_counts(tmp_path):
    assert digest_of(files(tmp_path, a=pairs(1), b=pairs(2))) != digest_of(files(tmp_path, b=pairs(2), a=pairs(1)))


@pytest.mark.parametrize("spoiled", ["{", "[]", '{"digest": "x"}', '{"digest": "x", "sources": [1]}'])
def test_a_record_that_cannot_be_read_is_no_licence_to_go_on(tmp_path, objects, spoiled):
    check_unchanged(files(tmp_path), RUN, objects)
    recorded(tmp_path).write_text(spoiled)
    with pytest.raises(
        Failure, match=r"uid-1/data\.json, which says .* cannot be read; restore it, or raise spec\.rerun"
    ):
        check_unchanged(files(tmp_path), RUN, objects)


def test_a_run_without_a_folder_of_its_own_records_nothing(tmp_path, objects):
    assert check_unchanged(files(tmp_path), train_run(), objects) == digest_of(files(tmp_path))
    assert not (tmp_path / "clara-artifacts/runs").exists()
