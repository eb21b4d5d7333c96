"""The few API server calls that the agent and the gateway make, over aiohttp: get, watch, apply a status.

No kubernetes client: its dependencies clash with botocore's in the engine image, and three calls do not need it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from clara_watch import connection
from clara_watch.connection import Connection

REQUEST_SECONDS = 15.0
ACCEPT = "application/json, application/jwk-set+json"  # the signing keys are served as the latter only
APPLY = "application/apply-patch+yaml"  # JSON is YAML


class ApiError(Exception):
    """The API server refused; `status` is its HTTP status (410: the resourceVersion is too old)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the API server answered {status}: {message}")
        self.status = status


class ApiUnreachable(Exception):
    """The API server did not answer, or went silent; try again later."""


class ApiClient:
    """One session with the API server. Make it with `in_cluster`, `from_kubeconfig` or `connect`; close it at the end."""

    def __init__(self, target: Connection, session: aiohttp.ClientSession) -> None:
        self._target = target
        self._session = session

    @classmethod
    async def in_cluster(cls) -> ApiClient:
        """A client with the pod's ServiceAccount; ConfigurationError outside of a pod."""
        return await cls.connect(connection.in_cluster())

    @classmethod
    async def from_kubeconfig(cls, path: str | Path) -> ApiClient:
        """A client for the current context of a kubeconfig."""
        return await cls.connect(connection.from_kubeconfig(path))

    @classmethod
    async def connect(cls, target: Connection) -> ApiClient:
        """A client for any connection."""
        return cls(target, aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=target.tls or True)))

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """GET a JSON document, for example '/apis/GROUP/VERSION/…' or '/openid/v1/jwks'."""
        return await self._json("GET", path, params=params)

    async def apply_status(
        self, path: str, body: Mapping[str, Any], *, field_manager: str, force: bool = True
    ) -> dict[str, Any]:
        """Server-side apply of the whole status of the object at `path` (without '/status'); returns the object.

        What this manager wrote before and `body` no longer holds is removed by the API server.
        """
        params = {"fieldManager": field_manager, "force": "true" if force else "false"}
        return await self._json("PATCH", f"{path}/status", params=params, data=json.dumps(body), content_type=APPLY)

    async def lines(
        self, path: str, params: Mapping[str, str], *, silence_seconds: float
    ) -> AsyncGenerator[bytes, None]:
        """The lines of a watch; the first item is an empty line as soon as the server has accepted it.

        ApiUnreachable when nothing arrives for `silence_seconds`. Lines may be larger than aiohttp's line limit.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS, sock_read=silence_seconds)
        try:
            async with self._session.get(
                self._url(path), params=params, headers=self._headers(), timeout=timeout
            ) as reply:
                await _raise_for_status(reply)
                yield b""
                rest = b""
                async for chunk in reply.content.iter_any():
                    *complete, rest = (rest + chunk).split(b"\n")
                    for line in complete:
                        yield line
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiUnreachable(f"the watch of {path} broke: {error or type(error).__name__}") from error

    async def _json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        data: str | None = None,
        content_type: str | None = None,
    ) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        try:
            headers = self._headers() | ({"Content-Type": content_type} if content_type else {})
            async with self._session.request(
                method, self._url(path), params=params, data=data, headers=headers, timeout=timeout
            ) as reply:
                await _raise_for_status(reply)
                return dict(await reply.json(content_type=None))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiUnreachable(f"{method} {path}: {error or type(error).__name__}") from error

    def _url(self, path: str) -> str:
        return f"{self._target.server}{path}"

    def _headers(self) -> dict[str, str]:
        return {"Accept": ACCEPT, **self._target.headers()}


async def _raise_for_status(reply: aiohttp.ClientResponse) -> None:
    if reply.status >= 400:
        raise ApiError(reply.status, (await reply.text(errors="replace"))[:500])
