"""`python -m clara_agent run`: wire everything and live until the pod ends.

On SIGTERM it says draining and stays while vLLM lives: native sidecars are stopped after the main containers.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack

import aiohttp
from clara_watch.api import ApiClient
from clara_watch.reflector import Reflector

from clara_agent.drain import Drain
from clara_agent.engine_object import EngineObject
from clara_agent.fetch import Place
from clara_agent.keys import keep_keys_fresh, local_token
from clara_agent.loop import Loop
from clara_agent.metrics import Metrics
from clara_agent.publish import Publisher, engine_path
from clara_agent.settings import AgentSettings
from clara_agent.vllm import Vllm
from clara_agent.web import Web
from clara_agent.work import Worker


async def run(settings: AgentSettings) -> int:
    """Returns the exit code; an error in one of the endless tasks ends all of them."""
    wake, stopping, keys_asked = asyncio.Event(), asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    metrics = Metrics()
    token = local_token(settings.engine_secret_dir)  # before anything can fail: vLLM's guard waits for it
    async with AsyncExitStack() as stack:
        api = await _client(settings)
        stack.push_async_callback(api.close)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        vllm = Vllm(session, settings.engine_url, token)
        reflector = Reflector(
            api,
            engine_path(settings.namespace),
            field_selector=f"metadata.name={settings.pod_name}",
            on_change=wake.set,
        )
        publisher = Publisher(api, namespace=settings.namespace, name=settings.pod_name, metrics=metrics)
        worker = Worker(vllm=vllm, place=_place(settings), metrics=metrics, on_done=wake.set)
        stack.push_async_callback(worker.close)
        loop = Loop(
            vllm=vllm,
            worker=worker,
            publisher=publisher,
            metrics=metrics,
            desired=EngineObject(reflector, namespace=settings.namespace, name=settings.pod_name).desired,
            folder=str(settings.adapter_dir),
            poll_seconds=settings.poll_seconds,
            wake=wake,
        )
        drain = Drain(loop, publisher, wake)
        web = Web(loop=loop, drain=drain, reflector=reflector, metrics=metrics, keys_asked=keys_asked)
        await web.start(host=settings.listen_host, port=settings.listen_port, secret_dir=settings.engine_secret_dir)
        stack.push_async_callback(web.stop)
        endless = [reflector.run(), publisher.run(), loop.run()]
        endless.append(keep_keys_fresh(api, settings.engine_secret_dir, settings.keys_seconds, keys_asked))
        tasks = [asyncio.create_task(task) for task in endless]
        ending = asyncio.create_task(_end_in_order(stopping, loop, drain, settings.poll_seconds))
        done, _ = await asyncio.wait([*tasks, ending], return_when=asyncio.FIRST_COMPLETED)
        for task in (*tasks, ending):
            task.cancel()
        await asyncio.gather(*tasks, ending, return_exceptions=True)
        for task in done:
            task.result()
    return 0


async def _end_in_order(stopping: asyncio.Event, loop: Loop, drain: Drain, poll_seconds: float) -> None:
    """After SIGTERM: say draining, stay until vLLM is gone; the kubelet's grace period bounds it."""
    await stopping.wait()
    await drain.announce()
    while loop.process.identity is not None:  # noqa: ASYNC110 - `loop` looks at its own pace
        await asyncio.sleep(poll_seconds)


async def _client(settings: AgentSettings) -> ApiClient:
    if settings.kubeconfig:
        return await ApiClient.from_kubeconfig(settings.kubeconfig)
    return await ApiClient.in_cluster()


def _place(settings: AgentSettings) -> Place:
    settings.adapter_dir.mkdir(parents=True, exist_ok=True)
    return Place(settings.adapter_dir, settings.base_dir, settings.volume_root, settings.max_adapter_bytes)
