"""Every kopf decorator of the project, and the wiring of the operator. Nothing else.

kopf runs and watches; our queue works. `on.event` only feeds the cache and puts a key into the queue. No finalizers, no
annotations, no timers, daemons, indexes or peering.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from typing import Any

import kopf
from clara_api.kinds import KINDS
from clara_api.meta import GROUP

from clara_operator.act import Actor
from clara_operator.adapter.reconcile import reconcile as reconcile_adapter
from clara_operator.cluster import Cluster
from clara_operator.errors import ApiError
from clara_operator.golden_dataset.reconcile import reconcile as reconcile_golden_dataset
from clara_operator.health import STUCK_SECONDS, Health
from clara_operator.lease import Leader
from clara_operator.metrics import StateCollector, register
from clara_operator.progress import ProgressEndpoint
from clara_operator.recorder import Recorder
from clara_operator.runtime import logs
from clara_operator.runtime.api import Api
from clara_operator.runtime.connection import connect
from clara_operator.runtime.intake import Intake
from clara_operator.runtime.queue import WorkQueue
from clara_operator.runtime.resources import WATCHED, Resource
from clara_operator.runtime.workers import Workers
from clara_operator.serving_deployment.reconcile import reconcile as reconcile_serving_deployment
from clara_operator.settings import Settings
from clara_operator.sweep import Sweep
from clara_operator.training_job.reconcile import reconcile as reconcile_training_job
from clara_operator.triggers import keys_for

log = logging.getLogger("clara")
SILENCE_SECONDS = 150.0  # a sweep comes more often; a kind not heard of for so long has a dead watch
GRACE_SECONDS = 10.0
RECONCILERS = {
    "TrainingJob": reconcile_training_job,
    "Adapter": reconcile_adapter,
    "GoldenDataset": reconcile_golden_dataset,
    "ServingDeployment": reconcile_serving_deployment,
}


def registry_for(intake: Intake, sweep: Sweep, synced: asyncio.Event) -> kopf.OperatorRegistry:
    """kopf's handlers: one low-level watch per kind."""
    registry = kopf.OperatorRegistry()

    def watch(resource: Resource) -> None:
        selector = dict([resource.selector.split("=", 1)]) if resource.selector else None

        @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry, labels=selector)  # type: ignore[untyped-decorator]
        async def seen(type: str | None, body: kopf.Body, **_: Any) -> None:  # kopf's name
            intake.event(resource.kind, type, body)
            if type is None and synced.is_set():
                sweep.soon()

    for resource in WATCHED:
        watch(resource)
    return registry


def kopf_settings() -> kopf.OperatorSettings:
    """worker_limit, idle_timeout and chunk_size belong together: any one alone is slower or larger than the defaults."""
    settings = kopf.OperatorSettings()
    settings.queueing.worker_limit = 100
    settings.queueing.idle_timeout = 0.01
    settings.watching.chunk_size = 500
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    return settings


