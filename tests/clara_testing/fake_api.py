"""An API server in this process that speaks the real protocol over HTTP: versions, conflicts, preconditions, pages, apply.

It knows nothing of schemas. `writes` is what was asked of it; `refuse` answers the next matching write as told.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import yaml
from aiohttp import web
from clara_operator.runtime.connection import Connection

Object = dict[str, Any]


class FakeApi:
    """Objects by path of their own."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.writes: list[tuple[str, str]] = []
        self.bodies: list[Object] = []
        self.refuse: dict[str, tuple[int, str, str]] = {}  # method → status, reason, message
        self.tokens: dict[str, Object] = {}
        self.reviews = 0
        self.version = 100
        self.before_answer: Callable[[], None] = lambda: None  # time that a request takes, say
        self.url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Connection]:
        """A Connection to it."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield Connection(f"http://127.0.0.1:{runner.addresses[0][1]}", ssl.create_default_context(), {})
        finally:
            await runner.cleanup()

    def store(self, path: str, obj: Object) -> Object:
        """Put an object there as if somebody else had written it."""
        self.version += 1
        old = self.objects.get(path, {"metadata": {}})["metadata"]
        obj["metadata"] |= {
            "resourceVersion": str(self.version),
            "uid": old.get("uid", f"uid-{self.version}"),
            "generation": old.get("generation", 0) + 1,
        }
        self.objects[path] = obj
        return obj

    async def _answer(self, request: web.Request) -> web.Response:
        body = yaml.safe_load(await request.text()) or {}
        path = request.path
        if path.endswith("/tokenreviews"):
            self.reviews += 1
            return web.json_response({"status": self.tokens.get(body["spec"]["token"], {"authenticated": False})})
        self.before_answer()
        if request.method != "GET":
            self.writes.append((request.method, path))
            self.bodies.append(body)
            if request.method in self.refuse:
                return _status(*self.refuse.pop(request.method))
        return getattr(self, f"_{request.method.lower()}")(path, body, request)

    def _get(self, path: str, _: Object, request: web.Request) -> web.Response:
        if path in self.objects:
            return web.json_response(self.objects[path])
        items = [o for p, o in sorted(self.objects.items()) if p.rpartition("/")[0] == path]
        if not items and path.rpartition("/")[2].islower() and "-" in path.rpartition("/")[2]:
            return _status(404, "NotFound", f"{path} not found")
        wanted = dict(pair.split("=") for pair in request.query.get("labelSelector", "").split(",") if pair)
        items = [o for o in items if wanted.items() <= (o["metadata"].get("labels") or {}).items()]
        start, limit = int(request.query.get("continue") or 0), int(request.query.get("limit", 500))
        more = str(start + limit) if len(items) > start + limit else ""
        meta = {"resourceVersion": str(self.version), "continue": more}
        return web.json_response({"items": items[start : start + limit], "metadata": meta})

    def _post(self, path: str, body: Object, _: web.Request) -> web.Response:
        own = f"{path}/{body['metadata']['name']}"
        if own in self.objects:
            return _status(409, "AlreadyExists", f"{own} already exists")
        return web.json_response(self.store(own, body), status=201)

    def _put(self, path: str, body: Object, _: web.Request) -> web.Response:
        if self.objects[path]["metadata"]["resourceVersion"] != body["metadata"].get("resourceVersion"):
            return _status(409, "Conflict", "the object has been modified")
        return web.json_response(self.store(path, body))

    def _patch(self, path: str, body: Object, request: web.Request) -> web.Response:
        own = path.removesuffix("/status")
        old = self.objects.get(own)
        asked = (body.get("metadata") or {}).get("resourceVersion")
        if asked and (old is None or asked != old["metadata"]["resourceVersion"]):
            return _status(409, "Conflict", "the object has been modified")
        merged = {**(old or {}), **body, "metadata": {**(old or {}).get("metadata", {}), **body.get("metadata", {})}}
        return web.json_response(old if merged == old else self.store(own, merged))

    def _delete(self, path: str, body: Object, _: web.Request) -> web.Response:
        old = self.objects.get(path)
        if old is None:
            return _status(404, "NotFound", f"{path} not found")
        if any(old["metadata"][key] != value for key, value in (body.get("preconditions") or {}).items()):
            return _status(409, "Conflict", "the precondition does not hold")
        return web.json_response(self.objects.pop(path))


def _status(code: int, reason: str, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "reason": reason, "message": message}, status=code)
