"""Engines that speak vLLM's HTTP protocol without a model, and a gateway before them, all on real sockets.

An engine's answer says which adapter made it (`I am NAME`), so a wrong version is seen. Statuses and shapes are those of
vLLM 0.32: 404 with code "NotFoundError" for an unknown model, compact JSON, one SSE event per chunk, `data: [DONE]`.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from clara_gateway.app import Gateway
from clara_gateway.knowledge import Knowledge
from clara_gateway.settings import Settings
from unit.gateway.gateway_builders import deployment, engine, engine_name

BASE = "tiny-de"


@dataclass
class FakeEngine:
    """One engine. Set `frozen`, `reset_next`, `refuse_with`, `dies_in_stream` and `pace` to make it behave badly or slowly."""

    name: str
    adapters: set[str] = field(default_factory=set)  # engine names
    chunks: int = 4
    pace: float = 0.0  # seconds before each chunk
    refuse_with: int = 0
    dies_in_stream: int = 0  # the code in the error it begins a stream with
    reset_next: int = 0
    frozen: bool = False
    asked: Counter[str] = field(default_factory=Counter)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    cancelled: int = 0
    running: int = 0
    address: str = ""
    _runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=2**26)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.post("/v1/chat/completions", self._complete),
                web.post("/v1/completions", self._complete),
            ]
        )
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.address = f"127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _while_frozen(self) -> None:
        while self.frozen:  # noqa: ASYNC110  # a plain flag reads better in tests
            await asyncio.sleep(0.02)

    async def _health(self, _: web.Request) -> web.Response:
        await self._while_frozen()
        return web.Response()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        model = body["model"]
        self.asked[model] += 1
        self.headers.append(dict(request.headers))
        self.bodies.append(body)
        self.running += 1
        try:
            await self._while_frozen()
            return await self._answer(request, body, model)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def _answer(self, request: web.Request, body: dict[str, Any], model: str) -> web.StreamResponse:
        if self.reset_next:
            self.reset_next -= 1
            request.transport.abort()
            return web.Response()
        if self.refuse_with:
            return web.json_response({"error": {"message": "no", "code": self.refuse_with}}, status=self.refuse_with)
        if model not in self.adapters | {BASE}:
            error = {"message": f"The model `{model}` does not exist.", "type": "NotFoundError", "code": 404}
            return web.json_response({"error": error}, status=404)
        if body.get("stream"):
            return await self._stream(request, model)
        for _ in range(self.chunks):
            await asyncio.sleep(self.pace)
        usage = {"prompt_tokens": 3, "total_tokens": 7, "completion_tokens": self.chunks}
        choices = [{"index": 0, "message": {"role": "assistant", "content": f"I am {model}"}}]
        answer = {"id": "chatcmpl-1", "object": "chat.completion", "model": model, "choices": choices, "usage": usage}
        return web.Response(body=compact(answer), content_type="application/json")

    async def _stream(self, request: web.Request, model: str) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await stream.prepare(request)
        if self.dies_in_stream:
            await stream.write(
                b"data: "
                + compact({"error": {"message": "EngineCore encountered an issue", "code": self.dies_in_stream}})
                + b"\n\n"
            )
            return stream
        for _ in range(self.chunks):
            await asyncio.sleep(self.pace)
            await self._while_frozen()
            delta = {"choices": [{"index": 0, "delta": {"content": f"I am {model} "}}]}
            await stream.write(b"data: " + compact({"id": "1", "model": model, **delta}) + b"\n\n")
        await stream.write(b"data: [DONE]\n\n")
        return stream


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass
class House:
    """A gateway, the engines behind it, and a client."""

    knowledge: Knowledge
    gateway: Gateway
    engines: list[FakeEngine]
    client: aiohttp.ClientSession

    def learn(self, *routes: dict[str, Any], verified: dict[str, list[str]], **spec: Any) -> None:
        """What the cluster says: routes, and per engine name the public names it verified."""
        seen = {e.name: e for e in self.engines}
        self.knowledge.learn(
            [deployment(*routes, **spec)],
            [engine(name, *held, address=seen[name].address) for name, held in verified.items()],
        )

    def load(self, *public: str) -> None:
        """Every engine really holds these."""
        for e in self.engines:
            e.adapters |= {engine_name(p) for p in public}

    def ask(self, model: object = "steuerrecht", path: str = "/v1/chat/completions", **body: Any) -> Any:
        messages = [{"role": "user", "content": "Frage"}]
        return self.client.post(path, json={"model": model, "messages": messages, **body})

    async def stream(self, model: str = "steuerrecht") -> list[str]:
        """The data of every event of a streamed answer."""
        async with self.ask(model, stream=True) as answer:
            assert answer.status == 200, await answer.text()
            return events(await answer.read())


def events(body: bytes) -> list[str]:
    return [line.removeprefix("data: ") for line in body.decode().splitlines() if line.startswith("data: ")]


@asynccontextmanager
async def house(engines: int = 2, *, synced: bool = True, **settings: Any) -> AsyncIterator[House]:
    """Everything started, nothing known yet but an empty cluster (or nothing at all)."""
    fast = {"wait_seconds": 0.4, "probe_every_seconds": 0.2, "probe_timeout_seconds": 0.2, "drain_seconds": 5}
    fixed = {"host": "127.0.0.1", "port": 0, "metrics_port": 0, "lame_duck_seconds": 0, "default_namespace": "amt-a"}
    chosen = Settings(**{"security_mode": "development", **fixed, **fast, **settings})
    knowledge = Knowledge()
    if synced:
        knowledge.learn([], [])
    async with AsyncExitStack() as stack:
        fakes = [FakeEngine(f"engine-{n}") for n in range(engines)]
        for fake in fakes:
            await fake.start()
            stack.push_async_callback(fake.stop)
        gateway = Gateway(chosen, knowledge, watch_age=lambda: 0.5)
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        client = aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}")
        await stack.enter_async_context(client)
        yield House(knowledge, gateway, fakes, client)


async def until(fact: Callable[[], object], *, within: float = 5.0) -> None:
    """Wait for a fact to hold; fails when it does not in time."""
    async with asyncio.timeout(within):
        while not fact():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
