"""Who may report progress, over real HTTPS, and what a message moves."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from clara_api import labels
from clara_api.handoff.progress import AUDIENCE, MAX_BODY_BYTES, data_metrics
from clara_api.training_job import DataReport, MemoryPlan
from clara_operator.cluster import Cluster
from clara_operator.plan import Key
from clara_operator.progress import MESSAGES, STRANGERS, ProgressEndpoint
from clara_operator.progress_address import ProgressAddress

NS, JOB = "recht", "steuerrecht-2026-11"
KEY = Key("TrainingJob", NS, JOB)


def review(*, user: str = f"system:serviceaccount:{NS}:clara-trainer", uid: str = "pod-uid", audience: str = AUDIENCE):
    extra = {"authentication.kubernetes.io/pod-name": ["pod"], "authentication.kubernetes.io/pod-uid": [uid]}
    return {"authenticated": True, "audiences": [audience], "user": {"username": user, "extra": extra}}


def message(**metrics: object) -> dict[str, object]:
    return {"trainerStatus": {"metrics": [{"name": k, "value": str(v)} for k, v in metrics.items()]}}


@dataclass
class Line:
    """A running endpoint and a trainer's way to it."""

    cluster: Cluster
    server: object
    session: aiohttp.ClientSession
    port: int
    clock: object
    leads: bool = True
    woken: list[tuple[Key, float]] = field(default_factory=list)

    async def post(self, body: object, *, token: str | None = "good", job: str = JOB, attempt: str = "1", data=None):
        url = f"https://clara-progress.clara-system.svc:{self.port}/v1/namespaces/{NS}/trainingjobs/{job}/attempts/{attempt}"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        sent = {"data": data} if data is not None else {"json": body}
        async with self.session.post(url, headers=headers, **sent) as answer:
            return answer.status, (await answer.json())["message"]


class HereOnly(aiohttp.abc.AbstractResolver):
    """Every name is this machine, as the Service would have it."""

    async def resolve(self, host, port=0, family=0):
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 0}]

    async def close(self):
        return None


@pytest.fixture
async def line(api, server, clock, unused_tcp_port) -> AsyncIterator[Line]:
    cluster = Cluster()
    marks = {labels.TRAINING_JOB: JOB, labels.ATTEMPT: "1"}
    meta = {"name": "pod", "namespace": NS, "uid": "pod-uid", "resourceVersion": "1", "labels": marks}
    cluster.put("Pod", {"metadata": meta})
    server.tokens["good"] = review()
    it = Line(cluster, server, None, unused_tcp_port, clock)
    address = ProgressAddress(api, cluster, "clara-system", "127.0.0.1", unused_tcp_port)
    endpoint = ProgressEndpoint(
        api,
        cluster,
        address,
        lambda key, delay: it.woken.append((key, delay)),
        lambda: it.leads,
        clock,
    )
    tasks = [asyncio.create_task(address.lead()), asyncio.create_task(endpoint.serve())]
    await asyncio.wait_for(address.ready.wait(), 5)
    await asyncio.sleep(0.1)
    trust = ssl.create_default_context(cadata=cluster.progress_ca)
    it.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust, resolver=HereOnly()))
    yield it
    await it.session.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_trainer_of_the_run_is_believed_and_its_job_is_looked_at(line):
    assert await line.post(message(current_step=12, total_steps=50, loss=0.7)) == (200, "ok")
    (sample,) = line.cluster.progress(NS, JOB, 1)
    assert (sample.step, sample.total_steps, sample.loss) == (12, 50, 0.7)
    assert line.woken == [(KEY, 0.0)]


async def test_the_pods_own_metrics_are_kept_with_its_name(line):
    plan = {"micro_batch_size": 2, "accumulation": 8, "gradient_checkpointing": 1, "memory_reason": "it ran out"}
    said = {
        "learning_rate": 1e-4,
        "checkpoint_step": 9,
        "resumed_from_step": 5,
        "interruptions": 1,
        "peak_memory_bytes": 7,
    }
    await line.post(message(current_step=12, total_steps=50, phase="trains", **plan, **said))
    (sample,) = line.cluster.progress(NS, JOB, 1)
    assert {name: getattr(sample, name) for name in said} == said
    assert (sample.pod, sample.phase) == ("pod", "trains")
    assert sample.memory == MemoryPlan(
        micro_batch_size=2, accumulation=8, gradient_checkpointing=True, reason="it ran out"
    )


