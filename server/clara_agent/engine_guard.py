"""The door of vLLM's HTTP server: `vllm serve --middleware clara_agent.engine_guard.Guard`. Deny by default.

    GET /health                                    anyone (the kubelet)
    models, metrics, chat, completions             the gateway, by its ServiceAccount token, verified offline
    everything                                     this pod's agent, by the local token in a memory emptyDir

vLLM's own --api-key leaves /invocations, /adapters and more open. Pure ASGI: streams pass untouched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

from clara_agent.credentials import GATEWAY, Credentials, Identity
from clara_agent.hook import ask_for_keys

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset({("GET", "/health")})
FOR_GATEWAY = frozenset(
    {
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
    }
)


def refusal(method: str, path: str, who: Callable[[], Identity | None]) -> int | None:
    """None to let the request pass, 401 for a stranger, 404 for the gateway where it has no business. Pure but for `who`."""
    if (method, path) in OPEN:
        return None
    identity = who()
    if identity is None:
        return 401
    if identity == GATEWAY and (method, path) not in FOR_GATEWAY:
        return 404
    return None


class Guard:
    """ASGI middleware. Configured by environment, because vLLM constructs it from its name alone."""

    def __init__(self, app: App) -> None:
        self._app = app
        folder = Path(os.environ.get("CLARA_ENGINE_SECRET_DIR", "/clara/guard"))
        self._credentials = Credentials(
            folder=folder,
            issuer=os.environ.get("CLARA_TOKEN_ISSUER", ""),
            gateway=os.environ.get("CLARA_GATEWAY_IDENTITY", ""),
            ask_for_keys=partial(ask_for_keys, folder),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let pass or answer 401 or 404."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return await _close_websocket(receive, send)
        status = refusal(scope["method"], scope["path"], lambda: self._credentials.identify(_bearer(scope)))
        if status is None:
            return await self._app(scope, receive, send)
        return await _answer(status, send)


def _bearer(scope: Scope) -> str:
    """The bearer token, or ''. Two Authorization headers are none: proxies disagree about which one counts."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1 or values[0][:7].lower() != b"bearer ":
        return ""
    return str(values[0][7:].strip().decode("latin-1"))


async def _close_websocket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 1008, "reason": "not served"})


async def _answer(status: int, send: Send) -> None:
    message = "present a token this engine knows" if status == 401 else "no such route"
    body = json.dumps({"error": {"message": message, "type": "engine_guard", "code": status}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
