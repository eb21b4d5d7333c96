"""The client: 32 keep-alive connections that send fixed bytes. As cheap as Python allows, it shares the machine with the rest."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

CONNECTIONS = 32
PROMPT = "y" * 900

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Question:
    """One request as bytes. `forbidden` must not appear in the answer, `wanted` must."""

    port: str
    model: str
    api_key: str
    wanted: bytes
    forbidden: bytes | None = None

    def head_and_body(self, *, stream: bool) -> bytes:
        messages = [{"role": "user", "content": PROMPT}]
        body = json.dumps({"model": self.model, "messages": messages, "stream": stream}).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Bearer {self.api_key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def check(self, answer: bytes, *, events: int) -> None:
        """Raises AssertionError when the proxy did not answer as it should."""
        assert answer.startswith(b"HTTP/1.1 200"), answer[:600]
        assert answer.count(b"data: ") == events, (answer.count(b"data: "), events)
        assert self.wanted in answer, answer[:600]
        assert self.forbidden is None or self.forbidden not in answer, answer[:600]


class Connection(asyncio.Protocol):
    """One keep-alive connection; one answer at a time. `reads`: how often bytes arrived."""

    def __init__(self) -> None:
        self.reads = 0
        self._seen = bytearray()
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:

        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer:
            self._answer.set_exception(exc or ConnectionError(f"closed after {bytes(self._seen[:600])!r}"))

    async def ask(self, request: bytes) -> bytes:
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self.reads += 1
        self._seen += data
        if self._answer and self._is_whole():
            answer, self._answer = self._answer, None
            answer.set_result(bytes(self._seen))
            self._seen.clear()

    def _is_whole(self) -> bool:
        end = self._seen.find(b"\r\n\r\n")
        if end < 0:
            return False
        length = _LENGTH.search(self._seen, 0, end)
        # no event of the fake engine ends in what ends a chunked answer
        return len(self._seen) >= end + 4 + int(length[1]) if length else self._seen.endswith(b"\r\n0\r\n\r\n")


@dataclass(frozen=True)
class Seen:
    """What the client saw of one load."""

    seconds: float
    latencies: list[float]
    reads: int


async def back_to_back(question: Question, requests: int, *, events: int = 0) -> Seen:
    """Every connection sends its next request as soon as the last one is answered. `events`: of a stream, or 0."""
    return await _load(question, requests, events, every=0)


async def paced(question: Question, requests: int, *, per_second: int) -> Seen:
    """So many requests per second, evenly over the connections: what a proxy adds when it is not saturated."""
    return await _load(question, requests, 0, every=CONNECTIONS / per_second)


async def _load(question: Question, requests: int, events: int, *, every: float) -> Seen:
    request = question.head_and_body(stream=events > 0)
    left = iter(range(requests))
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(Connection, "127.0.0.1", int(question.port)) for _ in range(CONNECTIONS)]
    connections = [connection for _, connection in made]
    started = time.perf_counter()
    latencies = await asyncio.gather(
        *(
            _client(
                connection, question, request, left, events, first=started + every * number / CONNECTIONS, every=every
            )
            for number, connection in enumerate(connections)
        )
    )
    seconds = time.perf_counter() - started
    for connection in connections:
        connection.transport.close()
    return Seen(seconds, [one for some in latencies for one in some], sum(c.reads for c in connections))


async def _client(
    connection: Connection,
    question: Question,
    request: bytes,
    left: Iterable[int],
    events: int,
    *,
    first: float,
    every: float,
) -> list[float]:
    latencies = []
    due = first
    for _ in left:
        if every:
            await asyncio.sleep(due - time.perf_counter())
            due = max(due + every, time.perf_counter())
        sent = time.perf_counter()
        answer = await connection.ask(request)
        latencies.append(time.perf_counter() - sent)
        question.check(answer, events=events)
    return latencies
