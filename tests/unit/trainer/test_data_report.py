"""The data report adds up, and shows what the model saw."""

from clara_testing.curating import pair, pairs, read_files, train_run
from clara_trainer.curate import curate
from clara_trainer.data_report import histogram, percentile
from clara_trainer.recorded_data import digest_of
from hypothesis import given
from hypothesis import strategies as st
from trainer_lab import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
LONG = pair(1, answer="Am vierten Tag nach der Aufgabe zur Post. " * 20)


def test_the_rows_of_every_source_add_up(tmp_path):
    files = read_files(tmp_path, weight=1.5, a=[*pairs(30), pair(1), {"text": ""} | pair(1, answer="")], b=pairs(10))
    details = curate(files, train_run(policy={"emptyRows": "drop"}, validationFraction=0.2), TOKENIZER).details
    a, b = details["sources"]
    assert (a["rows"], a["dropped"]) == (32, {"duplicate": 1, "empty": 1})
    assert (b["rows"], b["kept"], b["dropped"]) == (10, 0, {"duplicate": 10})
    for source in (a, b):
        assert source["rows"] == source["training"] + source["validation"] + sum(source["dropped"].values())
    assert a["examples"] == a["training"] * 3 // 2


def test_lengths_are_told_as_written_and_as_learned(tmp_path):
    found = curate(read_files(tmp_path, a=[*pairs(9), LONG]), train_run(max_length=64), TOKENIZER)
    lengths = found.details["tokenLengths"]
    assert lengths["learned"]["max"] == found.report.longest_tokens == 64 < lengths["asWritten"]["max"]
    assert list(lengths["learned"]) == ["p5", "p25", "p50", "p75", "p95", "p99", "max"]
    assert lengths["learned"]["p50"] == found.report.median_tokens
    assert sum(bar["rows"] for bar in found.details["histogram"]) == 10


def test_the_share_of_tokens_that_carry_loss_is_told(tmp_path):
    found = curate(read_files(tmp_path, a=pairs(4)), train_run(), TOKENIZER)
    assert found.details["supervisedShare"] == round(found.report.supervised_tokens / found.report.tokens, 4)
    assert found.report.tokens == sum(len(example.ids) for example in found.training)
    assert 0 < found.details["supervisedShare"] < 1


def test_three_examples_show_what_is_learned_and_every_file_has_its_turn(tmp_path):
    files = read_files(tmp_path, a=pairs(50), b=[{"text": "Am vierten Tag."}], c=[{"text": "Nach der AO."}])
    shown = curate(files, train_run(), TOKENIZER).details["examples"]
    assert sorted(example["file"] for example in shown) == ["a.jsonl", "b.jsonl", "c.jsonl"]
    parts = next(example for example in shown if example["file"] == "a.jsonl")["parts"]
    assert [part["learned"] for part in parts] == [False, True]
    assert parts[1]["text"] == "Nach der AO.<|end|>"


def test_a_thousand_places_are_listed_and_all_are_counted(tmp_path):
    found = curate(read_files(tmp_path, a=[pair(1)] * 1500), train_run(), TOKENIZER)
    assert found.details["dropped"]["duplicate"]["count"] == 1499
    assert len(found.details["dropped"]["duplicate"]["rows"]) == 1000


def test_the_digest_is_of_what_was_read_and_the_golden_sets_checked_are_named(tmp_path):
    files = read_files(tmp_path, a=pairs(4))
    golden = [{"name": "golden-v1", "samples": [{"id": "s1", "prompt": "Wie viel Prozent?"}]}]
    found = curate(files, train_run(golden=golden), TOKENIZER)
    assert found.report.digest == digest_of(files)
    assert found.details["golden"] == [{"name": "golden-v1", "samples": 1}]


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60).map(sorted))
def test_a_histogram_holds_every_row_once_in_few_bars(lengths):
    bars = histogram(lengths)
    assert 1 <= len(bars) <= 24
    for bar in bars:
        assert bar["rows"] == sum(bar["from"] <= length < bar["to"] for length in lengths)
    assert sum(bar["rows"] for bar in bars) == len(lengths)


@given(st.lists(st.integers(1, 100), min_size=1).map(sorted), st.sampled_from([5, 50, 99]))
def test_a_percentile_is_the_smallest_value_that_covers_its_share(values, percent):
    found = percentile(values, percent)
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)
