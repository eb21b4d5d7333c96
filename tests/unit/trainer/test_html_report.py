"""One file that opens anywhere, runs nothing, fetches nothing, and shows hostile rows as text."""

from html.parser import HTMLParser

import pytest
from clara_testing.curating import pair, pairs, read_files, train_run
from clara_trainer.curate import curate
from clara_trainer.html_report import Point, render
from trainer_lab import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
POINTS = [Point(n, 4.0 / n, 2e-4, 100 * n, 0.5 * n, 0.9 if n == 8 else None) for n in range(1, 9)]
FACTS = {"Family": "steuerrecht", "Memory plan": "micro-batch 4 × 2"}
DROP = {"emptyRows": "drop", "goldenLeaks": "drop"}
GOLDEN = [{"name": "golden-v1", "samples": [{"id": "s7", "prompt": "Wie hoch ist der Zuschlag?"}]}]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> & \" ' </style></pre>"
VOID = {"meta", "br", "img", "input", "link"}


class Outline(HTMLParser):
    """Tags, attributes and the nesting of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page(tmp_path, *rows, points=POINTS, facts=FACTS, title="steuerrecht 1.3.0", **fields):
    run = train_run(policy=DROP, golden=GOLDEN, **fields)
    found = curate(read_files(tmp_path, a=list(rows or pairs(3))), run, TOKENIZER)
    return render(title, facts, points, found.report, found.details)


def test_a_page_is_well_formed_and_needs_nothing_else(tmp_path):
    whole = page(tmp_path)
    outline = Outline(whole)
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(outline.tags)
    assert not [name for name, _ in outline.attributes if name.startswith("on") or name in ("src", "href", "style")]
    assert "url(" not in whole
    assert "@import" not in whole
    assert "default-src 'none'" in whole


def test_it_shows_curves_facts_sources_and_examples(tmp_path):
    outline = Outline(page(tmp_path))
    assert outline.tags.count("svg") == 3
    for words in ("steuerrecht 1.3.0", "micro-batch 4 × 2", "a.jsonl", "Compared with golden-v1 (1 samples).", "0.500"):
        assert words in outline.text
    assert outline.tags.count("mark") == 3


def test_light_and_dark_and_small_screens_are_served(tmp_path):
    whole = page(tmp_path)
    assert "prefers-color-scheme:dark" in whole
    assert 'name="viewport"' in whole


@pytest.mark.parametrize("place", ["prompt", "answer", "group", "title", "fact"])
def test_hostile_texts_are_shown_and_never_run(tmp_path, place):
    row = {
        "prompt": pair(1) | {"prompt": EVIL},
        "answer": pair(1, answer=EVIL),
        "group": pair(1, group=EVIL),
    }.get(place, pair(1))
    named = {"title": EVIL} if place == "title" else {"facts": {EVIL: EVIL}} if place == "fact" else {}
    outline = Outline(page(tmp_path, row, **named))
    assert not {"script", "img"} & set(outline.tags)
    assert ("alert(1)" in outline.text) == (place != "group")


def test_hostile_file_names_and_sample_names_are_shown_and_never_run(tmp_path):
    golden = [{"name": EVIL, "samples": [{"id": EVIL, "prompt": "Norm für Fall 1?"}]}]
    found = curate(read_files(tmp_path, a=pairs(3)), train_run(policy=DROP, golden=golden), TOKENIZER)
    found.details["sources"][0]["name"] = found.details["examples"][0]["file"] = EVIL
    found.details["dropped"]["leak"]["rows"][0]["file"] = EVIL
    outline = Outline(render("t", {}, POINTS, found.report, found.details | {"notes": [EVIL]}))
    assert not {"script", "img"} & set(outline.tags)
    assert outline.text.count("alert(1)") >= 5


def test_invisible_characters_are_written_out(tmp_path):
    text = Outline(page(tmp_path, pair(1, answer="Ja\u202e\x1b[31m\u200b, § 1"))).text
    assert "Ja\\u202e\\u001b[31m\\u200b, § 1" in text


def test_what_was_left_out_is_listed_with_its_reason_and_line(tmp_path):
    rows = [*pairs(3), pair(1), pair(9, answer=""), {"prompt": "Wie hoch ist der Zuschlag?", "completion": "x"}]
    text = Outline(page(tmp_path, *rows)).text
    assert "1 equal to an earlier row" in text
    assert "line 4 of a.jsonl is equal to line 2 of a.jsonl" in text
    assert "line 5 of a.jsonl has an empty 'completion'" in text
    assert "line 6 of a.jsonl repeats sample s7 of GoldenDataset golden-v1 (equal)" in text
    assert "3 held out" not in text
    assert "0 held out, 3 dropped" in text


def test_a_long_list_ends_with_how_many_more_there_are(tmp_path):
    assert "and 30 more, see data_report.json" in Outline(page(tmp_path, *[pair(1)] * 81)).text


def test_rows_cut_at_the_longest_length_are_marked_in_the_histogram(tmp_path):
    long = pair(7, answer="Am vierten Tag nach der Aufgabe zur Post. " * 20)
    whole = page(tmp_path, *pairs(3), long, max_length=64)
    assert 'class="bar cut"' in whole
    assert "maxLength 64" in whole
    assert 'class="bar cut"' not in page(tmp_path)


def test_a_run_that_logged_nothing_still_has_a_report(tmp_path):
    assert "No step was logged." in Outline(page(tmp_path, points=[])).text


def test_the_same_run_gives_the_same_bytes(tmp_path):
    assert page(tmp_path) == page(tmp_path)
