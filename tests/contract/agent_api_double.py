"""An API server for one Engine object and the signing keys, on a thread of its own: list, watch, status apply, JWKS."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web

ENGINES = "/apis/clara.vcc.dev/v1alpha1/namespaces/amt/engines"
NAME = "engine-0"


class EngineApi:
    """`put` writes the spec; `status` and `writes` show what the agent applied."""

    def __init__(self, jwks: dict[str, Any]) -> None:
        self._jwks = jwks
        self._version = 1
        self._engine: dict[str, Any] | None = None
        self._watchers: list[asyncio.Queue[dict[str, Any]]] = []
        self._loop = asyncio.new_event_loop()
        self.writes: list[dict[str, Any]] = []
        self.url = ""
        started = threading.Event()
        threading.Thread(target=self._serve, args=(started,), daemon=True).start()
        assert started.wait(10)

    @property
    def status(self) -> dict[str, Any]:
        return self.writes[-1] if self.writes else {}

    def adapter(self, name: str) -> dict[str, Any]:
        return next((a for a in self.status.get("adapters", []) if a["engineName"] == name), {})

    def put(self, spec: dict[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(self._put(spec), self._loop).result(5)

    def kubeconfig(self, folder: Path) -> Path:
        file = folder / "kubeconfig"
        file.write_text(
            json.dumps(
                {
                    "current-context": "double",
                    "contexts": [{"name": "double", "context": {"cluster": "double", "user": "agent"}}],
                    "clusters": [{"name": "double", "cluster": {"server": self.url}}],
                    "users": [{"name": "agent", "user": {"token": "t"}}],
                }
            )
        )
        return file

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _end(self) -> None:
        await self._runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}  # watches of agents that were killed
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _put(self, spec: dict[str, Any]) -> None:
        self._version += 1
        generation = self._engine["metadata"]["generation"] + 1 if self._engine else 1
        metadata = {"name": NAME, "namespace": "amt", "uid": "u1", "generation": generation}
        self._engine = {"metadata": metadata | {"resourceVersion": str(self._version)}, "spec": spec}
        for queue in self._watchers:
            queue.put_nowait({"type": "MODIFIED", "object": self._engine})

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get(ENGINES, self._read)
        app.router.add_patch(f"{ENGINES}/{NAME}/status", self._apply)
        app.router.add_get("/openid/v1/jwks", self._keys)
        runner = self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        self._loop.run_forever()

    async def _read(self, request: web.Request) -> web.StreamResponse:
        assert request.query["fieldSelector"] == f"metadata.name={NAME}"
        if "watch" not in request.query:
            items = [self._engine] if self._engine else []
            return web.json_response(
                {"kind": "EngineList", "metadata": {"resourceVersion": str(self._version)}, "items": items}
            )
        reply = web.StreamResponse()
        await reply.prepare(request)
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._watchers.append(queue)
        if self._engine and request.query["resourceVersion"] != str(self._version):
            queue.put_nowait({"type": "MODIFIED", "object": self._engine})
        with suppress(TimeoutError):
            async with asyncio.timeout(float(request.query["timeoutSeconds"])):
                await self._send(queue, reply)
        self._watchers.remove(queue)
        return reply

    async def _send(self, queue: asyncio.Queue[dict[str, Any]], reply: web.StreamResponse) -> None:
        while True:
            await reply.write(json.dumps(await queue.get()).encode() + b"\n")

    async def _apply(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/apply-patch+yaml"
        assert request.query["fieldManager"] == "clara-agent"
        body = await request.json()
        self.writes.append(body["status"])
        return web.json_response(self._engine)

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response(self._jwks, content_type="application/jwk-set+json")
