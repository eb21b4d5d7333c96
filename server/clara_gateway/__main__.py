"""python -m clara_gateway: watch the cluster, serve the OpenAI API, end politely on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import uvloop
from clara_watch.api import ApiClient
from clara_watch.connection import ConfigurationError
from pydantic import ValidationError

from clara_gateway.app import Gateway
from clara_gateway.auth import KeyFileError
from clara_gateway.knowledge import Knowledge
from clara_gateway.logs import log_json_lines
from clara_gateway.settings import Settings
from clara_gateway.watches import Watches

log = logging.getLogger("clara_gateway")


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises KeyFileError when production has no keys."""
    knowledge = Knowledge()
    client = await (ApiClient.from_kubeconfig(settings.kubeconfig) if settings.kubeconfig else ApiClient.in_cluster())
    try:
        watches = Watches(client, settings.watch_namespaces, knowledge)
        gateway = Gateway(settings, knowledge, watch_age=watches.age)
        await gateway.start()
        announce(settings, gateway)
        watching = asyncio.create_task(watches.run())
        leave = asyncio.create_task(asked_to_leave())
        await asyncio.wait((watching, leave), return_when=asyncio.FIRST_COMPLETED)
        await gateway.stop()
        leave.cancel()
        watching.cancel()
        await asyncio.gather(watching, leave, return_exceptions=True)
        if not watching.cancelled():
            watching.result()  # it never ends by itself: this raises what broke it
    finally:
        await client.close()


async def asked_to_leave() -> None:
    """Until the first SIGTERM or SIGINT."""
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    await asked.wait()


def announce(settings: Settings, gateway: Gateway) -> None:
    """Say what is open to whom."""
    where = ", ".join(settings.watch_namespaces) or "the whole cluster"
    log.info("listening on %s:%d, metrics on %d, watching %s", settings.host, gateway.port, gateway.metrics_port, where)
    if settings.security_mode == "development":
        log.warning(
            "CLARA_SECURITY_MODE=development: everyone who reaches %s:%d may use every model without a key; "
            "publish this port on 127.0.0.1 only",
            settings.host,
            gateway.port,
        )


def main() -> int:
    """Exit code 2: the settings or keys must be repaired first."""
    log_json_lines()
    try:
        uvloop.run(serve(Settings()))
    except (ConfigurationError, KeyFileError, ValidationError) as error:
        log.error("not starting: %s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
