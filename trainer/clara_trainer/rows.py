"""One line of a training file → one row, or the sentence that says what is wrong with it. Pure; called by data.py.

chat               {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
promptCompletion   {"prompt": "…", "completion": "…"}: one user message and its answer
text               {"text": "…"}: plain text, all of it is learned

Each may carry a "group" (text or integer): rows of one group are held out together or not at all. Other keys are read over.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Format = Literal["chat", "promptCompletion", "text"]

KEY_OF_FORMAT: dict[Format, str] = {"chat": "messages", "promptCompletion": "prompt", "text": "text"}
ROLES = ("system", "user", "assistant")
LONGEST_LINE = 16 << 20  # bytes
LONGEST_GROUP = 1024  # characters: a name, not a text that slipped into the wrong key
WORD = re.compile(r"\w+")


class RowError(ValueError):
    """What is wrong with a line, as the rest of a sentence that begins with 'line 17 of FILE'."""


class EmptyRow(RowError):
    """The line is well formed, and its prompt, answer or text is empty: dataPolicy.emptyRows decides what that means."""


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
    group: str = ""  # as the row names it

    @property
    def group_key(self) -> str:
        """What is held out together: the named group; else the first question, however it is spelled; else the text."""
        if self.group:
            return f"group {self.group}"
        asked = next((m.content for m in self.messages if m.role == "user"), None)
        kept = f"text {self.text}" if asked is None else f"prompt {normalised(asked) or asked}"
        return hashlib.sha256(kept.encode()).hexdigest()

    @property
    def where(self) -> str:
        """For messages to people."""
        return f"line {self.line} of {self.file}"

    @property
    def content(self) -> str:
        """One spelling of what is taught: equal rows are equal whatever line they stand on."""
        turns = [[m.role, m.content] for m in self.messages]
        return json.dumps([turns, self.text], ensure_ascii=False)

    @property
    def digest(self) -> str:
        """Of the content, as hex: short enough to remember for every row."""
        return hashlib.sha256(self.content.encode()).hexdigest()


def normalised(text: str) -> str:
    """One spelling of a text: its words in lower case, without punctuation.

    >>> normalised("  Wann gilt's,   bitte?")
    'wann gilt s bitte'
    """
    return " ".join(WORD.findall(text.casefold()))


def decode(line: bytes) -> Mapping[str, Any]:
    """The JSON object on a line; RowError when it is none."""
    if len(line) > LONGEST_LINE:
        raise RowError(f"is longer than {LONGEST_LINE >> 20} MiB")
    if b"\0" in line:
        raise RowError(_what_nul_means(line))
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_object)
        if b"\\ud" in line.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        byte = line[error.start]
        raise RowError(f"is not UTF-8 (byte 0x{byte:02x} at column {error.start + 1})") from error
    except UnicodeEncodeError as error:
        raise RowError("has half of a surrogate pair (\\ud800 to \\udfff), which is no character") from error
    except json.JSONDecodeError as error:
        raise RowError(f"is not valid JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise RowError("is nested too deeply") from error
    except RowError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise RowError(f"is not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise RowError("is valid JSON, but no object in braces")
    return value


def _what_nul_means(line: bytes) -> str:
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "is UTF-16; save the file as UTF-8"
    return f"has a NUL byte at column {line.index(0) + 1}; the file was written only in part, or is no text"


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """JSON leaves open which of two equal keys counts; a person should not have to guess what was learned."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise RowError(f"has the key '{next(key for key in keys if keys.count(key) > 1)}' twice")
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
    """The row. RowError when a part is missing or of another kind; EmptyRow when all is there and a part is empty."""
    group = _group(value.get("group"))
    if format_ == "text":
        return Row(file, line, text=_filled(_text(value, "text"), "text"), group=group)
    if format_ == "promptCompletion":
        if "completion" not in value:
            raise RowError("has a 'prompt' but no 'completion'")
        prompt, completion = _text(value, "prompt"), _text(value, "completion")
        turns = (
            Message("user", _filled(prompt, "prompt")),
            Message("assistant", _filled(completion, "completion")),
        )
        return Row(file, line, messages=turns, group=group)
    return Row(file, line, messages=_conversation(value["messages"]), group=group)


def _group(value: Any) -> str:
    if value is None:  # tables that become JSONL write null where a column is empty
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError("has a 'group' that is neither text nor a whole number")
    group = str(value).strip()
    if not group:
        raise RowError("has an empty 'group'; name it or leave the key out")
    if len(group) > LONGEST_GROUP:
        raise RowError(f"has a 'group' of more than {LONGEST_GROUP} characters")
    return group


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
    for number, message in enumerate(messages, start=1):
        if not message.content.strip():
            whose = "an empty answer" if message.role == "assistant" else f"an empty {message.role} message"
            raise EmptyRow(f"has {whose} (message {number})")
    return messages


def _turn(number: int, turn: Any) -> Message:
    if not isinstance(turn, dict):
        raise RowError(f"has a message {number} that is no object")
    role, content = turn.get("role"), turn.get("content")
    if role not in ROLES:
        raise RowError(f"has a message {number} with the role {role!r}; roles are {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise RowError(f"has a message {number} whose 'content' is no text")
    return Message(role, content)


def _text(value: Mapping[str, Any], key: str) -> str:
    text = value[key]
    if not isinstance(text, str):
        raise RowError(f"has a '{key}' that is no text")
    return text


def _filled(text: str, key: str) -> str:
    if not text.strip():
        raise EmptyRow(f"has an empty '{key}'")
    return text
