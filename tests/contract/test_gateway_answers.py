"""What clients get back: the right model's answer under its public name, or an error that says what to do."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from pathlib import Path

import pytest
from contract.gateway_doubles import House, events, house, until
from unit.gateway.gateway_builders import engine_name, route

V1, V2 = "steuerrecht-1.0.0", "steuerrecht-1.1.0"


def serve(h: House, *routes: dict, **more: object) -> None:
    """V1 (and what `routes` say) on every engine, really and as reported."""
    h.load(V1, V2)
    h.learn(*(routes or (route(V1),)), verified={e.name: [V1, V2] for e in h.engines}, **more)


async def error_of(answer) -> tuple[int, str]:
    async with answer as a:
        body = await a.json()
        assert set(body["error"]) == {"message", "type", "param", "code"}
        return a.status, body["error"]["code"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_the_alias_answers_in_the_adapter_s_voice_under_its_public_name(path: str):
    async with house() as h:
        serve(h)
        async with h.ask("steuerrecht", path, temperature=0.5) as answer:
            body = await answer.json()
        assert body["model"] == V1
        assert body["choices"][0]["message"]["content"] == f"I am {engine_name(V1)}"
        assert answer.headers["x-clara-version"] == "1.0.0"
        assert answer.headers["x-clara-engine"] in ("engine-0", "engine-1")
        assert next(e for e in h.engines if e.bodies).bodies[0]["temperature"] == 0.5


async def test_the_base_answers_under_its_own_name():
    async with house() as h:
        serve(h)
        async with h.ask("tiny-de") as answer:
            assert (await answer.json())["model"] == "tiny-de"
            assert "x-clara-version" not in answer.headers


async def test_each_chunk_of_a_stream_carries_the_public_name():
    async with house() as h:
        serve(h)
        *chunks, done = await h.stream()
        assert done == "[DONE]"
        assert {json.loads(c)["model"] for c in chunks} == {V1}
        assert len(chunks) == 4


async def test_chunks_are_not_held_back():
    async with house(1) as h:
        serve(h)
        h.engines[0].pace = 0.2
        started, arrivals = time.monotonic(), []
        async with h.ask(stream=True) as answer:
            async for _ in answer.content.iter_any():
                arrivals.append(time.monotonic() - started)
        assert arrivals[0] < 0.45
        assert len(arrivals) >= 4


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"messages": []}', 400, "missing_model"),
        (b'{"model": ""}', 400, "missing_model"),
        (b'{"model": ["steuerrecht"]}', 400, "missing_model"),
        (b'{"model": "steuerrecht", "model": "tiny-de"}', 400, "duplicate_key"),
        (b'{"model": "steuerrecht"', 400, "invalid_json"),
        (b'{"model": "strafrecht"}', 404, "model_not_found"),
        (b'{"model": "steuerrecht-1.0.0"}', 404, "model_superseded"),
        (b'{"model": "baurecht"}', 503, "model_loading"),
    ],
)
async def test_never_the_wrong_model(body: bytes, status: int, code: str):
    async with house() as h:
        serve(h, route(V1, "Retired", successor="1.1.0"), route(V2), route("baurecht-1.0.0", "Loading"))
        answer = h.client.post("/v1/chat/completions", data=body)
        assert await error_of(answer) == (status, code)
        assert sum(sum(e.asked.values()) for e in h.engines) == 0


async def test_a_body_over_the_limit_is_refused_with_and_without_a_length():
    async def pieces():
        for _ in range(30):
            yield b"x" * 100

    async with house(body_limit=2000) as h:
        serve(h)
        for data in (b"x" * 3000, pieces()):
            assert await error_of(h.client.post("/v1/completions", data=data)) == (413, "body_too_large")


async def test_an_encoded_body_is_refused():
    async with house() as h:
        answer = h.client.post("/v1/completions", data=b"", headers={"Content-Encoding": "br"})
        assert await error_of(answer) == (415, "encoded_body")


@pytest.mark.parametrize(
    "path", ["/", "/v1/embeddings", "/v1/load_lora_adapter", "/adapters", "/invocations", "/metrics", "/tokenize"]
)
async def test_other_paths_do_not_exist(path: str):
    async with house() as h:
        serve(h)
        assert await error_of(h.client.post(path, json={"model": "steuerrecht"})) == (404, "unknown_path")


async def test_a_wrong_method_is_told_the_right_one():
    async with house() as h:
        assert await error_of(h.client.get("/v1/chat/completions")) == (405, "method_not_allowed")
        async with h.client.delete("/v1/models") as answer:
            assert answer.headers["Allow"] == "GET, HEAD"


async def test_a_planned_load_is_answered_as_soon_as_it_is_verified():
    async with house(wait_seconds=5) as h:
        h.learn(route(V1, "Loading"), verified={"engine-0": []})
        asking = asyncio.ensure_future(h.ask().__aenter__())
        await asyncio.sleep(0.1)
        assert not asking.done()
        started = time.monotonic()
        serve(h)
        assert (await asking).status == 200
        assert time.monotonic() - started < 0.5


async def test_a_bounded_wait_ends_with_retry_after():
    async with house() as h:
        h.learn(route(V1), verified={"engine-0": []})
        started = time.monotonic()
        async with h.ask() as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert (await answer.json())["error"]["code"] == "engine_unavailable"
        assert 0.35 < time.monotonic() - started < 2


async def test_before_the_cluster_was_seen_nothing_is_called_unknown():
    async with house(synced=False) as h:
        assert await error_of(h.ask()) == (503, "not_ready")
        assert (await h.client.get("/ready")).status == 503
        assert (await h.client.get("/health")).status == 200
        serve(h)
        assert (await h.client.get("/ready")).status == 200


async def test_the_model_list_holds_base_aliases_and_versions_in_service():
    async with house() as h:
        serve(h, route(V1, "Retired", successor="1.1.0"), route(V2), route("baurecht-1.0.0", "Loading"))
        listed = (await (await h.client.get("/v1/models")).json())["data"]
        assert {m["id"]: m["root"] for m in listed} == {"tiny-de": "tiny-de", "steuerrecht": V2, V2: V2}
        one = await (await h.client.get("/v1/models/amt-a/steuerrecht")).json()
        assert (one["id"], one["root"], one["object"]) == ("amt-a/steuerrecht", V2, "model")
        assert await error_of(h.client.get(f"/v1/models/{V1}")) == (404, "model_superseded")


async def test_in_production_only_a_known_key_gets_an_answer_and_only_of_its_namespace(tmp_path: Path):
    content = {"sha256": hashlib.sha256(b"geheim").hexdigest(), "namespace": "amt-b"}
    (tmp_path / "team-b").write_text(json.dumps(content))
    async with house(security_mode="production", keys_dir=tmp_path) as h:
        serve(h)
        assert await error_of(h.ask()) == (401, "missing_api_key")
        assert await error_of(h.client.get("/status")) == (401, "missing_api_key")
        h.client.headers["Authorization"] = "Bearer geheim"
        assert await error_of(h.ask("amt-a/steuerrecht")) == (404, "model_not_found")
        assert (await (await h.client.get("/v1/models")).json())["data"] == []
        serve(h, namespace="amt-a")


async def test_engines_get_the_gateway_s_token_and_never_the_client_s_key(tmp_path: Path):
    (tmp_path / "token").write_text("of-the-gateway")
    async with house(1, engine_token_file=tmp_path / "token") as h:
        serve(h)
        headers = {"Authorization": "Bearer of-the-client", "X-Request-Id": "amt-7", "Cookie": "a=b"}
        async with h.client.post("/v1/completions", json={"model": V1}, headers=headers) as answer:
            assert answer.headers["X-Request-Id"] == "amt-7"
        seen = {key.title(): value for key, value in h.engines[0].headers[0].items()}
        assert seen["Authorization"] == "Bearer of-the-gateway"
        assert seen["X-Request-Id"].startswith("amt-7-")
        assert "Cookie" not in seen


async def test_an_insane_request_id_is_replaced():
    async with house() as h, h.client.get("/status", headers={"X-Request-Id": "a b;" * 50}) as answer:
        assert len(answer.headers["X-Request-Id"]) == 24


async def test_an_engine_s_own_error_is_passed_on_with_the_public_name():
    async with house(1) as h:
        serve(h)
        h.engines[0].refuse_with = 400
        async with h.ask() as answer:
            assert answer.status == 400
            assert answer.headers["x-clara-engine"] == "engine-0"


async def test_the_access_log_tells_everything_but_the_prompt(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="clara_gateway.access")
    async with house(1) as h:
        serve(h)
        await (await h.ask()).read()
        await until(lambda: caplog.records)
    line = json.loads(next(r.getMessage() for r in caplog.records if r.name == "clara_gateway.access"))
    assert "Frage" not in json.dumps(line)
    facts = ("key", "namespace", "model", "answered_by", "engine", "status", "prompt_tokens", "completion_tokens")
    expected = ["anonymous", "amt-a", "steuerrecht", V1, "engine-0", 200, 3, 4]
    assert [line[f] for f in facts] == expected
    assert {"request_id", "seconds"} <= set(line)


async def test_the_access_log_of_a_stream_has_its_time_to_first_token(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="clara_gateway.access")
    async with house(1) as h:
        serve(h)
        h.engines[0].pace = 0.1
        await h.stream()
        await until(lambda: caplog.records)
    line = json.loads(next(r.getMessage() for r in caplog.records if r.name == "clara_gateway.access"))
    assert 0.1 <= line["ttft"] < line["seconds"]


async def test_metrics_count_per_family_and_version_on_their_own_port():
    async with house(1) as h:
        serve(h)
        await (await h.ask()).read()
        await (await h.ask("strafrecht")).read()
        url = f"http://127.0.0.1:{h.gateway.metrics_port}/metrics"
        text = await (await h.client.get(url)).text()
        sample = 'clara_gateway_requests_total{code="200",family="steuerrecht",version="1.0.0"} 1.0'
        assert sample in text
        assert 'clara_gateway_requests_total{code="404",family="",version=""} 1.0' in text
        assert "strafrecht" not in text
        assert "clara_gateway_watch_age_seconds 0.5" in text


async def test_the_status_page_says_why_an_engine_takes_nothing():
    async with house() as h:
        serve(h)
        h.knowledge.learn([], [])
        h.learn(route(V1), verified={"engine-0": [V1]})
        page = await (await h.client.get("/status")).json()
        assert page["namespaces"]["amt-a"]["families"]["steuerrecht"]["alias"] == "1.0.0"
        assert page["engines"][0]["takesRequests"] is True


async def test_a_client_that_leaves_cancels_the_engine_s_work():
    async with house(1) as h:
        serve(h)
        h.engines[0].pace = 0.3
        for stream in (False, True):
            h.engines[0].cancelled = 0
            answer = asyncio.ensure_future(h.ask(stream=stream).__aenter__())
            await until(lambda: h.engines[0].running)
            if stream:
                (await answer).close()
            else:
                answer.cancel()
            await until(lambda: h.engines[0].cancelled == 1)
            assert h.engines[0].running == 0


async def test_running_answers_end_when_the_gateway_stops():
    async with house(1) as h:
        serve(h)
        h.engines[0].pace = 0.15
        async with h.ask(stream=True) as answer:
            stopping = asyncio.ensure_future(h.gateway.stop())
            body = await answer.read()
            await stopping
        assert events(body)[-1] == "[DONE]"
