"""Errors in OpenAI's shape, so that every client library shows them as it shows OpenAI's own.

Raised anywhere below `proxy.py` and `pages.py`, turned into a response only there.
"""

from __future__ import annotations

import json

from aiohttp import web

RETRY_AFTER_SECONDS = 2


class RefusalError(Exception):
    """The request gets this answer and no engine's."""

    def __init__(
        self, status: int, code: str, message: str, *, retry_after: int | None = None, allow: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = {"Retry-After": str(retry_after)} if retry_after else {}
        if allow:
            self.headers["Allow"] = allow
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"

    def response(self) -> web.Response:
        """The whole answer."""
        return web.Response(
            status=self.status,
            body=error_json(self.status, self.code, self.message),
            content_type="application/json",
            headers=self.headers,
        )


def unavailable(code: str, message: str) -> RefusalError:
    """503: nothing is wrong with the request, it may be sent again."""
    return RefusalError(503, code, message, retry_after=RETRY_AFTER_SECONDS)


def error_json(status: int, code: str, message: str) -> bytes:
    """https://platform.openai.com/docs/guides/error-codes: message, type, param, code."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    param = "model" if "model" in code else None
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()
