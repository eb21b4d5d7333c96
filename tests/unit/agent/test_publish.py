"""Statuses are written once per change, and again until the API server takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from clara_agent.keys import keep_keys_fresh, local_token
from clara_agent.metrics import Metrics
from clara_agent.publish import Publisher, engine_path
from clara_api.engine import EngineObjectStatus
from clara_watch.api import ApiClient
from clara_watch.connection import Connection

WELL, ILL = EngineObjectStatus(healthy=True), EngineObjectStatus(healthy=False)


class Api:
    """Takes status applies, after refusing `refusals` of them."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.refusals = 0

    async def apply(self, request: web.Request) -> web.Response:
        if self.refusals:
            self.refusals -= 1
            return web.Response(status=503)
        self.bodies.append(await request.json())
        return web.json_response({})

    async def keys(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": []}, content_type="application/jwk-set+json")


@pytest.fixture
async def api() -> AsyncIterator[tuple[Api, ApiClient]]:
    fake, app = Api(), web.Application()
    app.router.add_patch(f"{engine_path('amt', 'e')}/status", fake.apply)
    app.router.add_get("/openid/v1/jwks", fake.keys)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = await ApiClient.connect(Connection(f"http://127.0.0.1:{runner.addresses[0][1]}"))
    yield fake, client
    await client.close()
    await runner.cleanup()


@pytest.fixture
async def publisher(api: tuple[Api, ApiClient]) -> AsyncIterator[Publisher]:
    it = Publisher(api[1], namespace="amt", name="e", metrics=Metrics())
    task = asyncio.create_task(it.run())
    yield it
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_an_unchanged_status_is_written_once(api: tuple[Api, ApiClient], publisher: Publisher):
    for _ in range(3):
        publisher.show("u", WELL)
        await publisher.settled()
    assert len(api[0].bodies) == 1
    body = api[0].bodies[0]
    assert body["metadata"] == {"name": "e", "namespace": "amt", "uid": "u"}
    assert body["status"]["healthy"] is True
    assert "heartbeat" in body["status"]


async def test_a_change_and_a_recreated_object_are_written_again(api: tuple[Api, ApiClient], publisher: Publisher):
    for uid, status in (("u", WELL), ("u", ILL), ("v", ILL)):
        publisher.show(uid, status)
        await publisher.settled()
    assert [b["status"]["healthy"] for b in api[0].bodies] == [True, False, False]


async def test_a_refused_write_is_repeated_with_the_newest_status(api: tuple[Api, ApiClient], publisher: Publisher):
    api[0].refusals = 2
    publisher.show("u", WELL)
    await asyncio.sleep(0.05)
    publisher.show("u", ILL)
    await asyncio.wait_for(publisher.settled(), 5)
    assert [b["status"]["healthy"] for b in api[0].bodies] == [False]


async def test_the_signing_keys_are_written_for_the_guard_at_once_and_when_it_asks(
    api: tuple[Api, ApiClient], tmp_path: Path
):
    asked = asyncio.Event()
    task = asyncio.create_task(keep_keys_fresh(api[1], tmp_path, 300, asked))
    await appears(tmp_path / "jwks.json")
    assert (tmp_path / "jwks.json").read_text() == '{"keys": []}'
    (tmp_path / "jwks.json").unlink()
    asked.set()
    await appears(tmp_path / "jwks.json")
    task.cancel()


async def appears(file: Path) -> None:
    async with asyncio.timeout(5):
        while not file.exists():  # noqa: ASYNC110, ASYNC240 - another task writes it
            await asyncio.sleep(0.01)


def test_the_local_token_survives_a_restart_of_the_agent(tmp_path: Path):
    first = local_token(tmp_path / "guard")
    assert len(first) > 32
    assert local_token(tmp_path / "guard") == first
