"""Engines that vanish, freeze, forget or restart: clients get an answer of the right version, or are told within seconds."""

from __future__ import annotations

import asyncio
import json

import pytest
from clara_gateway.proxy import LOST_LIMIT
from contract.gateway_doubles import House, house, until
from unit.gateway.gateway_builders import engine_name, route

V1, V2 = "steuerrecht-1.0.0", "steuerrecht-1.1.0"


def serve(h: House) -> None:
    h.load(V1)
    h.learn(route(V1), verified={e.name: [V1] for e in h.engines})


async def statuses(h: House, times: int, **body: object) -> list[int]:
    answers = await asyncio.gather(*(h.ask(**body) for _ in range(times)))
    for answer in answers:
        await answer.read()
    return [answer.status for answer in answers]


async def test_a_stale_route_is_picked_again_and_never_passed_on():
    async with house(3) as h:
        serve(h)
        h.engines[0].adapters.clear()
        h.engines[1].adapters.clear()
        assert await statuses(h, 12) == [200] * 12
        assert all(e.asked[engine_name(V1)] <= 12 for e in h.engines[:2])


async def test_when_every_engine_forgot_the_version_the_answer_is_503_and_each_was_asked_once():
    async with house(3) as h:
        serve(h)
        for e in h.engines:
            e.adapters.clear()
        assert await statuses(h, 1) == [503]
        assert [sum(e.asked.values()) for e in h.engines] == [1, 1, 1]


@pytest.mark.parametrize("status", [401, 403, 503])
async def test_an_engine_that_refuses_the_gateway_is_left_for_another(status: int):
    async with house() as h:
        serve(h)
        h.engines[0].refuse_with = status
        assert await statuses(h, 6) == [200] * 6


async def test_a_refused_connection_goes_to_another_engine_and_ejects():
    async with house() as h:
        serve(h)
        await h.engines[0].stop()
        assert await statuses(h, 10) == [200] * 10
        assert len(h.gateway.ejections) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_a_reset_before_the_first_byte_goes_to_another_engine(stream: bool):
    async with house() as h:
        serve(h)
        h.engines[0].reset_next = 1
        assert await statuses(h, 8, stream=stream) == [200] * 8
        assert h.engines[0].reset_next == 0


async def test_a_request_that_takes_engine_after_engine_with_it_is_given_up():
    async with house(5) as h:
        serve(h)
        for e in h.engines:
            e.reset_next = 1
        async with h.ask() as answer:
            assert answer.status == 502
            assert (await answer.json())["error"]["code"] == "engine_lost"
        assert sum(sum(e.asked.values()) for e in h.engines) == LOST_LIMIT


@pytest.mark.parametrize("stream", [True, False])
async def test_what_a_dying_engine_says_is_not_passed_on_while_another_can_answer(stream: bool):
    async with house() as h:
        serve(h)
        h.engines[0].refuse_with = 500
        assert await statuses(h, 6, stream=stream) == [200] * 6


async def test_one_request_cannot_put_an_engine_out():
    async with house() as h:
        serve(h)
        for e in h.engines:
            e.refuse_with = 500
        assert await statuses(h, 1) == [502]
        assert not h.gateway.ejections


async def test_engines_that_fail_again_and_again_do_not_draw_the_traffic_of_those_that_work():
    async with house(4, probe_every_seconds=30) as h:
        serve(h)
        for e in h.engines[:2]:
            e.refuse_with = 500
        for e in h.engines[2:]:
            e.pace = 0.005
        answers = await statuses(h, 60)
        assert answers.count(200) >= 55
        assert set(answers[10:]) == {200}
        assert len(h.gateway.ejections) == 2


async def test_a_stream_that_begins_with_an_error_is_begun_again_elsewhere():
    async with house() as h:
        serve(h)
        h.engines[0].dies_in_stream = 500
        for _ in range(4):
            assert all("error" not in event for event in await h.stream())


async def test_a_clients_own_error_at_the_begin_of_a_stream_is_told_as_what_it_is():
    async with house() as h:
        serve(h)
        for e in h.engines:
            e.dies_in_stream = 400
        async with h.ask(stream=True) as answer:
            assert answer.status == 400
            assert "EngineCore" in (await answer.json())["error"]["message"]
        assert sum(sum(e.asked.values()) for e in h.engines) == 1


@pytest.mark.parametrize("engines", [1, 3])
async def test_a_request_on_which_engines_fail_is_not_passed_round_and_does_not_wait(engines: int):
    async with house(engines, wait_seconds=60) as h:
        serve(h)
        for e in h.engines:
            e.refuse_with = 500
        async with asyncio.timeout(5), h.ask() as answer:
            assert answer.status == 502
            assert (await answer.json())["error"]["code"] == "engine_failed"
        assert sum(sum(e.asked.values()) for e in h.engines) == min(engines, 2)


