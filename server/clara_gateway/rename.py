"""Answers carry the public name, never the engine's. Pure; called by `upstream.py`.

Only the exact token `"model":"ENGINE-NAME"` is replaced, as bytes: inside a JSON string its quotes would be escaped, so
generated text cannot contain it. What lies outside is not parsed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache

_USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')
_TAIL_LIMIT = 2**20  # an event longer than this is passed on in pieces, as it comes


class Renamer:
    """Gives back the public name for one engine name."""

    def __init__(self, served_name: str, public_name: str) -> None:
        self._token = _model_token(served_name)
        self._public = b'"model":' + json.dumps(public_name).encode()
        self._names = (served_name.encode(), public_name.encode())

    def answer(self, body: bytes) -> bytes:
        """A whole JSON answer, or several whole SSE events."""
        return self._token.sub(lambda _: self._public, body)

    def error(self, body: bytes) -> bytes:
        """An engine's error text, which may say the name in prose."""
        return body.replace(*self._names)


@lru_cache(maxsize=4096)
def _model_token(served_name: str) -> re.Pattern[bytes]:
    """Kept, because building it costs more than using it."""
    return re.compile(rb'"model"\s*:\s*' + re.escape(json.dumps(served_name).encode()))


@dataclass(slots=True)
class EventStream:
    """SSE bytes in, renamed bytes out: whole lines at once, only an unfinished line waits for its end."""

    renamer: Renamer
    usage: bytes = b""  # the last usage object seen
    _tail: bytes = field(default=b"", repr=False)

    def feed(self, chunk: bytes) -> bytes:
        """What may be passed on after `chunk`."""
        text = self._tail + chunk if self._tail else chunk
        end = len(text) if len(text) > _TAIL_LIMIT else text.rfind(b"\n") + 1
        self._tail = text[end:]
        return self._renamed(text[:end])

    def rest(self) -> bytes:
        """What is left when the engine closed the stream."""
        tail, self._tail = self._tail, b""
        return self._renamed(tail)

    def _renamed(self, text: bytes) -> bytes:
        if not text:
            return text
        self.usage = find_usage(text) or self.usage
        return self.renamer.answer(text)


def find_usage(text: bytes) -> bytes:
    """The last `usage` object in `text`, or nothing. An answer's text cannot hold one: its quotes would be escaped."""
    if b'"usage"' not in text:
        return b""
    found = _USAGE.findall(text)
    return bytes(found[-1]) if found else b""


def token_counts(usage: bytes) -> dict[str, int]:
    """prompt_tokens and completion_tokens, when the engine told them."""
    try:
        counts = json.loads(usage or b"{}")
    except ValueError:
        return {}
    return {k: v for k in ("prompt_tokens", "completion_tokens") if isinstance(v := counts.get(k), int)}
