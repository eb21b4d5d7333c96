"""An engine that costs next to nothing: python fake_engine.py NAME prints its port and answers with fixed bytes.

One uvloop protocol on 127.0.0.1, so that what is measured is the proxy before it.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import cast

import uvloop

CHUNKS = 64
CHUNK_SECONDS = 0.005  # slow enough that proxies get the events one by one

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream" *: *true')
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Answers:
    """The bytes that are sent, made once."""

    def __init__(self, served_name: str) -> None:
        usage = {"prompt_tokens": 230, "completion_tokens": 100, "total_tokens": 330}
        choice = {"index": 0, "message": {"role": "assistant", "content": "x" * 400}, "finish_reason": "stop"}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": served_name}
        self.whole = _whole({**answer, "choices": [choice], "usage": usage})
        self.models = _whole({"object": "list", "data": [{"id": served_name, "object": "model"}]})
        event = {"id": "1", "model": served_name, "choices": [{"index": 0, "delta": {"content": "ein "}}]}
        line = b"data: " + _json(event) + b"\n\n"
        self.chunk = f"{len(line):x}\r\n".encode() + line + b"\r\n"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _whole(value: object) -> bytes:
    body = _json(value)
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Engine(asyncio.Protocol):
    """One connection: a POST gets the answer, or CHUNKS events when it asks for a stream; a GET gets the list of models."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:

        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, found, body = self._seen.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or len(body) < (int(length[1]) if length else 0):
            return
        self._seen = b""
        if head.startswith(b"GET "):
            self._transport.write(self._answers.models)
        elif _STREAM.search(body):
            self._transport.write(_STREAM_HEAD)
            self._send(CHUNKS)
        else:
            self._transport.write(self._answers.whole)

    def _send(self, left: int) -> None:
        self._transport.write(self._answers.chunk if left else b"0\r\n\r\n")
        if left:
            asyncio.get_running_loop().call_later(CHUNK_SECONDS, self._send, left - 1)


async def serve(served_name: str) -> None:
    answers = Answers(served_name)
    server = await asyncio.get_running_loop().create_server(lambda: Engine(answers), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
