"""One attempt to get a request answered by one engine. Called by `proxy.py` in a loop.

Nothing is forwarded before the first byte of the answer's body is here, so until then another engine can take over and the
client notices nothing. Answers that are no streams are read whole first and can be taken over until their last byte.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import aiohttp
from aiohttp import web

from clara_gateway.exchange import Exchange
from clara_gateway.in_flight import Attempt, InFlight
from clara_gateway.refusals import error_json
from clara_gateway.rename import EventStream, Renamer, find_usage
from clara_gateway.routing.filters import Placement

log = logging.getLogger(__name__)

Reason = Literal["unreachable", "lost", "failed", "stale", "unauthorized", "unavailable"]

# What an engine says when it cannot answer *this gateway* now; never passed on.
_NOT_FOR_CLIENTS: Final[dict[int, Reason]] = {
    401: "unauthorized",  # the engine guard does not accept our token
    403: "unauthorized",
    404: "stale",  # the adapter is not (or no longer) there: our route is old
    500: "failed",  # what a dying engine says to every request it holds
    503: "unavailable",  # draining
}
_ERROR_EVENT: Final = b'data: {"error"'
SHOWN: Final = 300  # bytes of an engine's own words in our log


@dataclass(frozen=True, slots=True)
class TryAnother:
    """No byte was forwarded; pick again. lost: the engine had the request and vanished; failed: it said so itself."""

    reason: Reason


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Upstream:
    """The only place that talks to engines about requests."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        in_flight: InFlight,
        *,
        connect_seconds: float,
        engine_headers: Callable[[], dict[str, str]],
    ) -> None:
        self._session = session
        self._in_flight = in_flight
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds)
        self._engine_headers = engine_headers

    async def attempt(
        self, request: web.Request, exchange: Exchange, placement: Placement, body: bytes
    ) -> web.StreamResponse | TryAnother:
        """Send `body` to the engine and give its answer to the client. Raises ClientGoneError."""
        with self._in_flight.hold(placement) as attempt:
            relay = Relay(request, exchange, attempt)
            try:
                async with asyncio.timeout(None) as attempt.guard:
                    return await self._exchange(relay, body)
            except aiohttp.ClientConnectorError:
                return TryAnother("unreachable")
            except TimeoutError:
                if not attempt.abandoned:
                    return TryAnother("unreachable")
            except (aiohttp.ClientError, OSError) as error:
                if request.transport is None or request.transport.is_closing():
                    raise ClientGoneError from error
            return await relay.break_off() if relay.stream else TryAnother("lost")

    async def _exchange(self, relay: Relay, body: bytes) -> web.StreamResponse | TryAnother:
        url = f"http://{relay.attempt.placement.engine.address}{relay.request.path}"
        # vLLM wants ids to be unique among running requests; a retry or a careless client would repeat one
        unique = f"{relay.exchange.request_id}-{id(relay):x}"
        headers = {"Content-Type": "application/json", "X-Request-Id": unique, **self._engine_headers()}
        async with self._session.post(
            url, data=body, headers=headers, timeout=self._timeout, allow_redirects=False
        ) as answer:
            relay.attempt.heard()
            if reason := _NOT_FOR_CLIENTS.get(answer.status):
                if reason == "failed":
                    name, said = relay.attempt.placement.engine.name, await answer.content.read(SHOWN)
                    log.warning("engine %s failed on request %s: %r", name, relay.exchange.request_id, said)
                return TryAnother(reason)
            if answer.status == 200 and answer.content_type == "text/event-stream":
                return await relay.pass_on_stream(answer)
            return await relay.pass_on_whole(answer)


class Relay:
    """One engine's answer on its way to the client. `stream` is there once a byte was forwarded."""

    def __init__(self, request: web.Request, exchange: Exchange, attempt: Attempt) -> None:
        self.request = request
        self.exchange = exchange
        self.attempt = attempt
        self.stream: web.StreamResponse | None = None
        target = exchange.target
        served_name = attempt.placement.served_name
        self._renamer = Renamer(served_name, target.public_name if target else served_name)

    async def pass_on_whole(self, answer: aiohttp.ClientResponse) -> web.Response:
        """A JSON answer, or an engine's error."""
        body = await answer.read()
        body = self._renamer.answer(body) if answer.status == 200 else self._renamer.error(body)
        self.exchange.usage = find_usage(body)
        self._name_the_engine()
        headers = {"Content-Type": answer.headers.get("Content-Type", "application/json")}
        return web.Response(status=answer.status, body=body, headers=headers)

    async def pass_on_stream(self, answer: aiohttp.ClientResponse) -> web.StreamResponse | TryAnother:
        """Server-sent events, each as soon as it is whole. A stream that begins with an error is none."""
        events = EventStream(self._renamer)
        async for chunk in answer.content.iter_any():
            self.attempt.heard()
            whole = events.feed(chunk)
            if self.stream is None and whole.startswith(_ERROR_EVENT):
                return self._instead_of_a_stream(whole)
            await self._forward(whole)
        await self._forward(events.rest())
        self.exchange.usage = events.usage
        stream = self.stream or await self._open()
        await stream.write_eof()
        return stream

    def _instead_of_a_stream(self, events: bytes) -> web.Response | TryAnother:
        """vLLM has said 200 before it looked: what is the client's fault is told as what it is."""
        event = events.removeprefix(b"data: ").partition(b"\n")[0]
        try:
            status = json.loads(event)["error"]["code"]
        except (ValueError, KeyError, TypeError):
            status = None
        if not isinstance(status, int) or not 400 <= status < 500:
            log.warning("engine %s began a stream with %r", self.attempt.placement.engine.name, event[:SHOWN])
            return TryAnother("failed")
        self._name_the_engine()
        return web.Response(status=status, body=self._renamer.error(event), content_type="application/json")

    async def break_off(self) -> web.StreamResponse:
        """The engine vanished in the middle: say so in the stream, then close the connection."""
        stream = self.stream or await self._open()
        message = "The engine stopped answering in the middle of this stream. Send the request again."
        self.exchange.code = "engine_lost"
        await stream.write(b"\n\ndata: " + error_json(502, "engine_lost", message) + b"\n\n")
        stream.force_close()
        await stream.write_eof()
        return stream

    async def _forward(self, events: bytes) -> None:
        if events:
            stream = self.stream or await self._open()
            await stream.write(events)

    async def _open(self) -> web.StreamResponse:
        self._name_the_engine()
        self.exchange.mark_first_byte()
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        stream = web.StreamResponse(headers={**headers, "X-Accel-Buffering": "no", **self.exchange.headers()})
        await stream.prepare(self.request)
        self.stream = stream
        return stream

    def _name_the_engine(self) -> None:
        self.exchange.engine = self.attempt.placement.engine.name
