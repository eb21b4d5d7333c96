"""The guard as ASGI sees it: deny by default, streams untouched, websockets closed. The walk over a real vLLM is in
test_agent_with_vllm.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from clara_agent.credentials import KEYS, LOCAL_TOKEN
from clara_agent.engine_guard import Guard
from contract.agent_tokens import GATEWAY, ISSUER, Signer

SIGNER = Signer()


class Inside:
    """The application behind the door; remembers who came in and streams three chunks."""

    def __init__(self) -> None:
        self.entered: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.entered.append(scope.get("path", scope["type"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for chunk in (b"a", b"b", b"c"):
            await send({"type": "http.response.body", "body": chunk, "more_body": chunk != b"c"})


@pytest.fixture
def inside() -> Inside:
    return Inside()


@pytest.fixture
def guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: Inside) -> Guard:
    (tmp_path / LOCAL_TOKEN).write_text("local")
    (tmp_path / KEYS).write_text(json.dumps(SIGNER.jwks()))
    monkeypatch.setenv("CLARA_ENGINE_SECRET_DIR", str(tmp_path))
    monkeypatch.setenv("CLARA_TOKEN_ISSUER", ISSUER)
    monkeypatch.setenv("CLARA_GATEWAY_IDENTITY", GATEWAY)
    return Guard(inside)


async def ask(guard: Guard, method: str, path: str, *tokens: str, kind: str = "http") -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    headers = [(b"authorization", f"Bearer {t}".encode()) for t in tokens]
    await guard({"type": kind, "method": method, "path": path, "headers": headers}, receive, send)
    return sent


async def test_anyone_may_ask_for_health_and_for_nothing_else(guard: Guard, inside: Inside):
    assert (await ask(guard, "GET", "/health"))[0]["status"] == 200
    for method, path in (("POST", "/health"), ("GET", "/health/"), ("GET", "/ping"), ("GET", "/v1/models")):
        assert (await ask(guard, method, path))[0]["status"] == 401
    assert inside.entered == ["/health"]


async def test_the_gateway_gets_its_four_routes_and_404_elsewhere(guard: Guard):
    token = SIGNER.token()
    for method, path in (
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
    ):
        assert (await ask(guard, method, path, token))[0]["status"] == 200
    for method, path in (("GET", "/v1/completions"), ("POST", "/v1/load_lora_adapter"), ("POST", "/invocations")):
        assert (await ask(guard, method, path, token))[0]["status"] == 404


async def test_the_local_token_opens_everything(guard: Guard, inside: Inside):
    await ask(guard, "POST", "/v1/load_lora_adapter", "local")
    assert inside.entered == ["/v1/load_lora_adapter"]


async def test_a_refusal_says_what_is_missing_and_never_reaches_vllm(guard: Guard, inside: Inside):
    start, body = await ask(guard, "POST", "/v1/completions", "wrong")
    assert (start["status"], json.loads(body["body"])["error"]["code"]) == (401, 401)
    assert (b"www-authenticate", b"Bearer") in start["headers"]
    assert inside.entered == []


async def test_two_authorization_headers_are_none(guard: Guard):
    assert (await ask(guard, "GET", "/v1/models", "local", "local"))[0]["status"] == 401


async def test_chunks_of_a_stream_pass_one_by_one(guard: Guard):
    sent = await ask(guard, "POST", "/v1/completions", SIGNER.token())
    assert [m["body"] for m in sent[1:]] == [b"a", b"b", b"c"]


async def test_websockets_are_closed_even_with_the_local_token(guard: Guard, inside: Inside):
    assert (await ask(guard, "GET", "/v1/realtime", "local", kind="websocket"))[0]["type"] == "websocket.close"
    assert inside.entered == []


async def test_start_and_end_of_the_application_pass(guard: Guard, inside: Inside):
    await ask(guard, "", "", kind="lifespan")
    assert inside.entered == [""]
