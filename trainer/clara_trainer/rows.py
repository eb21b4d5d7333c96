"""One line of a training file → one row, or the sentence that says what is wrong with it. Pure; called by data.py.

chat               {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
promptCompletion   {"prompt": "…", "completion": "…"}: one user message and its answer
text               {"text": "…"}: plain text, all of it is learned
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Format = Literal["chat", "promptCompletion", "text"]

KEY_OF_FORMAT: dict[Format, str] = {"chat": "messages", "promptCompletion": "prompt", "text": "text"}
ROLES = ("system", "user", "assistant")
LONGEST_LINE = 16 << 20  # bytes


class RowError(ValueError):
    """What is wrong with a line, as the rest of a sentence that begins with 'line 17 of FILE'."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Row:
    """What one line teaches: a conversation that ends with the answer, or plain text."""

    file: str
    line: int
    messages: tuple[Message, ...] = ()
    text: str = ""

    @property
    def where(self) -> str:
        """For messages to people."""
        return f"line {self.line} of {self.file}"

    @property
    def content(self) -> str:
        """One spelling of what is taught: equal rows are equal whatever line they stand on."""
        turns = [[m.role, m.content] for m in self.messages]
        return json.dumps([turns, self.text], ensure_ascii=False)


def decode(line: bytes) -> Mapping[str, Any]:
    """The JSON object on a line; RowError when it is none."""
    if len(line) > LONGEST_LINE:
        raise RowError(f"is longer than {LONGEST_LINE >> 20} MiB")
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        byte = line[error.start]
        raise RowError(f"is not UTF-8 (byte 0x{byte:02x} at column {error.start + 1})") from error
    except json.JSONDecodeError as error:
        raise RowError(f"is not valid JSON ({error.msg} at column {error.colno})") from error
    if not isinstance(value, dict):
        raise RowError("is valid JSON, but no object in braces")
    return value


def detect(value: Mapping[str, Any]) -> Format | None:
    """The format a row is written in; None when it is none of them."""
    return next((format_ for format_, key in KEY_OF_FORMAT.items() if key in value), None)


def check_format(value: Mapping[str, Any], *, declared: Format | None, detected: Format | None) -> Format:
    """The row's format. `declared` was given by a person, `detected` by the file's first row; a file has one format."""
    if declared is not None:
        if KEY_OF_FORMAT[declared] not in value:
            raise RowError(f"has no '{KEY_OF_FORMAT[declared]}', which the format {declared} needs")
        return declared
    found = detect(value)
    if found is None:
        raise RowError("has no 'text'" if detected == "text" else "has no 'messages' or 'prompt'")
    if detected is not None and found != detected:
        raise RowError(f"has '{KEY_OF_FORMAT[found]}', but the file began as {detected}; a file has one format")
    return found


def build(value: Mapping[str, Any], format_: Format, *, file: str, line: int) -> Row:
    """The row; RowError when a part is missing, empty or of another kind."""
    if format_ == "text":
        return Row(file, line, text=_text(value, "text"))
    if format_ == "promptCompletion":
        if "completion" not in value:
            raise RowError("has a 'prompt' but no 'completion'")
        turns = (Message("user", _text(value, "prompt")), Message("assistant", _text(value, "completion")))
        return Row(file, line, messages=turns)
    return Row(file, line, messages=_conversation(value["messages"]))


def _conversation(turns: Any) -> tuple[Message, ...]:
    if not isinstance(turns, list) or not turns:
        raise RowError("has 'messages' that are no list of turns")
    messages = tuple(_turn(number, turn) for number, turn in enumerate(turns, start=1))
    if any(m.role == "system" for m in messages[1:]):
        raise RowError("has a system message that is not the first")
    if messages[-1].role != "assistant":
        raise RowError(f"ends with a message of '{messages[-1].role}'; the last must be the assistant's answer")
    if not any(m.role == "user" for m in messages):
        raise RowError("has no message of the user")
    return messages


def _turn(number: int, turn: Any) -> Message:
    if not isinstance(turn, dict):
        raise RowError(f"has a message {number} that is no object")
    role, content = turn.get("role"), turn.get("content")
    if role not in ROLES:
        raise RowError(f"has a message {number} with the role {role!r}; roles are {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise RowError(f"has a message {number} whose 'content' is no text")
    if not content.strip():
        whose = "an empty answer" if role == "assistant" else f"an empty {role} message"
        raise RowError(f"has {whose} (message {number})")
    return Message(role, content)


def _text(value: Mapping[str, Any], key: str) -> str:
    text = value[key]
    if not isinstance(text, str):
        raise RowError(f"has a '{key}' that is no text")
    if not text.strip():
        raise RowError(f"has an empty '{key}'")
    return text
