"""Attempts of one run learn from the same bytes: the first writes down what it read, later ones compare. Called by train.py.

data.json lies beside the folders of the run's bases and holds a digest per source. A source that is rewritten between two
attempts would make a resumed run learn half of this and half of that, and the manifest a lie.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from clara_api.digests import canonical_json, json_digest
from clara_api.handoff.run import TrainRun

from clara_trainer.data import ReadFile
from clara_trainer.manifests import below
from clara_trainer.objects import Objects
from clara_trainer.outcome import Failure

DATA = "data.json"
SCHEMA = "clara.vcc.dev/run-data/v1"
LIMIT = 16 << 20  # bytes; a prefix of 100,000 files
CURE = "restore it, or raise spec.rerun to start anew"


def check_unchanged(files: Sequence[ReadFile], run: TrainRun, objects: Objects) -> str:
    """The digest over all sources, recorded at the first attempt. Failure DataChanged names the source that is another."""
    digest = digest_of(files)
    if not run.run_uri:
        return digest
    uri = below(run.run_uri.rpartition("/")[0], DATA)  # a fallback base is no reason to learn from other rows
    recorded = _recorded(uri, objects)
    if recorded is None:
        record = {"schema": SCHEMA, "digest": digest, "sources": _sources(files)}
        objects.write(canonical_json(record) + b"\n", uri)
    elif recorded.get("digest") != digest:
        raise Failure("DataChanged", f"{what_changed(_listed(recorded, uri), _sources(files))}; {CURE}")
    return digest


def digest_of(files: Sequence[ReadFile]) -> str:
    """Over name, bytes and number of rows of every source, in their order."""
    return json_digest(_sources(files))


def what_changed(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> str:
    """The first difference as a sentence.

    >>> what_changed([{"name": "a", "sha256": "11" * 32}], [{"name": "a", "sha256": "22" * 32}])
    'a has the digest sha256:222222222222; the first attempt read sha256:111111111111'
    """
    for old, new in zip(before, now, strict=False):
        if old["name"] != new["name"]:
            break
        if old["sha256"] != new["sha256"]:
            return f"{new['name']} has the digest {_short(new)}; the first attempt read {_short(old)}"
    names_before, names_now = [old["name"] for old in before], [new["name"] for new in now]
    for old in before:
        if old["name"] not in names_now:
            return f"{old['name']} ({_short(old)}), which the first attempt read, is gone"
    for new in now:
        if new["name"] not in names_before:
            return f"{new['name']} ({_short(new)}) is there now; the first attempt did not read it"
    return f"the sources are read in another order than by the first attempt ({', '.join(names_before[:3])} …)"


def _recorded(uri: str, objects: Objects) -> Mapping[str, Any] | None:
    try:
        data = objects.read(uri, limit=LIMIT)
        if data is None:
            return None
        value = json.loads(data)
    except ValueError as error:
        raise _unreadable(uri) from error
    if not isinstance(value, dict):
        raise _unreadable(uri)
    return value


def _listed(recorded: Mapping[str, Any], uri: str) -> list[dict[str, Any]]:
    sources = recorded.get("sources")
    if not isinstance(sources, list) or not all(
        isinstance(s, dict) and {"name", "sha256"} <= s.keys() for s in sources
    ):
        raise _unreadable(uri)
    return sources


def _unreadable(uri: str) -> Failure:
    return Failure("DataChanged", f"{uri}, which says what the first attempt read, cannot be read; {CURE}")


def _sources(files: Sequence[ReadFile]) -> list[dict[str, Any]]:
    return [{"name": f.digest.name, "sha256": f.digest.sha256, "rows": f.digest.rows} for f in files]


def _short(source: Mapping[str, Any]) -> str:
    return f"sha256:{str(source['sha256'])[:12]}"
