"""The values a reconcile passes around: which object (Key), what to change (Plan). Printable, comparable, no I/O.

A reconcile is observe → decide → act. `decide` returns a Plan, `act` is the only code that carries one out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One custom resource to reconcile."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Ref:
    """One object to delete. With `uid` and `resource_version` the API server refuses a delete decided on older facts."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str | None = None


@dataclass(frozen=True, slots=True)
class Create:
    """Create once, never re-apply (Jobs, Adapters, ConfigMaps). An existing object of the name is success, unless
    `name_is_taken_by_race`: then the caches are read anew and the key decided again (versions are taken by creation).

    `unless_labelled`: a live list by this label selector comes first; any hit means it was created already.
    """

    manifest: Manifest = field(hash=False)
    unless_labelled: str | None = None
    name_is_taken_by_race: bool = False


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply, again and again (Deployments, Engines). A field manager owns the fields it sends, so two managers
    can change different parts of one object without touching each other's."""

    manifest: Manifest = field(hash=False)
    field_manager: str = "clara-operator"


@dataclass(frozen=True, slots=True)
class Patch:
    """A few fields of an object that is otherwise never written again (a Job's spec.suspend): a JSON merge patch, refused
    by the API server when the object is another one, or newer than the one this was decided on."""

    ref: Ref
    body: Manifest = field(hash=False)


@dataclass(frozen=True, slots=True)
class Event:
    """An event on the reconciled object, emitted only when the plan's status write succeeded."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class StatusWrite:
    """The whole status of one object, valid only for the resourceVersion it was decided on (409 = look again)."""

    resource_version: str
    status: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one pass wants to change."""

    create: tuple[Create, ...] = ()  # once: Jobs, ConfigMaps, Adapters
    apply: tuple[Apply, ...] = ()  # again and again: Deployments, Services, Engines (server-side apply)
    patch: tuple[Patch, ...] = ()  # a few fields of what is never applied: spec.suspend of Jobs
    delete: tuple[Ref, ...] = ()
    status: StatusWrite | None = None  # None: nothing changed
    events: tuple[Event, ...] = ()
    again_after: timedelta | None = None  # look again then, even if nothing happens

    @property
    def is_empty(self) -> bool:
        """Nothing to write."""
        return not (self.create or self.apply or self.patch or self.delete or self.status or self.events)
