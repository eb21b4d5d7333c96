"""The gateway as one object: its parts wired together, its sockets, its start and its end. Made by `__main__.py` and tests.

Only the paths in `client_app` exist; everything else vLLM may offer is never reachable through here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import aiohttp
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from clara_gateway.credentials import Credentials
from clara_gateway.ejection import Ejections
from clara_gateway.in_flight import InFlight
from clara_gateway.knowledge import Knowledge
from clara_gateway.metrics import Metrics
from clara_gateway.middleware import remember_exchanges
from clara_gateway.pages import Pages
from clara_gateway.prober import Prober
from clara_gateway.proxy import Proxy
from clara_gateway.settings import Settings
from clara_gateway.upstream import Upstream

log = logging.getLogger(__name__)

ENGINE_KEEPALIVE_SECONDS = 4.0  # below vLLM's five: an idle connection must not be closed while we write to it
CLIENT_KEEPALIVE_SECONDS = 75.0


class Gateway:
    """Serves from `knowledge`, whoever feeds it."""

    def __init__(self, settings: Settings, knowledge: Knowledge, *, watch_age: Callable[[], float]) -> None:
        self._settings = settings
        self._knowledge = knowledge
        self._watch_age = watch_age
        self.credentials = Credentials(settings)
        self.metrics = Metrics()
        self.ejections = Ejections()
        self.in_flight = InFlight()
        self._leaving = False
        self._runners: list[web.AppRunner] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open both ports and start probing."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=ENGINE_KEEPALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
        )
        self.port = await self._listen(self.client_app(), self._settings.port)
        self.metrics_port = await self._listen(self.metrics_app(), self._settings.metrics_port)
        headers = self.credentials.engine_headers
        prober = Prober(
            self._session,
            self._knowledge,
            self.ejections,
            self.in_flight,
            settings=self._settings,
            engine_headers=headers,
        )
        self._tasks = [asyncio.create_task(prober.run()), asyncio.create_task(self.credentials.run())]

    async def stop(self) -> None:
        """Tell everyone, go on for the lame-duck time, close the door, let running answers end."""
        self._leaving = True
        await asyncio.sleep(self._settings.lame_duck_seconds)
        for runner in self._runners:
            await runner.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    def client_app(self) -> web.Application:
        """The OpenAI API and the gateway's own pages."""
        upstream = Upstream(
            self._session,
            self.in_flight,
            connect_seconds=self._settings.connect_seconds,
            engine_headers=self.credentials.engine_headers,
        )
        proxy = Proxy(
            self._knowledge,
            self.ejections,
            self.in_flight,
            upstream,
            credentials=self.credentials,
            settings=self._settings,
        )
        pages = Pages(
            self._knowledge,
            self.ejections,
            self.in_flight,
            credentials=self.credentials,
            watch_age=self._watch_age,
            is_leaving=lambda: self._leaving,
        )
        self._watch_gauges(proxy)
        app = web.Application(middlewares=[remember_exchanges(self.metrics)])
        app.add_routes(
            [
                web.post("/v1/chat/completions", proxy.complete),
                web.post("/v1/completions", proxy.complete),
                web.get("/v1/models", pages.models),
                web.get("/v1/models/{name:.+}", pages.model),
                web.get("/health", pages.health),
                web.get("/ready", pages.ready),
                web.get("/status", pages.status),
            ]
        )
        return app

    def metrics_app(self) -> web.Application:
        """Prometheus' side."""

        async def scrape(_: web.Request) -> web.Response:
            return web.Response(
                body=generate_latest(self.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
            )

        app = web.Application()
        app.add_routes([web.get("/metrics", scrape)])
        return app

    def _watch_gauges(self, proxy: Proxy) -> None:
        self.metrics.watch("in_flight", "Requests open now.", lambda: proxy.open)
        self.metrics.watch("ejected_engines", "Engines this gateway put out.", lambda: len(self.ejections))
        self.metrics.watch("watch_age_seconds", "Since the quietest watch showed life.", self._watch_age)

    async def _listen(self, app: web.Application, port: int) -> int:
        """Serve an app; the port taken (a free one for 0). A client that leaves cancels its handler."""
        runner = web.AppRunner(
            app,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,  # an encoded body is refused, not unpacked
            keepalive_timeout=CLIENT_KEEPALIVE_SECONDS,
            shutdown_timeout=self._settings.drain_seconds,
        )
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, self._settings.host, port).start()
        return int(runner.addresses[0][1])
