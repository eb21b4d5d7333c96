"""HTTP to the API server, dicts in and out: the one seam that tests replace by an in-process server.

Typed clients drop fields they do not know and cost milliseconds per object; paths and dicts are all the operator needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from clara_operator.errors import UNREACHABLE, ApiError
from clara_operator.plan import Manifest
from clara_operator.runtime.connection import Connection
from clara_operator.runtime.resources import Resource

APPLY = "application/apply-patch+yaml"  # JSON is YAML
MERGE = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PAGE = 500  # objects per list request


class Api:
    """Requests with our identity. `when_back` is called once after an outage, with the first answer."""

    def __init__(self, connection: Connection, *, timeout: float, when_back: Callable[[], None] | None = None) -> None:
        self._connection = connection
        self._session = connection.session()
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self.when_back = when_back
        self._away = False

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Manifest:
        """One exchange; ApiError for any answer of 400 and above and for no answer at all."""
        headers = {**self._connection.headers(), "Accept": accept, "Content-Type": content_type}
        data = None if body is None else json.dumps(body, separators=(",", ":"))
        try:
            async with self._session.request(
                method,
                self._connection.server + path,
                params=dict(params or {}),
                data=data,
                headers=headers,
                timeout=self._timeout,
            ) as response:
                text = await response.text()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            self._away = True
            raise ApiError(UNREACHABLE, "Unreachable", f"the API server did not answer: {error!r}") from error
        self._note_answer(response.status)
        if response.status >= 400:
            raise _refusal(response, text)
        return _parsed(text)

    async def apply(self, resource: Resource, manifest: Manifest, *, manager: str, subresource: str = "") -> Manifest:
        """Server-side apply of the whole of what `manager` owns."""
        meta = manifest["metadata"]
        path = resource.path(meta["namespace"], meta["name"], subresource)
        params = {"fieldManager": manager, "force": "true"}
        return await self.request("PATCH", path, params=params, body=manifest, content_type=APPLY)

    async def items(
        self, resource: Resource, namespace: str, *, selector: str, accept: str = "application/json"
    ) -> tuple[list[Manifest], str]:
        """All objects that match, read in pages, and the resourceVersion of the first page."""
        params = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        found: list[Manifest] = []
        as_of = ""
        while True:
            page = await self.request("GET", resource.path(namespace), params=params, accept=accept)
            found.extend(page.get("items") or [])
            meta = page.get("metadata") or {}
            as_of = as_of or meta.get("resourceVersion", "")
            if not meta.get("continue"):
                return found, as_of
            params["continue"] = meta["continue"]

    def _note_answer(self, status: int) -> None:
        if status >= 500:
            self._away = True
        elif self._away:
            self._away = False
            if self.when_back:
                self.when_back()


def _refusal(response: aiohttp.ClientResponse, text: str) -> ApiError:
    try:
        said = json.loads(text)
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    wait = response.headers.get("Retry-After", "")
    return ApiError(
        response.status,
        said.get("reason") or response.reason or "",
        said.get("message") or text[:500],
        float(wait) if wait.isdigit() else None,
    )


def _parsed(text: str) -> dict[str, Any]:
    value = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}
