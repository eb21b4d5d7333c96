"""ListRun: print the Adapter objects that lie in the store beside their artifacts, one JSON document per line on stdout.

`kubectl clara import` reads the lines and applies them: the way back when every object is lost.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, TextIO

from clara_api.handoff.artifact import ADAPTER_OBJECT, MANIFEST
from clara_api.handoff.outcome import Outcome
from clara_api.handoff.run import LISTED, ListRun
from clara_api.meta import API_VERSION

from clara_trainer import manifests
from clara_trainer.objects import Objects

OBJECT_LIMIT = 256 << 10  # bytes
log = logging.getLogger(__name__)


def list_adapters(run: ListRun, objects: Objects, to: TextIO = sys.stdout) -> Outcome:
    """Every Adapter of the namespace, the oldest first: of one name the last line is the newest. Files that are none are
    counted and named in the log."""
    entries = sorted(objects.list(run.adapters_uri), key=lambda e: (e.written, e.path))
    paths = [entry.path for entry in entries]
    found, broken = 0, 0
    for path in (p for p in paths if p.rsplit("/", 1)[-1] == ADAPTER_OBJECT):
        uri = manifests.below(run.adapters_uri, path)
        try:
            adapter = _parse(objects.read(uri, limit=OBJECT_LIMIT) or b"", run.namespace)
        except ValueError as error:
            log.warning("%s is no Adapter of namespace %s (%s); it is passed over", uri, run.namespace, error)
            broken += 1
            continue
        print(json.dumps(adapter, separators=(",", ":")), file=to, flush=True)
        found += 1
    folders = {p.removesuffix(ADAPTER_OBJECT) for p in paths if p.endswith(f"/{ADAPTER_OBJECT}")}
    unnamed = [p for p in paths if p.endswith(f"/{MANIFEST}") and p.removesuffix(MANIFEST) not in folders]
    for path in sorted(unnamed):
        log.warning("%s has no %s: it was never an Adapter", manifests.below(run.adapters_uri, path), ADAPTER_OBJECT)
    print(json.dumps({"kind": LISTED, "count": found}), file=to, flush=True)  # so that a log that lost lines is noticed
    message = f"{found} Adapters, {broken} unreadable, {len(unnamed)} artifacts that never became an Adapter"
    return Outcome(result="Succeeded", message=message)


def _parse(data: bytes, namespace: str) -> dict[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict) or (value.get("apiVersion"), value.get("kind")) != (API_VERSION, "Adapter"):
        raise ValueError(f"it is no Adapter of {API_VERSION}")
    meta, spec = value.get("metadata"), value.get("spec")
    if not isinstance(meta, dict) or not isinstance(spec, dict) or meta.get("namespace") != namespace:
        raise ValueError("metadata.namespace or spec is another")
    spec.pop("approval", None)  # a decision is read from where it was recorded, never from here
    return value
