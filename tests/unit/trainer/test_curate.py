"""Every row is learned, held out, or left out for a reason that names its line."""

import os
import subprocess
import sys

import pytest
from clara_api.digests import json_digest
from clara_testing.curating import pair, pairs, read_files, train_run
from clara_trainer.curate import curate
from clara_trainer.data import DataProblems
from clara_trainer.tokens import IGNORED
from trainer_lab import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
EMPTY = {"prompt": "Wann?", "completion": " "}
LONG = {"prompt": "Wann?", "completion": "Am vierten Tag nach der Aufgabe zur Post. " * 20}
LONG_QUESTION = {"prompt": "Wann nach der Aufgabe zur Post? " * 20, "completion": "Ja."}
GOLDEN = [{"name": "golden-v1", "samples": [{"id": "s7", "prompt": "Norm für Fall 2?"}]}]
CONTENTS = {"a": [*pairs(20), pair(3), EMPTY, LONG], "b": [*pairs(5), LONG]}


def curated(tmp_path, *rows, **fields):
    return curate(read_files(tmp_path, a=list(rows)), train_run(**fields), TOKENIZER)


def refusal(tmp_path, *rows, **fields):
    with pytest.raises(DataProblems) as error:
        curated(tmp_path, *rows, **fields)
    assert error.value.failure == "DataInvalid"
    return error.value.message


def test_good_rows_are_all_learned_in_their_order(tmp_path):
    found = curated(tmp_path, *pairs(3))
    assert [TOKENIZER.decode([t for t in e.labels if t != IGNORED]) for e in found.training] == [
        "Nach der AO.<|end|>"
    ] * 3
    assert "Fall 2?" in TOKENIZER.decode(found.training[2].ids)
    assert (found.report.rows, found.report.training_rows, found.report.validation_rows) == (3, 3, 0)


@pytest.mark.parametrize(
    ("rows", "fields", "message"),
    [
        (
            [pair(1), EMPTY],
            {},
            "line 2 of a.jsonl has an empty 'completion'; "
            "repair the file, or set spec.dataPolicy.emptyRows: drop; then raise spec.rerun",
        ),
        (
            [pair(1), pair(2), pair(1)],
            {"policy": {"duplicateRows": "fail"}},
            "line 3 of a.jsonl is equal to line 1 of a.jsonl; "
            "repair the file, or set spec.dataPolicy.duplicateRows: drop; then raise spec.rerun",
        ),
        (
            pairs(3),
            {"golden": GOLDEN},
            "line 3 of a.jsonl repeats sample s7 of GoldenDataset golden-v1 (equal); "
            "repair the file, or set spec.dataPolicy.goldenLeaks: drop; then raise spec.rerun",
        ),
        (
            [pair(1, answer="Ja. " * 9)],
            {"policy": {"longRows": "fail"}, "max_length": 40},
            "line 1 of a.jsonl has 48 tokens, more than maxLength (40); "
            "repair the file, raise hyperparameters.maxLength, or set spec.dataPolicy.longRows: drop; then raise spec.rerun",
        ),
        (
            [LONG_QUESTION],
            {"max_length": 40},
            "line 1 of a.jsonl begins its answer after maxLength (40 tokens); nothing is left to learn; "
            "repair the file, raise hyperparameters.maxLength, or set spec.dataPolicy.longRows: drop; then raise spec.rerun",
        ),
    ],
    ids=["empty", "duplicate", "leak", "long", "cut off"],
)
def test_what_the_policy_forbids_is_named_with_its_line_and_the_cure(tmp_path, rows, fields, message):
    assert refusal(tmp_path, *rows, **fields) == message


DROP = {"emptyRows": "drop", "duplicateRows": "drop", "goldenLeaks": "drop", "longRows": "drop"}


def test_what_the_policy_drops_is_counted_with_its_lines(tmp_path):
    found = curated(tmp_path, *pairs(4), pair(1), EMPTY, LONG, LONG_QUESTION, policy=DROP, golden=GOLDEN)
    report = found.report
    assert (report.rows, report.training_rows, len(found.training)) == (8, 3, 3)
    assert (report.dropped_empty, report.dropped_duplicates, report.dropped_leaks, report.dropped_long) == (1, 1, 1, 2)
    lines = {reason: [row["line"] for row in of["rows"]] for reason, of in found.details["dropped"].items()}
    assert lines == {"empty": [6], "duplicate": [5], "leak": [3], "long": [7, 8]}


