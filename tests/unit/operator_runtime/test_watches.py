"""Health of watches, as seen on the wire."""

from __future__ import annotations

import aiohttp
from aiohttp import web
from clara_operator.runtime.watches import SILENT_SECONDS, STREAM_SECONDS, Watches

PODS = "/api/v1/namespaces/recht/pods"


def watches(clock) -> tuple[Watches, list[str]]:
    gaps: list[str] = []
    return Watches(["recht"], lambda: gaps.append("gap"), clock), gaps


def test_a_watch_that_is_reopened_is_alive_and_one_that_is_not_is_named(clock):
    one, _ = watches(clock)
    clock.now += STREAM_SECONDS + 1
    one.answered(PODS, watch=True, page=False)
    clock.now += SILENT_SECONDS - STREAM_SECONDS
    silent = one.silent()
    assert not any("Pod " in s for s in silent)
    assert any("TrainingJob" in s for s in silent)


def test_a_stream_always_ends_before_it_counts_as_silent():
    assert STREAM_SECONDS + 30 < SILENT_SECONDS


def test_the_first_list_is_the_start_and_each_later_one_is_a_gap(clock):
    one, gaps = watches(clock)
    one.answered(PODS, watch=False, page=False)
    one.answered(PODS, watch=False, page=True)
    assert gaps == []
    one.answered(PODS, watch=False, page=False)
    assert gaps == ["gap"]


def test_the_quietest_namespace_counts(clock):
    one = Watches(["recht", "finanzen"], lambda: None, clock)
    clock.now += 40
    one.event("Pod", "recht")
    assert one.ages()["Pod"] == 40


async def test_kopfs_session_tells_of_answered_requests_only(clock):
    one, _ = watches(clock)

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({}, status=503 if "bad" in request.query else 200)

    app = web.Application()
    app.router.add_get(PODS, answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}{PODS}"
    async with aiohttp.ClientSession(trace_configs=[one.trace()]) as session:
        clock.now += 50
        await session.get(url, params={"watch": "true", "bad": "1"})
        assert one.ages()["Pod"] == 50
        await session.get(url, params={"watch": "true"})
        assert one.ages()["Pod"] == 0
    await runner.cleanup()
