"""`python -m clara_agent drain`: preStop hook of the vLLM container. Asks the sidecar to drain, and waits.

Little but the standard library: the grace period is running while this starts.
"""

from __future__ import annotations

import http.client
import logging
import socket
from pathlib import Path

from clara_agent.settings import DrainSettings

log = logging.getLogger(__name__)

SOCKET = "agent.sock"  # in the secret dir, which both containers mount
SPARE_SECONDS = 5.0


def drain(settings: DrainSettings) -> int:
    """Ask and wait. Always 0: without an agent, vLLM's own --shutdown-timeout drains."""
    connection = _UnixConnection(settings.engine_secret_dir / SOCKET, settings.drain_seconds + SPARE_SECONDS)
    try:
        connection.request("POST", f"/drain?seconds={settings.drain_seconds}")
        log.info("drained: %s", connection.getresponse().read().decode())
    except (OSError, http.client.HTTPException) as error:
        log.warning("the agent does not answer (%s); vLLM ends its requests by itself", error)
    finally:
        connection.close()
    return 0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("agent", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
