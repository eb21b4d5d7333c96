"""What the agent answers: /metrics, /healthz and /readyz on the pod's address, /drain and /keys on a unix socket inside the pod."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from aiohttp import web
from clara_watch.reflector import Reflector

from clara_agent.drain import Drain
from clara_agent.hook import SOCKET
from clara_agent.loop import Loop
from clara_agent.metrics import Metrics

STUCK_SECONDS = 60.0  # a look at a frozen vLLM takes seconds, never this long


class Web:
    """Both listeners."""

    def __init__(
        self, *, loop: Loop, drain: Drain, reflector: Reflector, metrics: Metrics, keys_asked: asyncio.Event
    ) -> None:
        self._loop = loop
        self._drain = drain
        self._reflector = reflector
        self._metrics = metrics
        self._keys_asked = keys_asked
        self._runners: list[web.AppRunner] = []

    async def start(self, *, host: str, port: int, secret_dir: Path) -> None:
        """Listen; a socket file of a former agent process is replaced."""
        public, local = web.Application(), web.Application()
        public.router.add_get("/metrics", self._metrics_page)
        public.router.add_get("/healthz", self._healthz)
        public.router.add_get("/readyz", self._readyz)
        local.router.add_post("/drain", self._drain_request)
        local.router.add_post("/keys", self._keys_request)
        socket = secret_dir / SOCKET
        socket.unlink(missing_ok=True)
        await web.TCPSite(await self._runner(public), host, port).start()
        await web.UnixSite(await self._runner(local), str(socket)).start()

    async def stop(self) -> None:
        """Close both."""
        for runner in self._runners:
            await runner.cleanup()

    async def _runner(self, app: web.Application) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        self._runners.append(runner)
        return runner

    async def _metrics_page(self, _: web.Request) -> web.Response:
        self._metrics.watch_age.set(self._reflector.age())
        return web.Response(body=self._metrics.exposition(), content_type="text/plain", charset="utf-8")

    async def _healthz(self, _: web.Request) -> web.Response:
        age = time.monotonic() - self._loop.looked_at
        return web.Response(status=200 if age < STUCK_SECONDS else 503, text=f"last look {age:.1f} s ago\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        """The pod's readiness: the verdicts of this vLLM process are in."""
        ready = self._loop.ready
        return web.Response(
            status=200 if ready else 503, text="ready\n" if ready else "engine or verdicts are not ready\n"
        )

    async def _drain_request(self, request: web.Request) -> web.Response:
        in_time = await self._drain.finish(float(request.query.get("seconds", "60")))
        return web.Response(text="nothing runs" if in_time else "time is over")

    async def _keys_request(self, _: web.Request) -> web.Response:
        self._keys_asked.set()
        return web.Response(status=202)
