"""A double of a judge, for a large model cannot be had here: an OpenAI-compatible server in this process, real protocol."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeJudge:
    """Answers what `reply` says: text of the message, or an HTTP status. The address is known before it listens."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.asked: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.reply: Callable[[dict[str, Any]], str | int] = lambda asked: '{"score": 5}'
        self._socket = socket.socket()
        self._socket.bind((host, 0))  # taken, and refusing connections, until `start` listens
        self.endpoint = f"http://{host}:{self._socket.getsockname()[1]}/v1"
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> FakeJudge:
        """Listen."""
        self._server = ThreadingHTTPServer(self._socket.getsockname(), self._handler(), bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = self._socket
        self._server.server_activate()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def stop(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None
        self._socket.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        judge = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/v1/chat/completions"
                judge.tokens.append(self.headers["Authorization"])
                judge.asked.append(body)
                reply = judge.reply(json.loads(body["messages"][1]["content"]))
                message = {"choices": [{"message": {"role": "assistant", "content": reply}}]}
                data = json.dumps(message).encode()
                self.send_response(reply if isinstance(reply, int) else 200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