def test_long_rows_are_cut_and_told_unless_said_otherwise(tmp_path):
    found = curated(tmp_path, pair(1), LONG)
    assert [len(example.ids) for example in found.training][1] == 128
    assert (found.report.truncated_rows, found.report.dropped_long) == (1, 0)
    assert found.details["truncated"]["rows"][0]["line"] == 2


def test_copies_are_found_across_files_and_the_first_stays(tmp_path):
    found = curate(read_files(tmp_path, a=[pair(1)], b=[pair(2), pair(1)]), train_run(), TOKENIZER)
    assert found.details["dropped"]["duplicate"]["rows"] == [
        {"file": "b.jsonl", "line": 2, "why": "is equal to line 1 of a.jsonl"}
    ]


def test_copies_that_are_kept_are_still_on_one_side(tmp_path):
    rows = [pair(n % 10, group=f"g{n}") for n in range(40)]
    found = curated(tmp_path, *rows, policy={"duplicateRows": "keep"}, validationFraction=0.3)
    assert (len(found.training), len(found.validation)) == (28, 12)
    assert not {e.ids for e in found.training} & {e.ids for e in found.validation}


def test_every_kind_of_problem_is_told_even_if_one_kind_has_many(tmp_path):
    message = refusal(tmp_path, *pairs(3), *[EMPTY] * 40, golden=GOLDEN)
    assert message.count("has an empty 'completion'") == 9
    assert "line 3 of a.jsonl repeats sample s7" in message
    assert "; and 31 more; repair the file, or set spec.dataPolicy.emptyRows: drop, goldenLeaks: drop; then" in message


def test_a_row_that_the_template_refuses_cannot_be_dropped_away(tmp_path):
    refusing = tiny_tokenizer("{{ raise_exception('nein') }}")
    with pytest.raises(DataProblems, match=r"line 1 of a\.jsonl is refused .* \(nein\); repair the file, then raise"):
        curate(read_files(tmp_path, a=pairs(1)), train_run(policy=DROP), refusing)


def test_nothing_left_is_a_problem_that_says_where_the_rows_went(tmp_path):
    message = refusal(tmp_path, EMPTY, EMPTY, LONG, LONG, policy=DROP)
    assert message == (
        "no row is left to learn from; of 4 rows: 2 empty, 1 equal to an earlier one, 1 longer than maxLength; "
        "repair the file, then raise spec.rerun"
    )


def test_a_weight_repeats_what_is_learned_and_reports_what_is_not_chosen(tmp_path):
    half = curate(read_files(tmp_path, weight=0.5, a=pairs(10)), train_run(), TOKENIZER)
    assert (half.report.training_rows, half.details["sources"][0]["notChosen"]) == (5, 5)
    twice = curate(read_files(tmp_path, weight=2, a=pairs(10)), train_run(validationFraction=0.2), TOKENIZER)
    assert (twice.report.training_rows, twice.report.validation_rows) == (16, 2)
    assert (twice.details["sources"][0]["training"], twice.details["sources"][0]["examples"]) == (8, 16)


def test_groups_too_large_to_hold_out_are_told(tmp_path):
    rows = [pair(n, group="eine") for n in range(20)]
    found = curated(tmp_path, *rows, validationFraction=0.1)
    assert found.report.validation_rows == 0
    assert found.details["notes"] == [
        "0 rows are held out instead of 2: the rows form 1 groups, and a group is held out as a whole or not at all; "
        "make groups smaller, or leave 'group' out"
    ]


def curated_digest(folder):
    found = curate(read_files(folder, **CONTENTS), train_run(policy=DROP, validationFraction=0.2), TOKENIZER)
    return json_digest([found.report.wire(), found.details, [e.ids for e in (*found.training, *found.validation)]])


def test_another_process_curates_alike_whatever_python_hashes(tmp_path):
    path = os.pathsep.join([*sys.path, os.path.dirname(__file__)])
    program = f"from pathlib import Path; from test_curate import *; print(curated_digest(Path({str(tmp_path)!r})))"
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": path}  # this process has another
    there = subprocess.run([sys.executable, "-c", program], env=environment, check=True, stdout=subprocess.PIPE)
    assert there.stdout.decode().strip() == curated_digest(tmp_path)
