"""Files become rows; what is held out and repeated depends on contents and seed alone."""

import json

import pytest
from clara_api.handoff.run import DataFile
from clara_trainer.data import DataProblems, ReadFile, SourceFile, fetch, read, repeat, split
from clara_trainer.objects import Objects
from clara_trainer.rows import Row


def source(tmp_path, *lines, name="steuerrecht.jsonl", format_=None, weight=1.0):
    path = tmp_path / name
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return SourceFile(name, path, format_, weight)


def pair(number):
    return {"prompt": f"Frage {number}", "completion": f"Antwort {number}"}


def rows_of(count, *, weight=1.0, name="a.jsonl"):
    rows = tuple(Row(name, line, text=f"{name} {line}") for line in range(count))
    return ReadFile(SourceFile(name, None, None, weight), rows, None)


def test_a_broken_line_is_named_with_its_file_and_the_cure(tmp_path):
    with pytest.raises(DataProblems) as error:
        read([source(tmp_path, *(pair(n) for n in range(16)), {"question": "?"})])
    assert error.value.message == (
        "line 17 of steuerrecht.jsonl has no 'messages' or 'prompt'; repair the file, then raise spec.rerun"
    )


def test_ten_problems_are_told_and_that_there_are_more(tmp_path):
    with pytest.raises(DataProblems) as error:
        read([source(tmp_path, pair(1), *[b"{"] * 30)])
    assert error.value.message.count("is not valid JSON") == 10
    assert "; and more; repair the file" in error.value.message


def test_problems_of_all_files_are_told_together(tmp_path):
    with pytest.raises(DataProblems) as error:
        read([source(tmp_path, b"{", name="a.jsonl"), source(tmp_path, name="b.jsonl")])
    assert "line 1 of a.jsonl is not valid JSON" in error.value.message
    assert "b.jsonl is empty" in error.value.message


def test_blank_lines_and_a_byte_order_mark_are_read_over(tmp_path):
    [file] = read([source(tmp_path, b"\xef\xbb\xbf" + json.dumps(pair(1)).encode(), b"", b"  ", pair(2))])
    assert [row.line for row in file.rows] == [1, 4]


def test_a_file_of_blank_lines_has_no_rows(tmp_path):
    with pytest.raises(DataProblems, match="has no rows, only blank lines"):
        read([source(tmp_path, b"", b"", b"")])


def test_a_prefix_is_every_jsonl_below_it_sorted(tmp_path):
    claim = tmp_path / "volumes" / "daten"
    for name in ("b/2.jsonl", "a.jsonl", "b/1.jsonl", "notes.txt"):
        (claim / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (claim / "set" / name).write_text("{}")
    files = fetch([DataFile(name="set", uri="volume://daten/set")], Objects(tmp_path / "volumes"), tmp_path / "scratch")
    assert [file.name for file in files] == ["set/a.jsonl", "set/b/1.jsonl", "set/b/2.jsonl"]


def test_a_prefix_without_files_is_named(tmp_path):
    (tmp_path / "volumes" / "daten").mkdir(parents=True)
    with pytest.raises(DataProblems, match=r"neither a file nor any \*\.jsonl at volume://daten/none"):
        fetch([DataFile(name="none", uri="volume://daten/none")], Objects(tmp_path / "volumes"), tmp_path / "scratch")


def test_the_split_depends_on_the_seed_and_nothing_else():
    one = split([rows_of(100)], fraction=0.1, seed=1)
    assert one == split([rows_of(100)], fraction=0.1, seed=1)
    assert one.validation != split([rows_of(100)], fraction=0.1, seed=2).validation
    assert (len(one.training), len(one.validation)) == (90, 10)


def test_equal_rows_are_never_on_both_sides():
    twice = [Row("a", line, text=f"text {line % 10}") for line in range(40)]
    both = split([ReadFile(SourceFile("a", None, None, 1), tuple(twice), None)], fraction=0.3, seed=3)
    assert len(both.validation) == 12
    assert not {row.content for row in both.training} & {row.content for row in both.validation}


def test_a_single_row_is_learned_not_held_out():
    both = split([rows_of(1)], fraction=0.5, seed=1)
    assert (len(both.training), len(both.validation)) == (1, 0)


@pytest.mark.parametrize(("weight", "count"), [(0.25, 5), (1, 20), (2.5, 50), (3, 60)])
def test_a_weight_repeats_rows_by_exactly_that_share(weight, count):
    rows = list(rows_of(20).rows)
    assert len(repeat(rows, weight, seed=5)) == count
    assert repeat(rows, weight, seed=5) == repeat(rows, weight, seed=5)


def test_a_weight_does_not_repeat_what_is_held_out():
    both = split([rows_of(20, weight=3)], fraction=0.1, seed=1)
    assert (len(both.training), len(both.validation)) == (54, 2)
