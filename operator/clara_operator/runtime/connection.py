"""How this process reaches the API server: the pod's ServiceAccount, or KUBECONFIG outside a cluster.

One Connection is shared by kopf's watches and by our own requests; each makes its own aiohttp session from it, so that
kopf's shutdown never closes the session that releases the Lease.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import kopf

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API server is and who we are to it."""

    server: str
    tls: ssl.SSLContext
    fixed_headers: dict[str, str]
    token_file: Path | None = None  # read anew for each session and request: the kubelet rotates it

    def headers(self) -> dict[str, str]:
        """Headers that identify us now."""
        if self.token_file is None:
            return self.fixed_headers
        return {"Authorization": f"Bearer {self.token_file.read_text().strip()}"}

    def session(self, *traces: aiohttp.TraceConfig) -> aiohttp.ClientSession:
        """A new session; whoever asks for it closes it."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self.tls),
            headers=self.headers() | {"User-Agent": "clara-operator"},
            trace_configs=list(traces),
        )


def connect() -> Connection:
    """The connection of this process; SystemExit with the cure when there is none."""
    if (SERVICE_ACCOUNT / "token").exists():
        host = os.environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
        address = f"[{host}]" if ":" in host else host
        return Connection(
            server=f"https://{address}:{os.environ.get('KUBERNETES_SERVICE_PORT', '443')}",
            tls=ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt")),
            fixed_headers={},
            token_file=SERVICE_ACCOUNT / "token",
        )
    info = kopf.login_with_kubeconfig(settings=kopf.OperatorSettings())
    if info is None:
        raise SystemExit("no cluster: run in a pod with a ServiceAccount token, or set KUBECONFIG to a kubeconfig file")
    return Connection(server=info.server, tls=info.as_ssl_context(), fixed_headers=info.as_http_headers())
