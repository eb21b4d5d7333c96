"""A proxy before a real API server that can be cut, so that a watch has a gap: what etcd compaction and restarts do.

After `heal`, the first watch of each collection is answered with 410 Gone, as a server does that forgot the old versions.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientError, ClientSession, ClientTimeout, web
from clara_operator.runtime.connection import Connection

_PASSED = ("Content-Type", "Accept")


class ApiProxy:
    """Plain HTTP on a local port, to whoever `connection` is."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._session: ClientSession | None = None
        self._streams: set[asyncio.Task[object]] = set()
        self._cut = False
        self._forgotten: set[str] = set()
        self._forgets = False
        self.url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ApiProxy]:
        """Until the end of the block."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._session = self._connection.session()
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.cut()
            await runner.cleanup()
            await self._session.close()

    def cut(self) -> None:
        """Watches break off, and reads are refused; writes of the Lease still pass, or the leader would end."""
        self._cut = True
        for stream in tuple(self._streams):
            stream.cancel()

    def heal(self) -> None:
        """Back, with no memory of old resourceVersions."""
        self._cut, self._forgets = False, True
        self._forgotten.clear()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ClientError as error:  # the server behind is away
            return web.json_response({"message": repr(error), "reason": "BadGateway"}, status=502)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self._cut and "/leases" not in request.path:
            return web.json_response({"message": "cut", "reason": "ServiceUnavailable"}, status=503)
        watch = request.query.get("watch") == "true"
        if watch and self._forgets and request.path not in self._forgotten:
            self._forgotten.add(request.path)
            gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
            return web.Response(text=json.dumps(gone) + "\n", content_type="application/json")
        assert self._session is not None
        async with self._session.request(
            request.method,
            self._connection.server + str(request.rel_url),
            data=await request.read() or None,
            headers={k: request.headers[k] for k in _PASSED if k in request.headers},
            timeout=ClientTimeout(total=None if watch else 30),
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            task = asyncio.current_task()
            assert task is not None
            self._streams.add(task)
            try:
                with contextlib.suppress(ClientError):  # either side may hang up
                    await response.prepare(request)
                    async for chunk in answer.content.iter_any():
                        await response.write(chunk)
            finally:
                self._streams.discard(task)
            return response
