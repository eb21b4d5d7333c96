"""The only reader: a projected cache of the watched kinds, and the last progress of each run.

Filled by watches (`main.py`) and corrected by sweeps; a list replaces what is there, because a watch that was down sends no
DELETED for what vanished meanwhile. Everything handed out is a plain dict that nobody changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from datetime import datetime

from clara_api.training_job import DataReport, MemoryPlan

from clara_operator.plan import Manifest, Plan

ObjectKey = tuple[str, str]  # namespace, name


@dataclass(frozen=True, slots=True)
class ProgressSample:
    """What one pod of a run has said until then. `step` is None while it has taken none: it fetches and checks."""

    at: datetime
    pod: str
    step: int | None = None
    total_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    tokens_per_second: float | None = None
    phase: str | None = None
    learning_rate: float | None = None
    checkpoint_step: int | None = None
    resumed_from_step: int | None = None
    interruptions: int | None = None
    peak_memory_bytes: int | None = None
    memory: MemoryPlan | None = None
    data: DataReport | None = None

    def after(self, earlier: ProgressSample) -> ProgressSample:
        """With what an earlier message of the pod said and this one does not repeat."""
        silent = [f.name for f in fields(self) if getattr(self, f.name) is None]
        return replace(self, **{name: getattr(earlier, name) for name in silent})


@dataclass(slots=True)
class Cluster:
    """What the operator knows. Single-threaded: only the event loop touches it."""

    _kinds: dict[str, dict[ObjectKey, Manifest]] = field(default_factory=dict)
    _progress: dict[tuple[str, str, int], deque[ProgressSample]] = field(default_factory=dict)
    _coming: list[tuple[str, Manifest]] = field(default_factory=list)
    watched: frozenset[str] = frozenset()
    progress_ca: str = ""  # CA bundle of the progress endpoint, put into each run

    # -- reading ------------------------------------------------------------------------------------------------------
    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """The object, or None."""
        return self._kinds.get(kind, {}).get((namespace, name))

    def all(self, kind: str, namespace: str, **labels: str) -> list[Manifest]:
        """Objects of a kind in a namespace that carry all `labels` (keys with '_' never occur: pass them by **{})."""
        found = (o for (ns, _), o in self._kinds.get(kind, {}).items() if ns == namespace)
        return [o for o in found if all((o["metadata"].get("labels") or {}).get(k) == v for k, v in labels.items())]

    def keys(self, kind: str) -> Iterator[ObjectKey]:
        """All (namespace, name) of a kind."""
        return iter(tuple(self._kinds.get(kind, {})))

    def progress(self, namespace: str, job: str, attempt: int) -> tuple[ProgressSample, ...]:
        """Samples of one attempt, oldest first."""
        return tuple(self._progress.get((namespace, job, attempt), ()))

    def with_coming(self, kind: str, namespace: str) -> list[Manifest]:
        """`all`, as it will be when the writes that are on their way have arrived."""
        found = {o["metadata"]["name"]: o for o in self.all(kind, namespace)}
        for coming, obj in self._coming:
            if coming == kind and obj["metadata"]["namespace"] == namespace:
                found[obj["metadata"]["name"]] = obj
        return list(found.values())

    # -- our own writes, on their way ---------------------------------------------------------------------------------
    def announce(self, plan: Plan) -> list[tuple[str, Manifest]]:
        """What a plan is about to create or patch counts for whoever decides meanwhile; hand the result to `settle`."""
        coming = [(c.manifest["kind"], c.manifest) for c in plan.create]
        for patch in plan.patch:
            there = self.get(patch.ref.kind, patch.ref.namespace, patch.ref.name)
            if there is not None:
                spec = {**(there.get("spec") or {}), **patch.body.get("spec", {})}
                coming.append((patch.ref.kind, {**there, "spec": spec}))
        self._coming.extend(coming)
        return coming

    def settle(self, coming: list[tuple[str, Manifest]]) -> None:
        """They arrived, and the cache holds them; or they were refused."""
        ours = {id(obj) for _, obj in coming}
        self._coming = [entry for entry in self._coming if id(entry[1]) not in ours]

    # -- feeding ------------------------------------------------------------------------------------------------------
    def put(self, kind: str, obj: Manifest) -> Manifest | None:
        """Store a newer state; returns the one before. An older resourceVersion of the same uid is ignored by the caller."""
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        objects = self._kinds.setdefault(kind, {})
        old = objects.get(key)
        objects[key] = obj
        return old

    def forget(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Drop an object; returns what was known."""
        return self._kinds.get(kind, {}).pop((namespace, name), None)

    def vanished(self, kind: str, namespace: str, present: Iterable[str]) -> list[ObjectKey]:
        """What the cache holds of a namespace and a fresh list does not."""
        alive = set(present)
        return [k for k in self._kinds.get(kind, {}) if k[0] == namespace and k[1] not in alive]

    def record_progress(self, namespace: str, job: str, attempt: int, sample: ProgressSample) -> None:
        """Keep the newest samples of an attempt's newest pod. A message without a step changes what the last one said."""
        samples = self._progress.setdefault((namespace, job, attempt), deque(maxlen=32))
        if samples and samples[-1].pod != sample.pod:
            samples.clear()
        if not samples:
            samples.append(sample)
            return
        last = samples[-1]
        if sample.step is None or last.step is None:
            at = last.at if sample.step is None else sample.at
            samples[-1] = replace(sample.after(last), at=at)
            return
        if sample.step < last.step:
            samples.clear()
        samples.append(sample.after(last))

    def forget_progress(self, namespace: str, job: str) -> None:
        """A TrainingJob is gone."""
        for key in [k for k in self._progress if k[:2] == (namespace, job)]:
            del self._progress[key]
