"""The only writer: carries out a Plan, in the order create, patch, apply, delete, status, events.

Every write asks the fence first: a process that lost its Lease writes nothing more. Conflicts are told by the API server: a
status is applied with the resourceVersion it was decided on; patches and deletes carry uid and resourceVersion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from clara_api.digests import json_digest
from clara_api.meta import API_VERSION

from clara_operator.cluster import Cluster
from clara_operator.errors import ApiError, Temporary, translated
from clara_operator.metrics import WRITES, note_training_status
from clara_operator.plan import Apply, Create, Key, Manifest, Patch, Plan, Ref
from clara_operator.projection import project
from clara_operator.recorder import Recorder
from clara_operator.runtime.api import MERGE, Api
from clara_operator.runtime.resources import BY_KIND, resource_of

STATUS_MANAGER = "clara-status"
CONFLICT_DELAY = 0.05  # seconds: the watch brings the newer object in a few milliseconds


@dataclass(slots=True)
class Actor:
    """Carries out plans. `fence` raises LeaseLost when this process may not write."""

    api: Api
    cluster: Cluster
    recorder: Recorder
    fence: Callable[[], None]
    learn: Callable[[str, Manifest], None] | None = None  # the intake: what is read live wakes whoever depends on it
    _applied: dict[tuple[str, str, str, str], tuple[str, str]] = field(default_factory=dict)

    async def act(self, key: Key, plan: Plan) -> str | None:
        """Do it all; Temporary or Permanent when the API server refuses. Returns the resourceVersion of the status written."""
        coming = self.cluster.announce(plan)  # before the first await: whoever decides meanwhile counts it
        try:
            for create in plan.create:
                await self._create(create)
            for patch in plan.patch:
                await self._patch(patch)
            await self._apply_all(plan.apply)
            for ref in plan.delete:
                await self._delete(ref)
            written = await self._status(key, plan)
        except ApiError as error:
            raise translated(error, f"writing for {key}") from error
        finally:
            self.cluster.settle(coming)
        obj = self.cluster.get(key.kind, key.namespace, key.name)
        if obj is not None:
            for event in plan.events:
                self.recorder.record(key, obj["metadata"]["uid"], event)
        return written

    async def _create(self, create: Create) -> None:
        manifest = create.manifest
        meta = manifest["metadata"]
        resource = resource_of(manifest["apiVersion"], manifest["kind"])
        if create.unless_labelled is not None:
            there, _ = await self.api.items(resource, meta["namespace"], selector=create.unless_labelled)
            if there:
                for obj in there:
                    self._remember(manifest["kind"], obj)
                return
        self.fence()
        try:
            made = await self.api.request("POST", resource.path(meta["namespace"]), body=manifest)
        except ApiError as error:
            if error.status != 409 or error.reason != "AlreadyExists":
                raise
            if create.name_is_taken_by_race:
                found, _ = await self.api.items(resource, meta["namespace"], selector="")
                for obj in found:
                    self._remember(manifest["kind"], obj)
                raise Temporary(f"{manifest['kind']} {meta['name']} was taken meanwhile", CONFLICT_DELAY) from error
            return
        WRITES.labels(manifest["kind"], "create").inc()
        self._remember(manifest["kind"], made)

    async def _patch(self, patch: Patch) -> None:
        """Gone or changed meanwhile: it is looked at again."""
        self.fence()
        ref = patch.ref
        told = {"uid": ref.uid} | ({"resourceVersion": ref.resource_version} if ref.resource_version else {})
        body = patch.body | {"metadata": {**patch.body.get("metadata", {}), **told}}
        path = resource_of(ref.api_version, ref.kind).path(ref.namespace, ref.name)
        try:
            made = await self.api.request("PATCH", path, body=body, content_type=MERGE)
        except ApiError as error:
            if error.status in (404, 409):
                raise Temporary(
                    f"{ref.kind} {ref.name} changed meanwhile; it is looked at again", CONFLICT_DELAY
                ) from error
            raise
        WRITES.labels(ref.kind, "patch").inc()
        self._remember(ref.kind, made)

    def _remember(self, kind: str, obj: Manifest) -> None:
        """What was read live is as good as a watch event, and must wake as many: its own echo will look like no change."""
        if kind not in self.cluster.watched:
            return
        if self.learn is not None:
            self.learn(kind, obj)
        elif self.cluster.get(kind, obj["metadata"]["namespace"], obj["metadata"]["name"]) is None:
            self.cluster.put(kind, project(kind, {"kind": kind, **obj}))

    async def _apply_all(self, applies: tuple[Apply, ...]) -> None:
        """Different objects at the same time: an alias waits for the slowest engine, not for the sum. One object in order."""
        by_object: dict[tuple[str, str], list[Apply]] = {}
        for apply in applies:
            by_object.setdefault((apply.manifest["kind"], apply.manifest["metadata"]["name"]), []).append(apply)

        async def in_order(group: list[Apply]) -> None:
            for apply in group:
                await self._apply(apply)

        results = await asyncio.gather(*map(in_order, by_object.values()), return_exceptions=True)
        for error in filter(None, results):  # all have ended before the first error is raised
            raise error

    async def _apply(self, apply: Apply) -> None:
        """Server-side apply, unless the object still is what this very apply made of it: then there is nothing to write."""
        manifest = apply.manifest
        meta = manifest["metadata"]
        slot = (manifest["kind"], meta["namespace"], meta["name"], apply.field_manager)
        wanted = json_digest(manifest)
        live = self.cluster.get(manifest["kind"], meta["namespace"], meta["name"])
        if live is not None and self._applied.get(slot) == (wanted, _state(live)):
            return
        self.fence()
        resource = resource_of(manifest["apiVersion"], manifest["kind"])
        made = await self.api.apply(resource, manifest, manager=apply.field_manager)
        WRITES.labels(manifest["kind"], "apply").inc()
        self._applied[slot] = (wanted, _state(made))

    async def _delete(self, ref: Ref) -> None:
        self.fence()
        preconditions = {"uid": ref.uid} | ({"resourceVersion": ref.resource_version} if ref.resource_version else {})
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": preconditions,
        }
        try:
            await self.api.request(
                "DELETE", resource_of(ref.api_version, ref.kind).path(ref.namespace, ref.name), body=body
            )
        except ApiError as error:
            if error.status != 404:
                raise
        WRITES.labels(ref.kind, "delete").inc()

    async def _status(self, key: Key, plan: Plan) -> str | None:
        if plan.status is None:
            return None
        self.fence()
        body = {
            "apiVersion": API_VERSION,
            "kind": key.kind,
            "metadata": {"name": key.name, "namespace": key.namespace, "resourceVersion": plan.status.resource_version},
            "status": dict(plan.status.status),
        }
        try:
            made = await self.api.apply(BY_KIND[key.kind], body, manager=STATUS_MANAGER, subresource="status")
        except ApiError as error:
            if error.status in (404, 409):
                raise Temporary(f"{key} changed meanwhile; it is looked at again", CONFLICT_DELAY) from error
            raise
        WRITES.labels(key.kind, "status").inc()
        if key.kind == "TrainingJob":
            before = self.cluster.get(key.kind, key.namespace, key.name) or {}
            note_training_status(before.get("status") or {}, plan.status.status)
        return str(made["metadata"]["resourceVersion"])


def _state(obj: Manifest) -> str:
    """What changes when somebody else changes the spec: uid and generation."""
    meta = obj["metadata"]
    return f"{meta['uid']}/{meta.get('generation', 0)}"
