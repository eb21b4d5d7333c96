"""What a line of a training file may be, and what is said when it is something else."""

import json

import pytest
from clara_trainer.rows import EmptyRow, Message, Row, RowError, build, check_format, decode


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
        ({"text": 7}, "has a 'text' that is no text"),
        ({"prompt": 7, "completion": "x"}, "has a 'prompt' that is no text"),
        ({"messages": "x"}, "has 'messages' that are no list of turns"),
        ({"messages": []}, "has 'messages' that are no list of turns"),
        ({"messages": ["x"]}, "has a message 1 that is no object"),
        (chat(("bot", "x")), "has a message 1 with the role 'bot'; roles are system, user, assistant"),
        (chat(("user", "x")), "ends with a message of 'user'; the last must be the assistant's answer"),
        (chat(("user", ""), ("bot", "x")), "has a message 2 with the role 'bot'; roles are system, user, assistant"),
        (chat(("assistant", "x")), "has no message of the user"),
        (chat(("user", "x"), ("system", "s"), ("assistant", "y")), "has a system message that is not the first"),
    ],
)
def test_a_bad_row_is_described(value, sentence):
    with pytest.raises(RowError) as error:
        row_of(value)
    assert str(error.value) == sentence
    assert not isinstance(error.value, EmptyRow)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"text": " "}, "has an empty 'text'"),
        ({"prompt": "", "completion": "x"}, "has an empty 'prompt'"),
        ({"prompt": "Frage", "completion": "  "}, "has an empty 'completion'"),
        (chat(("user", "x"), ("assistant", " ")), "has an empty answer (message 2)"),
        (chat(("user", ""), ("assistant", "x")), "has an empty user message (message 1)"),
    ],
)
def test_an_empty_row_is_told_apart_from_a_malformed_one(value, sentence):
    with pytest.raises(EmptyRow) as error:
        row_of(value)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("group", "kept"),
    [("ao-122", "ao-122"), (7, "7"), (" 7 ", "7"), (None, "")],
    ids=["text", "number", "spaces", "null"],
)
def test_a_row_may_name_its_group(group, kept):
    assert row_of({"text": "x", "group": group}).group == kept


@pytest.mark.parametrize(
    ("group", "sentence"),
    [
        (True, "has a 'group' that is neither text nor a whole number"),
        (1.5, "has a 'group' that is neither text nor a whole number"),
        (["a"], "has a 'group' that is neither text nor a whole number"),
        (" ", "has an empty 'group'; name it or leave the key out"),
        ("x" * 2000, "has a 'group' of more than 1024 characters"),
    ],
)
def test_a_group_of_another_kind_is_described(group, sentence):
    with pytest.raises(RowError) as error:
        row_of({"text": "x", "group": group})
    assert str(error.value) == sentence


def asks(question, answer="a", group=""):
    return Row("a.jsonl", 1, messages=(Message("user", question), Message("assistant", answer)), group=group)


def test_rows_that_ask_the_same_belong_together_however_it_is_spelled():
    assert asks("Wann gilt's?").group_key == asks("  WANN gilt, s", answer="b").group_key
    assert asks("Wann gilt's?").group_key != asks("Wann endet's?").group_key
    assert asks("?!").group_key != asks("…").group_key


def test_a_named_group_counts_more_than_the_question():
    assert asks("Wann?", group="7").group_key == asks("Wo?", group="7").group_key != asks("Wann?").group_key


def test_plain_texts_belong_together_when_they_are_equal():
    assert Row("a", 1, text="x").group_key == Row("b", 2, text="x").group_key != Row("a", 3, text="y").group_key


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
        (b"[" * 200_000, "is nested too deeply"),
        (b'{"prompt": "x", "prompt": "y"}', "has the key 'prompt' twice"),
        (b'{"messages": [{"role": "user", "role": "system"}]}', "has the key 'role' twice"),
        (b'{"text": "\0"}', "has a NUL byte at column 11; the file was written only in part, or is no text"),
        ('{"text": "x"}'.encode("utf-16"), "is UTF-16; save the file as UTF-8"),
        (b'{"text": "\\ud800"}', "has half of a surrogate pair"),
        (b'{"text": "x", "n": ' + b"1" * 5000 + b"}", "is not valid JSON (Exceeds the limit"),
        (b'{"text": "' + b"x" * (16 << 20) + b'"}', "is longer than 16 MiB"),
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


def test_a_whole_surrogate_pair_is_a_character():
    assert decode(rb'{"text": "\ud83d\ude00"}') == {"text": "😀"}
