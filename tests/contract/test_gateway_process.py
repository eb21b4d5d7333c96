"""The gateway as the process that runs in the pod: its own watches, its signals, its refusals to start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from contract.gateway_doubles import FakeEngine
from unit.gateway.gateway_builders import deployment, engine, engine_name, meta, route

V1, V2 = "steuerrecht-1.0.0", "steuerrecht-1.1.0"


class FakeApiServer:
    """Lists and watches of the two kinds in one namespace."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, dict[str, Any]]] = {"servingdeployments": {}, "engines": {}}
        self._watchers: dict[str, list[web.StreamResponse]] = {"servingdeployments": [], "engines": []}
        app = web.Application()
        app.add_routes([web.get("/apis/clara.vcc.dev/v1alpha1/namespaces/amt-a/{plural}", self._collection)])
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.01)

    async def start(self) -> str:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def put(self, plural: str, obj: dict[str, Any]) -> None:
        name = obj["metadata"]["name"]
        kind = "MODIFIED" if name in self.objects[plural] else "ADDED"
        self.objects[plural][name] = obj
        for watcher in self._watchers[plural]:
            await watcher.write(json.dumps({"type": kind, "object": obj}).encode() + b"\n")

    async def _collection(self, request: web.Request) -> web.StreamResponse:
        plural = request.match_info["plural"]
        if "watch" not in request.query:
            items = list(self.objects[plural].values())
            revision = meta("list", "amt-a")["resourceVersion"]
            return web.json_response({"kind": "List", "metadata": {"resourceVersion": revision}, "items": items})
        watcher = web.StreamResponse()
        await watcher.prepare(request)
        self._watchers[plural].append(watcher)
        try:
            await asyncio.Event().wait()
        finally:
            self._watchers[plural].remove(watcher)
        return watcher


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def environment(**variables: str) -> dict[str, str]:
    ours = {k: v for k, v in os.environ.items() if not k.startswith("CLARA_")}
    return {**ours, **variables}


def kubeconfig(api: str, directory: Path) -> str:
    named = {"name": "test", "cluster": {"server": api}, "user": {}, "context": {"cluster": "test", "user": "test"}}
    sections = {key: [named] for key in ("clusters", "users", "contexts")}
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump({**sections, "current-context": "test"}))
    return str(path)


@asynccontextmanager
async def running(api: str, directory: Path) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The process and its address."""
    port = free_port()
    settings = {
        "CLARA_SECURITY_MODE": "development",
        "CLARA_GATEWAY_KUBECONFIG": kubeconfig(api, directory),
        "CLARA_GATEWAY_HOST": "127.0.0.1",
        "CLARA_GATEWAY_PORT": str(port),
        "CLARA_GATEWAY_METRICS_PORT": "0",
        "CLARA_GATEWAY_WATCH_NAMESPACES": "amt-a",
        "CLARA_GATEWAY_DEFAULT_NAMESPACE": "amt-a",
        "CLARA_GATEWAY_LAME_DUCK_SECONDS": "0.5",
    }
    command = (sys.executable, "-m", "clara_gateway")
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, env=environment(**settings), stdout=log)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def status_within(client: aiohttp.ClientSession, path: str, wanted: int, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while True:
            try:
                async with client.get(path) as answer:
                    if answer.status == wanted:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


async def voice(client: aiohttp.ClientSession, model: str = "steuerrecht") -> str:
    async with client.post("/v1/chat/completions", json={"model": model, "messages": []}) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["model"])


async def test_it_serves_what_it_watches_and_goes_on_when_the_api_server_is_gone(tmp_path: Path):
    api, fake = FakeApiServer(), FakeEngine("engine-0", {engine_name(V1), engine_name(V2)})
    await fake.start()
    await api.put("servingdeployments", deployment(route(V1)))
    await api.put("engines", engine("engine-0", V1, address=fake.address))
    async with running(await api.start(), tmp_path) as (address, process), aiohttp.ClientSession(address) as client:
        await status_within(client, "/ready", 200)
        assert await voice(client) == V1
        await api.put("engines", engine("engine-0", V1, V2, address=fake.address))
        await api.put("servingdeployments", deployment(route(V1, "Retired", successor="1.1.0"), route(V2)))
        await status_within(client, f"/v1/models/{V2}", 200)
        assert await voice(client) == V2
        await api.stop()
        await asyncio.sleep(1)
        assert await voice(client) == V2
        assert (await client.get("/ready")).status == 200
        await leaves_politely(client, fake, process)
    await fake.stop()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert any(line.get("answered_by") == V1 and line["time"] for line in lines)
    assert any("without a key" in line.get("message", "") for line in lines)


async def leaves_politely(client: aiohttp.ClientSession, fake: FakeEngine, process: asyncio.subprocess.Process) -> None:
    """SIGTERM: not ready any more, new requests still taken for a moment, the running stream ends, exit 0."""
    fake.pace = 0.4
    body = {"model": "steuerrecht", "messages": [], "stream": True}
    async with client.post("/v1/chat/completions", json=body) as answer:
        await answer.content.readline()
        process.send_signal(signal.SIGTERM)
        await status_within(client, "/ready", 503)
        assert (await client.get("/v1/models")).status == 200
        assert (await answer.read()).endswith(b"data: [DONE]\n\n")
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_by_default_it_is_production_and_does_not_start_without_keys_and_says_what_to_do(tmp_path: Path):
    command = (sys.executable, "-m", "clara_gateway")
    settings = {"CLARA_GATEWAY_KUBECONFIG": kubeconfig("http://127.0.0.1:1", tmp_path)}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=environment(**settings), stdout=pipe)
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert "put at least one into the Secret" in out.decode()