async def test_an_ejected_engine_returns_when_it_answers_again():
    async with house(1, wait_seconds=5) as h:
        serve(h)
        port = int(h.engines[0].address.rpartition(":")[2])
        await h.engines[0].stop()
        asking = asyncio.ensure_future(h.ask().__aenter__())
        await until(lambda: len(h.gateway.ejections) == 1)
        await h.engines[0].start(port)
        assert (await asking).status == 200
        assert not h.gateway.ejections


async def test_all_engines_gone_is_503_after_the_bounded_wait():
    async with house() as h:
        serve(h)
        for e in h.engines:
            await e.stop()
        async with h.ask() as answer:
            assert answer.status == 503
            assert "Retry-After" in answer.headers


@pytest.mark.parametrize("stream", [True, False])
async def test_requests_that_heard_nothing_from_a_frozen_engine_are_answered_by_another(stream: bool):
    async with house(2, wait_seconds=5) as h:
        serve(h)
        h.engines[0].frozen = True
        assert await statuses(h, 6, stream=stream) == [200] * 6
        assert h.engines[1].asked[engine_name(V1)] == 6
        asked = sum(h.engines[0].asked.values())
        assert await statuses(h, 6, stream=stream) == [200] * 6
        assert sum(h.engines[0].asked.values()) == asked


async def test_a_stream_in_the_middle_of_which_the_engine_froze_ends_with_an_error_event():
    async with house(1) as h:
        serve(h)
        h.engines[0].pace = 0.05
        async with h.ask(stream=True) as answer:
            await answer.content.readline()
            h.engines[0].frozen = True
            rest = (await answer.read()).decode()
        assert json.loads(rest.strip().splitlines()[-1].removeprefix("data: "))["error"]["code"] == "engine_lost"
        assert "[DONE]" not in rest


async def test_a_long_answer_of_a_healthy_engine_is_waited_for():
    async with house(1) as h:
        serve(h)
        h.engines[0].pace = 0.5
        assert await statuses(h, 1) == [200]


async def test_a_draining_engine_gets_nothing_new_and_ends_what_runs():
    async with house(2) as h:
        serve(h)
        h.engines[0].pace = h.engines[1].pace = 0.1
        running = [asyncio.ensure_future(h.stream()) for _ in range(4)]
        await until(lambda: all(e.running for e in h.engines))
        h.learn(route(V1), verified={"engine-1": [V1]})
        before = h.engines[0].asked[engine_name(V1)]
        assert await statuses(h, 4) == [200] * 4
        assert h.engines[0].asked[engine_name(V1)] == before
        assert all(stream[-1] == "[DONE]" for stream in await asyncio.gather(*running))


async def test_a_version_change_under_load_fails_nothing_and_answers_with_nothing_wrong():
    """Old and new version as the operator and agents move them; every answer is asked of the version it claims."""
    async with house(2, wait_seconds=5) as h:
        serve(h)
        for e in h.engines:
            e.pace = 0.01
        answered: list[str] = []
        stop = asyncio.Event()

        async def client(stream: bool) -> None:
            while not stop.is_set():
                if stream:
                    *chunks, done = await h.stream()
                    assert done == "[DONE]"
                    seen = {
                        (c["model"], c["choices"][0]["delta"]["content"].split()[-1]) for c in map(json.loads, chunks)
                    }
                else:
                    async with h.ask() as answer:
                        assert answer.status == 200, await answer.text()
                        c = await answer.json()
                    seen = {(c["model"], c["choices"][0]["message"]["content"].split()[-1])}
                ((public, voice),) = seen
                assert voice == engine_name(public)
                answered.append(public)

        clients = [asyncio.ensure_future(client(stream=bool(n % 2))) for n in range(12)]
        await until(lambda: len(answered) > 50)
        await change_version(h)
        count = len(answered)
        await until(lambda: len(answered) > count + 100)
        stop.set()
        await asyncio.gather(*clients)
        assert set(answered) == {V1, V2}
        assert answered.index(V2) > 50
        assert set(answered[-50:]) == {V2}


async def change_version(h: House) -> None:
    """load → verify on one, on both → serve → retire → unload; one engine unloads before the gateway heard of it."""
    both = {"steuerrecht": 2}
    h.load(V2)
    h.learn(route(V1), route(V2, "Loading"), families=both, verified={"engine-0": [V1], "engine-1": [V1]})
    await asyncio.sleep(0.1)
    h.learn(route(V1), route(V2), families=both, verified={"engine-0": [V1, V2], "engine-1": [V1]})
    h.engines[1].adapters.discard(engine_name(V1))
    await asyncio.sleep(0.1)
    h.learn(route(V1), route(V2), families=both, verified={"engine-0": [V1, V2], "engine-1": [V1, V2]})
    await asyncio.sleep(0.2)
    for e in h.engines:
        e.adapters.discard(engine_name(V1))
    retired = route(V1, "Retired", successor="1.1.0")
    h.learn(retired, route(V2), families=both, verified={"engine-0": [V2], "engine-1": [V2]})
