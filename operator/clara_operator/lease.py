"""Which replica leads: a Lease, renewed by a third of its length, released on shutdown so that take-over is fast.

The right to write is a deadline on the monotonic clock of this process, taken before the request that renewed it was sent.
That clock goes on while the process is frozen (SIGSTOP), so a leader that wakes up after its Lease has passed finds the
deadline behind it and writes nothing; it ends, and starts again as a standby.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from clara_operator.errors import ApiError, LeaseLost
from clara_operator.plan import Manifest
from clara_operator.runtime.api import Api
from clara_operator.runtime.resources import LEASE

log = logging.getLogger("clara.lease")
NAME = "clara-operator"
SAFETY = 0.8  # share of the Lease after which we stop writing: clocks of two machines need not run equally fast


@dataclass(slots=True)
class Leader:
    """Holds, renews and releases the Lease."""

    api: Api
    namespace: str
    identity: str
    seconds: int
    clock: Callable[[], float] = time.monotonic
    _deadline: float = 0.0
    _seen: tuple[str, float] = ("", 0.0)  # the Lease's resourceVersion as last seen, and since when
    leading: asyncio.Event = field(default_factory=asyncio.Event)

    def fence(self) -> None:
        """LeaseLost when this process may not write (any more)."""
        if self.clock() >= self._deadline:
            raise LeaseLost("the Lease has passed; another replica may be leading")

    @property
    def is_leading(self) -> bool:
        """Whether a write would be allowed now."""
        return self.clock() < self._deadline

    async def run(self) -> None:
        """Try to lead, then renew; returns when the Lease is lost after it was held."""
        while True:
            held = await self._try()
            if held:
                self.leading.set()
            elif self.leading.is_set() and not self.is_leading:
                log.error("the Lease is lost", extra={"identity": self.identity})
                return
            await asyncio.sleep(self.seconds / 3 if held else self.seconds / 8)

    async def release(self) -> None:
        """Give it back: the next replica takes over at once."""
        if not self.is_leading:
            return
        self._deadline = 0.0
        try:
            lease = await self.api.request("GET", LEASE.path(self.namespace, NAME))
            if (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                await self._write(lease, holder="")
        except ApiError as error:
            log.warning("the Lease was not released", extra={"error": str(error)})

    async def _try(self) -> bool:
        started = self.clock()
        try:
            held = await self._take()
        except ApiError as error:
            log.warning("the Lease could not be renewed", extra={"error": str(error)})
            return False
        if held:
            self._deadline = started + self.seconds * SAFETY
        return held

    async def _take(self) -> bool:
        try:
            lease = await self.api.request("GET", LEASE.path(self.namespace, NAME))
        except ApiError as error:
            if error.status != 404:
                raise
            body = self._manifest({"metadata": {"name": NAME, "namespace": self.namespace}}, self.identity)
            await self.api.request("POST", LEASE.path(self.namespace), body=body)
            return True
        spec, version = lease.get("spec") or {}, lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, self.clock())
        holder = spec.get("holderIdentity") or ""
        expired = self.clock() - self._seen[1] > (spec.get("leaseDurationSeconds") or self.seconds)
        if holder not in ("", self.identity) and not expired:
            return False
        if holder == self.identity and self.leading.is_set() and not self.is_leading:
            return False  # we slept through our own Lease: end, do not go on as if nothing had happened
        return await self._write(lease, holder=self.identity)

    async def _write(self, lease: Manifest, *, holder: str) -> bool:
        try:
            await self.api.request("PUT", LEASE.path(self.namespace, NAME), body=self._manifest(lease, holder))
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return True

    def _manifest(self, lease: Manifest, holder: str) -> Manifest:
        old = lease.get("spec") or {}
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        same = old.get("holderIdentity") == holder
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": lease["metadata"],
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": self.seconds,
                "acquireTime": old.get("acquireTime", stamp) if same else stamp,
                "renewTime": stamp,
                "leaseTransitions": (old.get("leaseTransitions") or 0) + (0 if same or not holder else 1),
            },
        }
