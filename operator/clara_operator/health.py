"""/healthz, /readyz and /metrics. Health turns bad when a watch is silent, the loop lags or a worker is stuck."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

STUCK_SECONDS = 120.0
LAG_SECONDS = 5.0


@dataclass(slots=True)
class Health:
    """`complaints` names what is wrong now; `synced` says whether the caches were filled once."""

    complaints: Callable[[], list[str]]
    synced: Callable[[], bool]
    port: int
    _beat: float = 0.0

    async def run(self) -> None:
        """Serve until cancelled."""
        app = web.Application()
        app.add_routes(
            [web.get("/healthz", self._healthz), web.get("/readyz", self._readyz), web.get("/metrics", self._metrics)]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, port=self.port).start()
            while True:
                self._beat = time.monotonic()
                await asyncio.sleep(1)
        finally:
            await runner.cleanup()

    async def _healthz(self, request: web.Request) -> web.Response:
        wrong = self.complaints()
        if self._beat and time.monotonic() - self._beat > LAG_SECONDS:
            wrong.append(f"the event loop lags by {time.monotonic() - self._beat:.0f} s")
        return web.json_response({"healthy": not wrong, "problems": wrong}, status=503 if wrong else 200)

    async def _readyz(self, request: web.Request) -> web.Response:
        ready = self.synced()
        return web.json_response({"ready": ready}, status=200 if ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
