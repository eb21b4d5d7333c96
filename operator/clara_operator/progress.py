"""Arrow 2: the HTTPS endpoint where running trainers report (handoff/progress.py).

Only the leader is behind the Service `clara-progress` (progress_address.py). A message is believed when its token is
of the namespace's `clara-trainer`, is bound to a pod we know, and that pod belongs to the run named in the path.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from clara_api import labels
from clara_api.handoff.progress import AUDIENCE, MAX_BODY_BYTES, ProgressMessage
from pydantic import ValidationError

from clara_operator.cluster import Cluster
from clara_operator.errors import ApiError
from clara_operator.metrics import PROGRESS_MESSAGES
from clara_operator.plan import Key
from clara_operator.progress_address import ProgressAddress
from clara_operator.progress_sample import sample_of
from clara_operator.runtime.api import Api
from clara_operator.runtime.rate import Rate

TRAINER = "clara-trainer"
REVIEW_SECONDS = 60.0  # how long a token's review is believed
WAKE_SECONDS = 1.0
RATE_SECONDS = 10.0
MESSAGES = 100  # per pod in RATE_SECONDS: ten steps a second, each reported
STRANGERS = 30  # per address in RATE_SECONDS


class Refusal(Exception):
    """An answer of 400 and above."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class ProgressEndpoint:
    """Serves on every replica; the address names the leader."""

    api: Api
    cluster: Cluster
    address: ProgressAddress
    wake: Callable[[Key, float], None]  # look at the key after so many seconds
    is_leading: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic
    _reviews: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)
    _woken: dict[Key, float] = field(default_factory=dict)
    _messages: Rate = field(init=False)  # by pod uid
    _strangers: Rate = field(init=False)  # tokens not seen before, by address: each costs the API server a review

    def __post_init__(self) -> None:
        self._messages = Rate(MESSAGES, RATE_SECONDS, self.clock)
        self._strangers = Rate(STRANGERS, RATE_SECONDS, self.clock)

    async def serve(self) -> None:
        """Answer until cancelled; waits for the first keys."""
        await self.address.ready.wait()
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes([web.post("/v1/namespaces/{namespace}/trainingjobs/{name}/attempts/{attempt}", self._post)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, port=self.address.port, ssl_context=self.address.tls).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _post(self, request: web.Request) -> web.Response:
        try:
            await self._believe(request)
            status, message = 200, "ok"
        except Refusal as refusal:
            status, message = refusal.status, str(refusal)
        except web.HTTPRequestEntityTooLarge:
            status, message = 413, f"a progress message has at most {MAX_BODY_BYTES} bytes"
        PROGRESS_MESSAGES.labels(str(status)).inc()
        headers = {"Retry-After": f"{RATE_SECONDS:.0f}"} if status in (429, 503) else {}
        return web.json_response({"message": message}, status=status, headers=headers)

    async def _believe(self, request: web.Request) -> None:
        if not self.is_leading():
            raise Refusal(503, "this replica does not lead; try again")
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        attempt = request.match_info["attempt"]
        if not attempt.isdigit():
            raise Refusal(404, "attempts are numbers")
        pod = await self._authorize(request, namespace, name, attempt)
        try:
            message = ProgressMessage.model_validate_json(await request.read())
        except ValidationError as error:
            raise Refusal(400, f"no KEP-2779 message: {error.errors()[0]['msg']}") from error
        sample = sample_of(message, pod, datetime.now(UTC))
        if sample is None:
            return
        self.cluster.record_progress(namespace, name, int(attempt), sample)
        self._wake(Key("TrainingJob", namespace, name))

    def _wake(self, key: Key) -> None:
        """At most once per second and job, however many steps a second takes."""
        now = self.clock()
        last = self._woken.get(key, now - WAKE_SECONDS)
        if last > now:
            return  # it will be looked at anyway
        due = max(now, last + WAKE_SECONDS)
        self._woken = {k: v for k, v in self._woken.items() if v > now - WAKE_SECONDS} | {key: due}
        self.wake(key, due - now)

    async def _authorize(self, request: web.Request, namespace: str, name: str, attempt: str) -> str:
        """The pod's name; a Refusal when it may not speak for this run."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            raise Refusal(401, "a projected ServiceAccount token is needed: Authorization: Bearer …")
        user = await self._review(token, request.remote or "")
        if user.get("username") != f"system:serviceaccount:{namespace}:{TRAINER}":
            raise Refusal(403, f"only ServiceAccount {TRAINER} of namespace {namespace} reports here")
        extra = user.get("extra") or {}
        pod_name = next(iter(extra.get("authentication.kubernetes.io/pod-name") or []), "")
        pod_uid = next(iter(extra.get("authentication.kubernetes.io/pod-uid") or []), "")
        pod = self.cluster.get("Pod", namespace, pod_name)
        if pod is None or pod["metadata"]["uid"] != pod_uid:
            raise Refusal(403, "the token belongs to no pod that is known here")
        marks = pod["metadata"].get("labels") or {}
        if marks.get(labels.TRAINING_JOB) != labels.label_value(name) or marks.get(labels.ATTEMPT) != attempt:
            raise Refusal(403, f"pod {pod_name} does not belong to attempt {attempt} of TrainingJob {name}")
        if not self._messages.allows(pod_uid):
            raise Refusal(429, f"at most {MESSAGES} messages in {RATE_SECONDS:.0f} s; report every few steps")
        return pod_name

    async def _review(self, token: str, address: str) -> dict[str, Any]:
        """The user behind a token, as the API server says."""
        slot, now = hashlib.sha256(token.encode()).hexdigest(), self.clock()
        known = self._reviews.get(slot)
        if known is not None and now - known[0] < REVIEW_SECONDS:
            return known[1]
        if not self._strangers.allows(address):
            raise Refusal(429, f"too many new tokens from {address}; wait {RATE_SECONDS:.0f} s")
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        try:
            answer = await self.api.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=body)
        except ApiError as error:
            raise Refusal(503, "the token could not be reviewed; try again") from error
        status = answer.get("status") or {}
        if not status.get("authenticated") or AUDIENCE not in (status.get("audiences") or []):
            raise Refusal(401, f"the token is not valid for audience {AUDIENCE}")
        self._reviews = {k: v for k, v in self._reviews.items() if now - v[0] < REVIEW_SECONDS}
        user: dict[str, Any] = status.get("user") or {}
        self._reviews[slot] = (now, user)
        return user
