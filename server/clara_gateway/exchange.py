"""What is worth remembering of one request: for its response headers, its access log line and the metrics.

Made and recorded by `middleware.py`, filled in by `proxy.py`, `pages.py` and `upstream.py`. Never holds a prompt or answer.
"""

from __future__ import annotations

import re
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from clara_gateway.routing.names import Target

_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")


@dataclass(slots=True)
class Exchange:
    """One request and what became of it."""

    request_id: str
    method: str
    path: str
    started: float = field(default_factory=time.perf_counter)
    key_id: str = ""
    asked: str = ""
    target: Target | None = None
    engine: str = ""
    stream: bool = False
    status: int = 0
    code: str = ""
    first_byte: float | None = None  # of a stream, in seconds after start
    usage: bytes = b""
    retries: Counter[str] = field(default_factory=Counter)

    def headers(self) -> dict[str, str]:
        """What every answer carries: the id, and who answered."""
        headers = {"X-Request-Id": self.request_id}
        if self.engine:
            headers["X-Clara-Engine"] = self.engine
            if self.target and self.target.version:
                headers["X-Clara-Version"] = self.target.version
        return headers

    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def mark_first_byte(self) -> None:
        if self.first_byte is None:
            self.first_byte = self.seconds()

    def log_line(self, tokens: dict[str, int]) -> dict[str, Any]:
        """The access log line; what is not known is left out."""
        target = self.target
        line: dict[str, Any] = {
            "request_id": self.request_id,
            "key": self.key_id,
            "method": self.method,
            "path": self.path,
            "namespace": target.namespace if target else "",
            "model": self.asked,
            "answered_by": target.public_name if target and self.engine else "",
            "engine": self.engine,
            "status": self.status,
            "code": self.code,
            "stream": self.stream,
            "seconds": round(self.seconds(), 4),
            "ttft": round(self.first_byte, 4) if self.first_byte is not None else None,
            "retries": dict(self.retries),
            **tokens,
        }
        return {key: value for key, value in line.items() if value not in ("", None, {})}


def open_exchange(request: web.Request) -> Exchange:
    """Start remembering; the client's request id is kept when it is a plain short word."""
    offered = request.headers.get("X-Request-Id", "")
    request_id = offered if _SANE_ID.fullmatch(offered) else secrets.token_hex(12)
    return Exchange(request_id, request.method, request.path)
