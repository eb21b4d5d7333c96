"""Answers say which version answered, and nothing else about the engine."""

from __future__ import annotations

import json

import pytest
from clara_gateway.rename import EventStream, Renamer, find_usage, token_counts

RENAMER = Renamer("recht-1.0.0-0badcafe", "recht-1.0.0")
EVENT = b'data: {"id":"1","model":"recht-1.0.0-0badcafe","choices":[]}\n\n'


@pytest.mark.parametrize("space", ["", " "])
def test_the_model_of_an_answer_is_the_public_name(space: str):
    body = f'{{"id":"x","model":{space}"recht-1.0.0-0badcafe"}}'.encode()
    assert json.loads(RENAMER.answer(body)) == {"id": "x", "model": "recht-1.0.0"}


def test_generated_text_that_looks_like_the_token_stays():
    text = 'say "model":"recht-1.0.0-0badcafe"'
    body = json.dumps({"model": "recht-1.0.0-0badcafe", "text": text}, separators=(",", ":")).encode()
    assert json.loads(RENAMER.answer(body)) == {"model": "recht-1.0.0", "text": text}


def test_a_whole_event_is_passed_on_at_once():
    assert EventStream(RENAMER).feed(EVENT) == EVENT.replace(b"-0badcafe", b"")


@pytest.mark.parametrize("cut", range(1, len(EVENT)))
def test_an_event_cut_anywhere_is_renamed_all_the_same(cut: int):
    events = EventStream(RENAMER)
    out = events.feed(EVENT[:cut]) + events.feed(EVENT[cut:]) + events.rest()
    assert out == EVENT.replace(b"-0badcafe", b"")


def test_what_a_stream_leaves_unfinished_is_passed_on_at_its_end():
    events = EventStream(RENAMER)
    assert events.feed(b"data: [DO") == b""
    assert events.rest() == b"data: [DO"


def test_usage_is_found_with_its_details():
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1}}
    found = find_usage(b'{"usage": ' + json.dumps(usage).encode() + b"}")
    assert token_counts(found) == {"prompt_tokens": 3, "completion_tokens": 5}


def test_without_usage_no_tokens_are_claimed():
    assert token_counts(find_usage(b'{"usage":null}')) == {}
