"""A request body: which model it asks for, and the same bytes asking for another. Pure; called by `proxy.py`.

Only the top level is looked at, value by value, and only the value of `model` is replaced, in place: the prompt's bytes
reach the engine as the client wrote them. A key written twice is refused, because two parsers may disagree on which counts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]  # public name, absent from typeshed

from clara_gateway.refusals import RefusalError

_BLANK = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A checked body. `asked` is what the client wrote as `model`; it lies at text[start:end]."""

    text: str
    asked: str
    start: int
    end: int
    stream: bool

    def asking_for(self, served_name: str) -> bytes:
        """The body with `model` replaced and nothing else."""
        return f"{self.text[: self.start]}{json.dumps(served_name)}{self.text[self.end :]}".encode()


def read_model_request(raw: bytes) -> ModelRequest:
    """Check a chat or completion body. Raises RefusalError (400) saying what is wrong and where."""
    try:
        text = raw.decode()
        members = _members(text)
    except UnicodeDecodeError as error:
        raise RefusalError(400, "invalid_json", f"The body is not UTF-8: byte {error.start}.") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise RefusalError(400, "invalid_json", f"The body is not valid JSON: {error.msg} at {place}.") from error
    except RecursionError as error:
        raise RefusalError(400, "invalid_json", "The body is nested too deeply.") from error
    if "model" not in members:
        raise RefusalError(400, "missing_model", "The body has no 'model'. GET /v1/models lists the names you may use.")
    _refuse_what_stops_engines(members)
    asked, start, end = members["model"]
    if not isinstance(asked, str) or not asked.strip():
        raise RefusalError(400, "missing_model", f"'model' must be a name, not {text[start:end][:40]}.")
    return ModelRequest(text, asked, start, end, stream=members.get("stream", (False, 0, 0))[0] is True)


def _refuse_what_stops_engines(members: dict[str, tuple[object, int, int]]) -> None:
    """Log-probabilities of the prompt: with LoRA enabled, vLLM 0.32 on CPU dies in the batch that asks for them, and every
    other request of that engine with it."""
    prompt_logprobs = members.get("prompt_logprobs", (None, 0, 0))[0]
    echo, logprobs = members.get("echo", (None, 0, 0))[0], members.get("logprobs", (None, 0, 0))[0]
    if prompt_logprobs is not None or (echo and logprobs is not None):
        name = "prompt_logprobs" if prompt_logprobs is not None else "echo with logprobs"
        raise RefusalError(
            400, "unsupported_parameter", f"'{name}' is not supported: it can stop an engine for everybody."
        )


def _members(text: str) -> dict[str, tuple[object, int, int]]:
    """The top-level object's values with their places. Raises JSONDecodeError, and RefusalError on a key written twice."""
    at = _expect(text, _skip(text, 0), "{")
    members: dict[str, tuple[object, int, int]] = {}
    if text[at : at + 1] == "}":
        return _nothing_after(text, at + 1, members)
    while True:
        key, at = scanstring(text, _expect(text, at, '"', skip=False))
        if key in members:
            raise RefusalError(400, "duplicate_key", f"The body has '{key}' twice; write it once.")
        start = _expect(text, _skip(text, at), ":")
        value, end = _DECODER.raw_decode(text, start)
        members[key] = (value, start, end)
        at = _skip(text, end)
        if text[at : at + 1] == "}":
            return _nothing_after(text, at + 1, members)
        at = _expect(text, at, ",")


def _nothing_after(
    text: str, at: int, members: dict[str, tuple[object, int, int]]
) -> dict[str, tuple[object, int, int]]:
    if (end := _skip(text, at)) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return members


def _skip(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _expect(text: str, at: int, token: str, *, skip: bool = True) -> int:
    if text[at : at + 1] != token:
        raise json.JSONDecodeError(f"Expecting '{token}'", text, at)
    return _skip(text, at + 1) if skip else at + 1
