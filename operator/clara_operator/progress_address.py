"""How trainers find the progress endpoint: its keys in a Secret, the leader's address in an EndpointSlice."""

from __future__ import annotations

import asyncio
import logging
import ssl
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime

from clara_operator import certificates
from clara_operator.certificates import Keys
from clara_operator.cluster import Cluster
from clara_operator.errors import ApiError
from clara_operator.runtime.api import Api
from clara_operator.runtime.resources import ENDPOINT_SLICE, SECRET

log = logging.getLogger("clara.progress")
RENEW_SECONDS = 3600.0
SECRET_NAME = "clara-progress-tls"


@dataclass(slots=True)
class ProgressAddress:
    """Published by the leader only. `tls` holds the newest keys; `ready` is set once there are any."""

    api: Api
    cluster: Cluster
    namespace: str
    pod_ip: str
    port: int
    tls: ssl.SSLContext = field(default_factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    async def lead(self) -> None:
        """What the leader does: keys in the Secret, its address in the EndpointSlice; then keep both fresh."""
        while True:
            try:
                await self._publish()
                delay = RENEW_SECONDS
            except ApiError as error:
                log.warning("the progress endpoint is not published yet", extra={"error": str(error)})
                delay = 2.0
            await asyncio.sleep(delay)

    async def _publish(self) -> None:
        keys = await self._keys()
        self._load(keys)
        self.cluster.progress_ca = keys.bundle
        manifest = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": certificates.NAME,
                "namespace": self.namespace,
                "labels": {
                    "kubernetes.io/service-name": certificates.NAME,
                    "endpointslice.kubernetes.io/managed-by": "clara",
                },
            },
            "addressType": "IPv6" if ":" in self.pod_ip else "IPv4",
            "endpoints": [{"addresses": [self.pod_ip], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "port": self.port, "protocol": "TCP"}],
        }
        await self.api.apply(ENDPOINT_SLICE, manifest, manager="clara-operator")
        self.ready.set()

    async def _keys(self) -> Keys:
        path = SECRET.path(self.namespace, SECRET_NAME)
        try:
            secret = await self.api.request("GET", path)
        except ApiError as error:
            if error.status != 404:
                raise
            secret = {}
        held = Keys.from_secret(secret.get("data") or {})
        keys = certificates.renewed(held, self.namespace, datetime.now(UTC))
        if keys == held:
            return keys
        meta = {"name": SECRET_NAME, "namespace": self.namespace}
        if version := (secret.get("metadata") or {}).get("resourceVersion"):
            meta["resourceVersion"] = version
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": keys.to_secret()}
        if secret:
            await self.api.request("PUT", path, body=body)
        else:
            await self.api.request("POST", SECRET.path(self.namespace), body=body)
        log.info("made keys for the progress endpoint")
        return keys

    def _load(self, keys: Keys) -> None:
        """A running server takes the new certificate with the next handshake."""
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(keys.certificate + keys.key)
            file.flush()
            self.tls.load_cert_chain(file.name)
