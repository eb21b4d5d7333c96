"""What the vLLM container asks of the sidecar beside it, over a unix socket in the folder that both mount.

`python -m clara_agent drain`, the preStop hook: drain, and wait. The guard: read the signing keys again.
Little but the standard library: a grace period is running, or vLLM's event loop is waiting.
"""

from __future__ import annotations

import http.client
import logging
import socket
from contextlib import suppress
from pathlib import Path

from clara_agent.settings import DrainSettings

log = logging.getLogger(__name__)

SOCKET = "agent.sock"  # in the secret dir, which both containers mount
SPARE_SECONDS = 5.0
ASK_SECONDS = 0.05  # the guard's answer does not wait for it


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


def ask_for_keys(folder: Path) -> None:
    """Tell the sidecar that a token named an unknown signing key; does not wait for it."""
    connection = _UnixConnection(folder / SOCKET, ASK_SECONDS)
    with suppress(OSError):
        connection.request("POST", "/keys")
    connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("agent", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
