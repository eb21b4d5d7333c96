"""Every kopf decorator of the project, and the wiring of the operator. Nothing else.

kopf runs and watches; our queue works. `on.event` only feeds the cache and puts a key into the queue. No finalizers, no
annotations, no timers, daemons, indexes or peering.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import kopf
from clara_api.kinds import KINDS
from clara_api.meta import GROUP

from clara_operator.act import Actor
from clara_operator.adapter.reconcile import reconcile as reconcile_adapter
from clara_operator.cluster import Cluster
from clara_operator.errors import ApiError
from clara_operator.golden_dataset.reconcile import reconcile as reconcile_golden_dataset
from clara_operator.health import Health
from clara_operator.lease import Leader
from clara_operator.metrics import StateCollector, register
from clara_operator.progress import ProgressEndpoint
from clara_operator.progress_address import ProgressAddress
from clara_operator.recorder import Recorder
from clara_operator.runtime import logs
from clara_operator.runtime.api import Api
from clara_operator.runtime.connection import Connection, connect
from clara_operator.runtime.intake import Intake, Triggers
from clara_operator.runtime.lifecycle import Parts, live
from clara_operator.runtime.queue import WorkQueue
from clara_operator.runtime.resources import WATCHED, Resource
from clara_operator.runtime.watches import STREAM_SECONDS, Watches
from clara_operator.runtime.workers import Reconcile, Workers
from clara_operator.serving_deployment.reconcile import reconcile as reconcile_serving_deployment
from clara_operator.settings import Settings
from clara_operator.sweep import Sweep
from clara_operator.training_job.reconcile import reconcile as reconcile_training_job
from clara_operator.triggers import keys_for

RECONCILERS: Mapping[str, Reconcile] = {
    "TrainingJob": reconcile_training_job,
    "Adapter": reconcile_adapter,
    "GoldenDataset": reconcile_golden_dataset,
    "ServingDeployment": reconcile_serving_deployment,
}


def registry_for(intake: Intake, watches: Watches, connection: Connection) -> kopf.OperatorRegistry:
    """kopf's handlers: one low-level watch per kind, and the session they share."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)  # type: ignore[untyped-decorator]
    async def login(**_: Any) -> kopf.AiohttpSession:  # asked again after a 401: the token was rotated
        return kopf.AiohttpSession(server=connection.server, aiohttp_session=connection.session(watches.trace()))

    def watch(resource: Resource) -> None:
        @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)  # type: ignore[untyped-decorator]
        async def seen(type: str | None, body: kopf.Body, namespace: str, **_: Any) -> None:  # kopf's names
            watches.event(resource.kind, namespace)
            intake.event(resource.kind, type, body)

    for resource in WATCHED:
        watch(resource)
    return registry


class Backoffs:
    """Seconds between attempts, without end: an API server that is away for minutes must not end the process."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.5, 1, 2, 3, 5), itertools.repeat(5))


def kopf_settings() -> kopf.OperatorSettings:
    """worker_limit, idle_timeout and chunk_size belong together: any one alone is slower or larger than the defaults."""
    settings = kopf.OperatorSettings()
    settings.queueing.worker_limit = 100
    settings.queueing.idle_timeout = 0.01
    settings.watching.chunk_size = 500
    settings.watching.server_timeout = STREAM_SECONDS
    settings.watching.client_timeout = STREAM_SECONDS + 30
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = Backoffs()
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    for resource in WATCHED:
        if resource.selector:  # on the server: a watch on all Pods of a namespace is the usual memory killer
            settings.watching.label_selectors[resource.group, resource.version, resource.plural] = resource.selector
    return settings


async def run(
    settings: Settings, reconcilers: Mapping[str, Reconcile] = RECONCILERS, triggers: Triggers = keys_for
) -> int:
    """Wire the parts and live: 0 after SIGTERM, 1 after the loss of the Lease."""
    connection = connect()
    api = Api(connection, timeout=settings.lease_seconds / 3)  # a write that hangs ends before the Lease does
    await require_crds(api)
    cluster, queue, synced = Cluster(watched=frozenset(r.kind for r in WATCHED)), WorkQueue(), asyncio.Event()
    intake = Intake(cluster, queue, triggers)
    sweep = Sweep(api, settings.watch_namespaces, settings.sweep_seconds, intake.vanish)
    api.when_back = sweep.soon
    watches = Watches(settings.watch_namespaces, after_gap=sweep.soon)
    recorder = Recorder(api, settings.pod_name)
    leader = Leader(api, settings.namespace, settings.pod_name, settings.lease_seconds)
    actor = Actor(api, cluster, recorder, leader.fence, lambda kind, obj: intake.event(kind, "ADDED", obj))
    workers = Workers(queue, cluster, actor, recorder, settings, reconcilers)
    address = ProgressAddress(api, cluster, settings.namespace, settings.pod_ip, settings.progress_port)
    progress = ProgressEndpoint(api, cluster, address, queue.add_after, lambda: leader.is_leading)
    health = Health(lambda: watches.silent() + workers.stuck(), synced.is_set, settings.metrics_port)
    stop = asyncio.Event()

    async def watch(finished: asyncio.Event) -> None:
        before = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=registry_for(intake, watches, connection),
            settings=kopf_settings(),
            namespaces=list(settings.watch_namespaces),
            standalone=True,
            identity=settings.pod_name,  # kopf would ask for the name of a user that no passwd file knows
            stop_flag=finished,
        )
        take_signals(stop)
        await kopf.run_tasks(tasks, ignored=before)

    def numbers() -> dict[str, float]:
        return {"queue_depth": queue.depth, "queue_age_seconds": queue.age, "leading": float(leader.is_leading)}

    def ages() -> dict[str, Mapping[str, float]]:
        return {"watch_age_seconds": watches.ages(), "list_age_seconds": sweep.ages()}

    register(StateCollector(cluster, numbers, ages))
    take_signals(stop)
    parts = Parts(
        queue, intake, sweep, recorder, leader, workers, progress, health, watch, settings.resync_seconds, synced, stop
    )
    try:
        return await live(parts)
    finally:
        await api.close()


def take_signals(stop: asyncio.Event) -> None:
    """Ours, after kopf took them for itself: it would cancel the reconciles in hand before they end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def require_crds(api: Api) -> None:
    """SystemExit with the cure when one of our kinds is missing; kopf would only warn and see nothing."""
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
