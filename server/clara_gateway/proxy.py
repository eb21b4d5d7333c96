"""POST /v1/chat/completions and /v1/completions: resolve, pick, attempt, and again while nothing was forwarded.

    model ──names──▶ target ──pick──▶ engine ──attempt──▶ answer
      ▲                │ loading, or no engine: wait for a change, bounded     │
      └────────────────┴──────────────── stale route, engine gone ─────────────┘

Each round looks at the newest snapshot. A request that once holds an engine keeps it: a version change or a drain moves
only what has not started.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from dataclasses import dataclass, field

from aiohttp import web

from clara_gateway.credentials import Credentials
from clara_gateway.ejection import Ejections
from clara_gateway.exchange import Exchange
from clara_gateway.in_flight import InFlight
from clara_gateway.knowledge import Knowledge
from clara_gateway.middleware import EXCHANGE
from clara_gateway.refusals import RefusalError, unavailable
from clara_gateway.request_body import ModelRequest, read_model_request
from clara_gateway.routing.filters import EngineKey, EngineView, Moment, Placement
from clara_gateway.routing.names import Caller, Loading, Refused, Resolution, Target, resolve
from clara_gateway.routing.pick import pick
from clara_gateway.settings import Settings
from clara_gateway.upstream import TryAnother, Upstream

log = logging.getLogger(__name__)

BODY_SECONDS = 30  # for a client that sends its body byte by byte
LOST_LIMIT = 3  # a request that took this many engines with it does not get another
FAILED_LIMIT = 2  # one engine may be dying; when a second one fails too, it is the request
FAILS_IN_A_ROW = 3  # of different requests, none answered between them: it is the engine


@dataclass(slots=True)
class Search:
    """The way of one request to its engine."""

    caller: Caller
    asked: str
    deadline: float  # loop time until which waiting is allowed
    refused: dict[EngineKey, EngineView] = field(default_factory=dict)
    lost: int = 0
    failed: int = 0


class Proxy:
    """Answers completion requests."""

    def __init__(
        self,
        knowledge: Knowledge,
        ejections: Ejections,
        in_flight: InFlight,
        upstream: Upstream,
        *,
        credentials: Credentials,
        settings: Settings,
    ) -> None:
        self._knowledge = knowledge
        self._ejections = ejections
        self._in_flight = in_flight
        self._upstream = upstream
        self._credentials = credentials
        self._settings = settings
        self._turn = itertools.count()
        self._failed_in_a_row: Counter[EngineKey] = Counter()
        self.open = 0

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """The aiohttp handler. Raises RefusalError for everything that is not an engine's answer."""
        exchange = request[EXCHANGE]
        caller = self._credentials.keys.caller(request.headers.get("Authorization", ""))
        exchange.key_id = caller.key_id
        if self.open >= self._settings.max_in_flight:
            raise unavailable("gateway_busy", f"{self.open} requests are open; try again in a moment.")
        self.open += 1
        try:
            asked = read_model_request(await read_body(request, self._settings.body_limit))
            exchange.asked, exchange.stream = asked.asked[:256], asked.stream
            return await self._answer(request, exchange, caller, asked)
        finally:
            self.open -= 1

    async def _answer(
        self, request: web.Request, exchange: Exchange, caller: Caller, asked: ModelRequest
    ) -> web.StreamResponse:
        deadline = asyncio.get_running_loop().time() + self._settings.wait_seconds
        search = Search(caller, asked.asked, deadline)
        while True:
            exchange.target, placement = await self._find(search)
            body = asked.asking_for(placement.served_name)
            answer = await self._upstream.attempt(request, exchange, placement, body)
            if isinstance(answer, web.StreamResponse):
                self._failed_in_a_row.pop(placement.engine.key, None)
                return answer
            exchange.retries[answer.reason] += 1
            self._learn_from(answer, search, placement)

    async def _find(self, search: Search) -> tuple[Target, Placement]:
        while True:
            change = self._knowledge.next_change()
            meaning = self._resolve(search)
            if isinstance(meaning, Refused):
                raise RefusalError(meaning.status, meaning.code, meaning.message)
            if isinstance(meaning, Target):
                placement = pick(meaning.placements, self._moment(search), turn=next(self._turn))
                if placement:
                    return meaning, placement
                if search.failed and all(p.engine.key in search.refused for p in meaning.placements):
                    message = "The engine failed on this request (500), and no other holds the model."
                    raise RefusalError(502, "engine_failed", message)
            await _wait(change, search, meaning)

    def _resolve(self, search: Search) -> Resolution | None:
        """None: the cluster was never seen, so nothing can be said to be unknown."""
        if not self._knowledge.synced:
            return None
        return resolve(self._knowledge.snapshot, search.asked, search.caller)

    def _moment(self, search: Search) -> Moment:
        return Moment(self._ejections, search.refused, self._in_flight.counts, self._in_flight.running)

    def _learn_from(self, failure: TryAnother, search: Search, placement: Placement) -> None:
        engine = placement.engine
        log.info("engine %s/%s: %s as %s", engine.namespace, engine.name, failure.reason, placement.served_name)
        if failure.reason in ("unreachable", "lost"):
            self._ejections.eject(engine, failure.reason, now=asyncio.get_running_loop().time())
        else:
            search.refused[engine.key] = engine
        if failure.reason == "lost":
            search.lost += 1
        if search.lost >= LOST_LIMIT:
            raise RefusalError(502, "engine_lost", f"{LOST_LIMIT} engines vanished while answering this request.")
        if failure.reason == "failed":
            search.failed += 1
            self._failed_in_a_row[engine.key] += 1
            if self._failed_in_a_row[engine.key] >= FAILS_IN_A_ROW:
                del self._failed_in_a_row[engine.key]
                self._ejections.eject(engine, failure.reason, now=asyncio.get_running_loop().time())
        if search.failed >= FAILED_LIMIT:
            raise RefusalError(502, "engine_failed", f"{FAILED_LIMIT} engines failed on this request (500).")


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body. Raises RefusalError: encoded (415), larger than `limit` bytes (413), too slow (408), broken (400)."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RefusalError(415, "encoded_body", "Content-Encoding is not supported; send plain JSON.")
    too_large = RefusalError(413, "body_too_large", f"The body is larger than {limit} bytes.")
    if (request.content_length or 0) > limit:
        raise too_large
    content = request.content
    if content.is_eof() and content.exception() is None and content.total_bytes <= limit:
        return content.read_nowait()  # most bodies came together with their head: nothing to wait for
    parts = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in content.iter_any():
                parts += chunk
                if len(parts) > limit:
                    raise too_large
    except TimeoutError as error:
        raise RefusalError(408, "slow_body", f"The body did not arrive within {BODY_SECONDS} s.") from error
    except (web.RequestPayloadError, OSError) as error:
        raise RefusalError(400, "broken_body", f"The body broke off: {error}.") from error
    return bytes(parts)


async def _wait(change: asyncio.Event, search: Search, meaning: Target | Loading | None) -> None:
    """Until something changes; at the deadline raises RefusalError (503) saying what was missing."""
    try:
        async with asyncio.timeout_at(search.deadline):
            await change.wait()
    except TimeoutError:
        if meaning is None:
            raise unavailable("not_ready", "The gateway has not seen the cluster yet.") from None
        if isinstance(meaning, Target):
            raise unavailable("engine_unavailable", f"No engine can answer '{meaning.public_name}' now.") from None
        raise unavailable("model_loading", f"'{meaning.public_name}' is being loaded.") from None
