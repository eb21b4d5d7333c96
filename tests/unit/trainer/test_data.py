"""Files become rows; what is held out and repeated depends on contents and seed alone."""

import json

import pytest
from clara_api.handoff.run import DataFile
from clara_trainer.data import DataProblems, EmptyLine, ReadFile, SourceFile, fetch, read, repeat, split
from clara_trainer.objects import Objects
from clara_trainer.rows import LONGEST_LINE, Row


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


def test_joined_files_and_windows_line_ends_are_read_over(tmp_path):
    mark, line = b"\xef\xbb\xbf", json.dumps(pair(1)).encode()
    [file] = read([source(tmp_path, mark + line + b"\r", mark + line + b"\r", b"\r")])
    assert [row.line for row in file.rows] == [1, 2]
    assert file.rows[0].content == file.rows[1].content


def test_empty_rows_are_kept_apart_and_counted(tmp_path):
    [file] = read([source(tmp_path, pair(1), {"prompt": "x", "completion": ""}, {"prompt": "", "completion": "x"})])
    assert [row.line for row in file.rows] == [1]
    assert file.empty == (EmptyLine(2, "has an empty 'completion'"), EmptyLine(3, "has an empty 'prompt'"))
    assert file.digest.rows == 3


def test_a_file_with_nothing_but_empty_rows_is_read_for_the_policy_to_judge(tmp_path):
    [file] = read([source(tmp_path, {"text": ""})])
    assert (file.rows, len(file.empty)) == ((), 1)


def test_a_broken_line_is_fatal_whatever_stands_beside_it(tmp_path):
    with pytest.raises(DataProblems, match=r"^line 2 of steuerrecht\.jsonl has no 'messages' or 'prompt'; repair"):
        read([source(tmp_path, {"prompt": "", "completion": "x"}, {"question": "?"})])


def test_a_line_without_end_is_named_and_the_file_is_not_read_further(tmp_path):
    huge = b'{"text": "' + b"x" * (LONGEST_LINE + 5)
    with pytest.raises(DataProblems) as error:
        read([source(tmp_path, pair(1), huge, b"{")])
    assert error.value.message.startswith("line 2 of steuerrecht.jsonl is longer than 16 MiB; repair the file")


def test_two_sources_of_one_name_are_told_apart(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.jsonl").write_text("{}")
    named = [DataFile(name="rows.jsonl", path=str(tmp_path / folder / "rows.jsonl")) for folder in "ab"]
    files = fetch(named, Objects(tmp_path), tmp_path / "scratch")
    assert [file.name for file in files] == ["rows.jsonl", "rows.jsonl (2)"]


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
    assert len(both.validation) == 12  # three of ten texts, four times each
    assert not {row.content for row in both.training} & {row.content for row in both.validation}


def test_a_single_row_is_learned_not_held_out():
    both = split([rows_of(1)], fraction=0.5, seed=1)
    assert (len(both.training), len(both.validation)) == (1, 0)


def grouped(*sizes):
    rows = [Row("a", 100 * g + n, text=f"{g} {n}", group=f"g{g}") for g, size in enumerate(sizes) for n in range(size)]
    return ReadFile(SourceFile("a", None, None, 1), tuple(rows), None)


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_held_out_as_a_whole_or_not_at_all(seed):
    both = split([grouped(*[7] * 20)], fraction=0.2, seed=seed)
    assert len(both.validation) == 28
    assert not {row.group for row in both.training} & {row.group for row in both.validation}


def test_a_group_larger_than_what_is_wanted_is_never_held_out():
    both = split([grouped(90, *[1] * 10)], fraction=0.1, seed=1)
    assert {row.group for row in both.validation} == {f"g{n}" for n in range(1, 11)}
    assert split([grouped(50, 50)], fraction=0.1, seed=1).validation == ()


def test_equal_rows_bind_their_groups_together():
    rows = [Row("a", n, text=f"t{n % 20}", group=f"g{n}") for n in range(40)]  # line n + 20 repeats line n
    both = split([ReadFile(SourceFile("a", None, None, 1), tuple(rows), None)], fraction=0.3, seed=1)
    assert len(both.validation) == 12
    assert not {row.content for row in both.training} & {row.content for row in both.validation}


def test_rows_that_are_added_hardly_move_what_is_held_out():
    before = {row.content for row in split([rows_of(200)], fraction=0.1, seed=1).validation}
    after = {row.content for row in split([rows_of(220)], fraction=0.1, seed=1).validation}
    assert len(before & after) >= 17


@pytest.mark.parametrize(("weight", "count"), [(0.25, 5), (1, 20), (2.5, 50), (3, 60)])
def test_a_weight_repeats_rows_by_exactly_that_share(weight, count):
    rows = list(rows_of(20).rows)
    assert len(repeat(rows, weight, seed=5)) == count
    assert repeat(rows, weight, seed=5) == repeat(rows, weight, seed=5)


def test_a_weight_does_not_repeat_what_is_held_out():
    both = split([rows_of(20, weight=3)], fraction=0.1, seed=1)
    assert (len(both.training), len(both.validation)) == (54, 2)