async def run(settings: Settings) -> int:
    """The operator until SIGTERM (0) or the loss of the Lease (1)."""
    connection = connect()
    cluster, queue = Cluster(watched=frozenset(r.kind for r in WATCHED)), WorkQueue()
    intake = Intake(cluster, queue, keys_for)
    stop, synced = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    api = Api(connection, timeout=30)
    sweep = Sweep(api, settings.watch_namespaces, settings.sweep_seconds, intake.vanish)
    api.when_back = sweep.soon
    recorder = Recorder(api, settings.pod_name)
    leader = Leader(api, settings.namespace, settings.pod_name, settings.lease_seconds)
    workers = Workers(queue, cluster, Actor(api, cluster, recorder, leader.fence), recorder, settings, RECONCILERS)
    progress = ProgressEndpoint(
        api, cluster, settings.namespace, settings.pod_ip, settings.progress_port, queue.add, lambda: leader.is_leading
    )

    def complaints() -> list[str]:
        now = time.monotonic()
        heard = {
            kind: max(intake.heard.get(kind, 0.0), sweep.last.get(kind, 0.0)) for kind in (r.kind for r in WATCHED)
        }
        silent = [
            f"no list of {k} for {now - t:.0f} s"
            for k, t in heard.items()
            if t and now - t > settings.sweep_seconds + SILENCE_SECONDS
        ]
        stuck = [
            f"{key} is worked on for {now - t:.0f} s" for key, t in workers.busy.items() if now - t > STUCK_SECONDS
        ]
        return silent + stuck

    register(
        StateCollector(
            cluster,
            lambda: {"queue_depth": queue.depth, "queue_age_seconds": queue.age, "leading": float(leader.is_leading)},
        )
    )
    health = Health(complaints, synced.is_set, settings.metrics_port)
    await _require_crds(api)
    lost = False
    async with asyncio.TaskGroup() as group:
        background = [
            group.create_task(health.run()),
            group.create_task(_watch(settings, intake, sweep, synced, stop)),
            group.create_task(recorder.run()),
        ]
        await _fill(api, settings, sweep, synced, intake)
        background += [group.create_task(sweep.run()), group.create_task(progress.serve())]
        leading = group.create_task(leader.run())
        ended = group.create_task(stop.wait())
        first = group.create_task(leader.leading.wait())
        await asyncio.wait({leading, ended, first}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            log.info("leading", extra={"identity": settings.pod_name})
            background.append(group.create_task(progress.lead()))
            await asyncio.wait({group.create_task(progress.ready.wait()), ended}, return_when=asyncio.FIRST_COMPLETED)
            intake.resync()
            background.append(group.create_task(_resync(intake, settings.resync_seconds)))
            working = group.create_task(workers.run())
            await asyncio.wait({leading, ended, working}, return_when=asyncio.FIRST_COMPLETED)
            lost = not ended.done()
            stop.set()
            queue.close()
            await asyncio.wait({working}, timeout=GRACE_SECONDS)
            working.cancel()
        await recorder.drain(1.0)
        leading.cancel()
        if not lost:
            await leader.release()
        for task in (*background, first):
            task.cancel()
    await api.close()
    log.info("stopped", extra={"lease_lost": lost})
    return 1 if lost else 0


async def _watch(settings: Settings, intake: Intake, sweep: Sweep, synced: asyncio.Event, stop: asyncio.Event) -> None:
    """kopf, until `stop`. It takes the signals of the process for itself, so its end is the process' wish to end."""
    registry = registry_for(intake, sweep, synced)

    @kopf.on.login(registry=registry)  # type: ignore[untyped-decorator]
    def login(**arguments: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)

    await kopf.operator(
        registry=registry,
        settings=kopf_settings(),
        namespaces=list(settings.watch_namespaces),
        standalone=True,
        stop_flag=stop,
    )
    stop.set()


async def _fill(api: Api, settings: Settings, sweep: Sweep, synced: asyncio.Event, intake: Intake) -> None:
    """Ready when the cache holds all that a fresh list names: deciding earlier would take a late list for deletions."""
    while not synced.is_set():
        missing = 0
        try:
            for resource in WATCHED:
                for namespace in settings.watch_namespaces:
                    items, _ = await api.items(resource, namespace, selector=resource.selector)
                    for item in items:
                        known = intake.cluster.get(resource.kind, namespace, item["metadata"]["name"])
                        missing += known is None
        except ApiError as error:
            log.warning("the caches are not filled yet", extra={"error": str(error)})
            missing = 1
        if missing:
            await asyncio.sleep(0.3)
        else:
            synced.set()


async def _resync(intake: Intake, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        intake.resync()


async def _require_crds(api: Api) -> None:
    for kind in KINDS:
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind.plural}.{GROUP}"
        try:
            await api.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                cure = "install the chart with crds.enabled=true, or kubectl apply --server-side -f crds/"
                raise SystemExit(f"the CustomResourceDefinition {kind.plural}.{GROUP} is missing; {cure}") from error
            raise SystemExit(f"the API server does not let us see our own kinds: {error}") from error


def main() -> int:
    """Read settings, run."""
    settings = Settings()
    logs.set_up(settings.log_level)
    return asyncio.run(run(settings))
