"""What a line of a training file may be, and what is said when it is something else."""

import json

import pytest
from clara_trainer.rows import Message, RowError, build, check_format, decode


def row_of(value, *, declared=None, detected=None):
    return build(value, check_format(value, declared=declared, detected=detected), file="a.jsonl", line=1)


def chat(*turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def test_a_chat_row_keeps_its_turns():
    row = row_of(chat(("system", "s"), ("user", "Frage"), ("assistant", "Antwort")))
    assert row.messages == (Message("system", "s"), Message("user", "Frage"), Message("assistant", "Antwort"))


def test_a_prompt_and_its_completion_are_one_user_message_and_its_answer():
    row = row_of({"prompt": "Frage", "completion": "Antwort"})
    assert row.messages == (Message("user", "Frage"), Message("assistant", "Antwort"))


def test_plain_text_is_detected():
    assert row_of({"text": "Alles lernen."}).text == "Alles lernen."


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"question": "?"}, "has no 'messages' or 'prompt'"),
        ({"prompt": "Frage"}, "has a 'prompt' but no 'completion'"),
        ({"prompt": "Frage", "completion": "  "}, "has an empty 'completion'"),
        ({"prompt": 7, "completion": "x"}, "has a 'prompt' that is no text"),
        ({"messages": "x"}, "has 'messages' that are no list of turns"),
        ({"messages": []}, "has 'messages' that are no list of turns"),
        ({"messages": ["x"]}, "has a message 1 that is no object"),
        (chat(("bot", "x")), "has a message 1 with the role 'bot'; roles are system, user, assistant"),
        (chat(("user", "x")), "ends with a message of 'user'; the last must be the assistant's answer"),
        (chat(("user", "x"), ("assistant", " ")), "has an empty answer (message 2)"),
        (chat(("user", ""), ("assistant", "x")), "has an empty user message (message 1)"),
        (chat(("assistant", "x")), "has no message of the user"),
        (chat(("user", "x"), ("system", "s"), ("assistant", "y")), "has a system message that is not the first"),
    ],
)
def test_a_bad_row_is_described(value, sentence):
    with pytest.raises(RowError) as error:
        row_of(value)
    assert str(error.value) == sentence


def test_a_file_has_one_format():
    with pytest.raises(RowError, match="has 'text', but the file began as chat; a file has one format"):
        row_of({"text": "x"}, detected="chat")


def test_a_declared_format_is_not_guessed_around():
    with pytest.raises(RowError, match="has no 'messages', which the format chat needs"):
        row_of({"text": "x"}, declared="chat")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b'{"text": ', "is not valid JSON"),
        ('{"text": "Gebühr"}'.encode("latin-1"), "is not UTF-8 (byte 0xfc at column 14)"),
        (b"[1]", "is valid JSON, but no object in braces"),
    ],
)
def test_a_line_that_is_no_json_object_is_described(line, sentence):
    with pytest.raises(RowError) as error:
        decode(line)
    assert str(error.value).startswith(sentence)


def test_rows_with_equal_contents_are_equal_wherever_they_stand():
    value = chat(("user", "x"), ("assistant", "y"))
    here, there = build(value, "chat", file="a", line=1), build(value, "chat", file="b", line=9)
    assert here.content == there.content
    assert json.loads(here.content)
