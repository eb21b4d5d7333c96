"""The reflector against an in-process server that speaks the watch protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web
from clara_watch.api import ApiClient, ApiError
from clara_watch.connection import Connection
from clara_watch.reflector import Reflector, Timings

PATH = "/apis/clara.vcc.dev/v1alpha1/namespaces/amt/engines"
FAST = Timings(watch=2, grace=0.0, shortest=0.01, first_pause=0.01, longest_pause=0.05)


class WatchServer:
    """Lists `names`; watches send what is put into `events`; None ends a watch."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.version = 1
        self.lists = 0
        self.watches: list[dict[str, str]] = []
        self.events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.refuse_lists = 0
        self.applied: list[tuple[dict[str, str], str, Any]] = []

    def object(self, name: str) -> dict[str, Any]:
        return {"metadata": {"namespace": "amt", "name": name, "resourceVersion": str(self.version)}}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "true":
            return await self.watch(request)
        self.lists += 1
        if self.refuse_lists:
            self.refuse_lists -= 1
            return web.json_response({"message": "starting"}, status=503)
        items = [self.object(n) for n in sorted(self.names)]
        body = {"kind": "EngineList", "apiVersion": "v", "metadata": {"resourceVersion": str(self.version)}}
        return web.json_response(body | {"items": items})

    async def watch(self, request: web.Request) -> web.StreamResponse:
        self.watches.append(dict(request.query))
        reply = web.StreamResponse()
        await reply.prepare(request)
        while (event := await self.events.get()) is not None:
            await reply.write(json.dumps(event).encode() + b"\n")
        return reply

    async def apply(self, request: web.Request) -> web.Response:
        self.applied.append((dict(request.query), request.content_type, await request.json()))
        return web.json_response(self.object("a"))


@pytest.fixture
async def server() -> AsyncIterator[tuple[WatchServer, ApiClient]]:
    fake = WatchServer()
    app = web.Application()
    app.router.add_get(PATH, fake.answer)
    app.router.add_patch(PATH + "/a/status", fake.apply)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    client = await ApiClient.connect(Connection(f"http://127.0.0.1:{port}"))
    yield fake, client
    await client.close()
    await runner.cleanup()


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not fact():  # noqa: ASYNC110 - the facts lie in plain attributes
            await asyncio.sleep(0.005)


class running:
    """The reflector runs inside this block."""

    def __init__(self, reflector: Reflector) -> None:
        self.reflector = reflector

    async def __aenter__(self) -> Reflector:
        self.task = asyncio.create_task(self.reflector.run())
        return self.reflector

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def test_what_vanishes_while_the_watch_is_broken_is_forgotten_within_one_relist(server):
    fake, client = server
    fake.names = {"a", "b"}
    async with running(Reflector(client, PATH, timings=FAST)) as reflector:
        await until(lambda: len(reflector.objects) == 2 and len(fake.watches) == 1)
        fake.names = {"a"}
        await fake.events.put({"type": "ERROR", "object": {"code": 410}})
        await until(lambda: set(reflector.objects) == {("amt", "a")})


async def test_events_arrive_and_the_listener_is_called(server):
    fake, client = server
    calls = []
    async with running(Reflector(client, PATH, on_change=lambda: calls.append(1), timings=FAST)) as reflector:
        await until(lambda: reflector.synced)
        await fake.events.put({"type": "ADDED", "object": fake.object("new")})
        await until(lambda: ("amt", "new") in reflector.objects)
        assert len(calls) == 2


async def test_a_watch_the_server_ends_in_order_continues_from_the_last_bookmark_without_a_list(server):
    fake, client = server
    async with running(Reflector(client, PATH, field_selector="metadata.name=a", timings=FAST)):
        await fake.events.put({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "77"}}})
        await fake.events.put(None)
        await until(lambda: len(fake.watches) == 2)
    assert fake.lists == 1
    assert fake.watches[1]["resourceVersion"] == "77"
    assert fake.watches[1]["fieldSelector"] == "metadata.name=a"
    assert fake.watches[1]["allowWatchBookmarks"] == "true"


async def test_a_silent_watch_is_a_stall_and_is_relisted(server):
    fake, client = server
    fake.names = {"a"}
    async with running(Reflector(client, PATH, timings=Timings(watch=0.2, grace=0.1, first_pause=0.01))) as reflector:
        await until(lambda: fake.lists >= 2)
        assert ("amt", "a") in reflector.objects


async def test_the_last_known_state_stays_while_the_api_server_is_away(server):
    fake, client = server
    fake.names = {"a"}
    async with running(Reflector(client, PATH, timings=FAST)) as reflector:
        await until(lambda: len(fake.watches) == 1)
        fake.refuse_lists = 3
        await fake.events.put({"type": "ERROR", "object": {"code": 500}})
        await until(lambda: fake.lists >= 3)
        assert reflector.synced
        assert ("amt", "a") in reflector.objects
        await until(lambda: fake.lists == 5)
        assert reflector.age() < 1


async def test_an_object_larger_than_a_line_buffer_arrives(server):
    fake, client = server
    async with running(Reflector(client, PATH, timings=FAST)) as reflector:
        await until(lambda: reflector.synced)
        await fake.events.put({"type": "ADDED", "object": fake.object("big") | {"spec": "x" * 2_000_000}})
        await until(lambda: ("amt", "big") in reflector.objects)


async def test_a_status_is_applied_whole_under_the_field_manager(server):
    fake, client = server
    await client.apply_status(PATH + "/a", {"status": {"healthy": True}}, field_manager="clara-agent")
    query, content_type, body = fake.applied[0]
    assert query == {"fieldManager": "clara-agent", "force": "true"}
    assert content_type == "application/apply-patch+yaml"
    assert body == {"status": {"healthy": True}}


async def test_a_refusal_carries_the_servers_status_and_words(server):
    _, client = server
    with pytest.raises(ApiError, match="404") as refused:
        await client.get("/apis/none")
    assert refused.value.status == 404