async def test_the_counts_of_the_data_report_are_kept(line):
    report = DataReport(rows=24, training_rows=20, validation_rows=2, tokens=900, dropped_leaks=2)
    await line.post(message(phase="loads the base", **data_metrics(report)))
    (sample,) = line.cluster.progress(NS, JOB, 1)
    assert sample.data == report
    await line.post(message(phase="loads the base", data_rows=-1, data_tokens="many"))
    assert line.cluster.progress(NS, JOB, 1)[-1].data == report, "nonsense from a pod is left out"


async def test_a_phase_without_a_step_is_kept_and_moves_nothing(line):
    await line.post(message(phase="waits for the store"))
    (sample,) = line.cluster.progress(NS, JOB, 1)
    assert (sample.step, sample.phase) == (None, "waits for the store")
    assert line.woken == [(KEY, 0.0)]
    await line.post(message(current_step=3, total_steps=50, loss=0.5))
    await line.post(message(phase="uploads a checkpoint"))
    (sample,) = line.cluster.progress(NS, JOB, 1)
    assert (sample.step, sample.loss, sample.phase) == (3, 0.5, "uploads a checkpoint")


async def test_a_loss_that_is_no_number_is_left_out(line):
    await line.post(message(current_step=3, loss="nan", learning_rate="inf"))
    (sample,) = line.cluster.progress(NS, JOB, 1)
    assert (sample.loss, sample.learning_rate) == (None, None)


async def test_a_message_with_neither_step_nor_phase_moves_nothing(line):
    status, _ = await line.post({"trainerStatus": {"progressPercentage": 100, "metrics": []}})
    assert status == 200
    assert line.cluster.progress(NS, JOB, 1) == ()
    assert line.woken == []


async def test_a_job_is_looked_at_at_most_once_a_second(line):
    for step in range(5):
        await line.post(message(current_step=step))
    assert line.woken == [(KEY, 0.0), (KEY, 1.0)]
    line.clock.now += 1.5
    await line.post(message(current_step=9))
    assert len(line.woken) == 3


@pytest.mark.parametrize(
    ("what", "status"),
    [
        (None, 401),
        ({"authenticated": False}, 401),
        (review(audience="https://kubernetes.default.svc"), 401),
        (review(user=f"system:serviceaccount:{NS}:default"), 403),
        (review(user="system:serviceaccount:finanzen:clara-trainer"), 403),
        (review(uid="an-earlier-pod"), 403),
    ],
)
async def test_other_tokens_are_refused(line, what, status):
    if what is not None:
        line.server.tokens["odd"] = what
    answer, said = await line.post(message(current_step=1), token=None if what is None else "odd")
    assert answer == status
    assert said
    assert line.cluster.progress(NS, JOB, 1) == ()


async def test_a_pod_reports_for_its_own_run_and_attempt_only(line):
    assert (await line.post(message(current_step=1), job="another"))[0] == 403
    assert (await line.post(message(current_step=1), attempt="2"))[0] == 403
    assert (await line.post(message(current_step=1), attempt="two"))[0] == 404


async def test_nonsense_is_answered_with_what_is_wrong(line):
    status, said = await line.post({"percent": 3})
    assert status == 400
    assert "KEP-2779" in said
    assert (await line.post(None, data=b"x" * (MAX_BODY_BYTES + 1)))[0] == 413


async def test_a_replica_that_does_not_lead_sends_the_trainer_away(line):
    line.leads = False
    assert (await line.post(message(current_step=1)))[0] == 503


async def test_a_token_is_reviewed_once_a_minute(line):
    for _ in range(3):
        await line.post(message(current_step=1))
    assert line.server.reviews == 1
    line.clock.now += 61
    await line.post(message(current_step=1))
    assert line.server.reviews == 2


async def test_a_pod_that_talks_too_much_is_told_so(line):
    answers = [(await line.post(message(current_step=n)))[0] for n in range(MESSAGES + 1)]
    assert answers[-2:] == [200, 429]


async def test_guessing_tokens_costs_the_api_server_a_bounded_number_of_reviews(line):
    answers = [(await line.post(message(current_step=1), token=f"guess-{n}"))[0] for n in range(STRANGERS + 5)]
    assert answers[-1] == 429
    assert line.server.reviews == STRANGERS
