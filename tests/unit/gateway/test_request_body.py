"""The request body is checked, and only its model is touched."""

from __future__ import annotations

import json

import pytest
from clara_gateway.refusals import RefusalError
from clara_gateway.request_body import read_model_request
from hypothesis import given, settings
from hypothesis import strategies as st


def refused(body: bytes) -> RefusalError:
    with pytest.raises(RefusalError) as caught:
        read_model_request(body)
    return caught.value


@pytest.mark.parametrize("body", [b"{}", b'{"model": ""}', b'{"model": "  "}', b'{"model": null}', b'{"model": 7}'])
def test_a_missing_or_empty_model_is_refused(body: bytes):
    refusal = refused(body)
    assert (refusal.status, refusal.code) == (400, "missing_model")


def test_a_model_inside_another_object_does_not_count():
    assert refused(b'{"messages": [{"model": "x"}]}').code == "missing_model"


def test_a_model_written_twice_is_refused_also_when_one_is_escaped():
    assert refused(b'{"model": "a", "model": "b"}').code == "duplicate_key"
    assert refused(b'{"model": "a", "mod\\u0065l": "b"}').code == "duplicate_key"


def test_broken_json_is_refused_with_its_place():
    refusal = refused(b'{"model": "a",\n "messages": [}')
    assert (refusal.status, refusal.code) == (400, "invalid_json")
    assert "line 2, column 15" in refusal.message


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'{"model":"a"} x', b'{"model":"a",}', b"\xff", b'{"a":' * 99999]
)
def test_what_is_no_json_object_is_refused(body: bytes):
    assert refused(body).code == "invalid_json"


def test_only_the_model_s_bytes_change():
    body = b'{ "stream" :true,"model" : "a", "x": 1.10, "prompt":"\\u00a7 35 \\ud83d \xc2\xa7"}'
    request = read_model_request(body)
    assert (request.asked, request.stream) == ("a", True)
    assert request.asking_for("b-1") == body.replace(b'"a"', b'"b-1"')


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), st.recursive(st.none() | st.text() | st.integers() | st.booleans(), st.lists)))
def test_every_other_value_reaches_the_engine_unchanged(others: dict):
    body = {**others, "model": "asked"}
    sent = read_model_request(json.dumps(body, ensure_ascii=False).encode("utf-8", "ignore")).asking_for("served")
    assert json.loads(sent)["model"] == "served"


@pytest.mark.parametrize("field", ['"prompt_logprobs": 1', '"prompt_logprobs": 0', '"echo": true, "logprobs": 1'])
def test_what_would_stop_an_engine_for_everybody_is_refused(field: str):
    with pytest.raises(RefusalError) as refused:
        read_model_request(f'{{"model": "steuerrecht", {field}}}'.encode())
    assert refused.value.status == 400
    assert refused.value.code == "unsupported_parameter"
