"""The only reader: a projected cache of the watched kinds, and the last progress of each run.

Filled by watches (`main.py`) and corrected by sweeps; a list replaces what is there, because a watch that was down sends no
DELETED for what vanished meanwhile. Everything handed out is a plain dict that nobody changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from clara_operator.plan import Manifest

ObjectKey = tuple[str, str]  # namespace, name


@dataclass(frozen=True, slots=True)
class ProgressSample:
    """One believed progress message: it carried a step."""

    at: datetime
    step: int
    total_steps: int
    epoch: float | None = None
    loss: float | None = None
    tokens_per_second: float | None = None


@dataclass(slots=True)
class Cluster:
    """What the operator knows. Single-threaded: only the event loop touches it."""

    _kinds: dict[str, dict[ObjectKey, Manifest]] = field(default_factory=dict)
    _progress: dict[tuple[str, str, int], deque[ProgressSample]] = field(default_factory=dict)
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
        """Keep the newest samples of one attempt; a step that goes back starts anew (a resumed run)."""
        samples = self._progress.setdefault((namespace, job, attempt), deque(maxlen=32))
        if samples and sample.step < samples[-1].step:
            samples.clear()
        samples.append(sample)

    def forget_progress(self, namespace: str, job: str) -> None:
        """A TrainingJob is gone."""
        for key in [k for k in self._progress if k[:2] == (namespace, job)]:
            del self._progress[key]
