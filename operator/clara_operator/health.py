"""/healthz, /readyz and /metrics. Health turns bad when a watch is silent, the loop lags or a worker is stuck."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

LAG_SECONDS = 5.0
REMEMBERED_SECONDS = 60.0  # a lag is over when the probe's answer is made, so it is remembered


@dataclass(slots=True)
class Health:
    """`complaints` names what is wrong now; `synced` says whether the caches were filled once."""

    complaints: Callable[[], list[str]]
    synced: Callable[[], bool]
    port: int
    _lags: deque[tuple[float, float]] = field(default_factory=deque)  # when, seconds

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
                before = time.monotonic()
                await asyncio.sleep(1)
                self._note_lag(time.monotonic() - before - 1)
        finally:
            await runner.cleanup()

    def _note_lag(self, lag: float) -> None:
        now = time.monotonic()
        if lag > LAG_SECONDS:
            self._lags.append((now, lag))
        while self._lags and now - self._lags[0][0] > REMEMBERED_SECONDS:
            self._lags.popleft()

    async def _healthz(self, request: web.Request) -> web.Response:
        wrong = self.complaints()
        wrong += [f"the event loop lagged by {lag:.0f} s" for _, lag in self._lags]
        return web.json_response({"healthy": not wrong, "problems": wrong}, status=503 if wrong else 200)

    async def _readyz(self, request: web.Request) -> web.Response:
        ready = self.synced()
        return web.json_response({"ready": ready}, status=200 if ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
