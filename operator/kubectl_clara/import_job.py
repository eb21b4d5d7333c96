"""The Job of `kubectl clara import`, and what its log says. Pure; called by main.

The Adapter objects lie in the store, beside the artifacts. Only a pod of the namespace has the store's key, so a pod reads them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from clara_api import labels
from clara_api.handoff.artifact import adapters_key
from clara_api.handoff.run import LISTED, RUN_FILE, SCRATCH_DIR, VOLUME_ROOT, ListRun
from clara_api.meta import API_VERSION
from clara_api.uris import parse

Object = dict[str, Any]
KEPT_SECONDS = 600  # long enough to read the log of one that failed


def build(account: Object, name: str) -> list[Object]:
    """ConfigMap and Job for the namespace of the ServiceAccount `clara-trainer`. KeyError: the chart did not annotate it."""
    notes, namespace = account["metadata"]["annotations"], account["metadata"]["namespace"]
    place = parse(uri := adapters_key(notes[labels.ARTIFACT_PREFIX], namespace))
    meta = {
        "name": name,
        "namespace": namespace,
        "labels": labels.child_labels("import", owner=name, **{labels.PURPOSE: labels.PURPOSE_LIST}),
    }
    run = ListRun(namespace=namespace, name=name, adapters_uri=uri)
    mounts: list[Object] = [
        {"name": "run", "mountPath": RUN_FILE.rsplit("/", 1)[0], "readOnly": True},
        {"name": "scratch", "mountPath": SCRATCH_DIR},
    ]
    volumes: list[Object] = [{"name": "run", "configMap": {"name": name}}, {"name": "scratch", "emptyDir": {}}]
    if place.scheme == "volume":
        mounts.append({"name": "store", "mountPath": f"{VOLUME_ROOT}/{place.root}", "readOnly": True})
        volumes.append({"name": "store", "persistentVolumeClaim": {"claimName": place.root, "readOnly": True}})
    container = {
        "name": "trainer",
        "image": notes[labels.TRAINER_IMAGE],
        "command": ["python3", "-m", "clara_trainer"],
        "args": [RUN_FILE],
        "env": [
            {"name": "HOME", "value": SCRATCH_DIR},
            {"name": "TMPDIR", "value": SCRATCH_DIR},
            {"name": "CLARA_VOLUME_ROOT", "value": VOLUME_ROOT},
        ],
        "envFrom": [{"secretRef": {"name": notes[labels.STORE_SECRET]}}] if place.scheme == "s3" else [],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    pod = {
        "restartPolicy": "Never",
        "serviceAccountName": account["metadata"]["name"],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": volumes,
    }
    spec = {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "template": {"metadata": {"labels": meta["labels"]}, "spec": pod},
    }
    config = {"run.json": run.model_dump_json(by_alias=True)}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": config},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec},
    ]


@dataclass(frozen=True, slots=True)
class Listing:
    """What the Job found: Adapters by name, and sentences about what it passed over."""

    adapters: list[Object]
    passed_over: list[str]


def read_log(log: str) -> Listing:
    """The Job's log. Of one name the last Adapter counts, for the newest is printed last. ValueError: lines are missing."""
    found: dict[str, Object] = {}
    passed_over: list[str] = []
    lines, expected = 0, -1
    for value in map(_parsed, log.splitlines()):
        if value.get("kind") == LISTED:
            expected = value["count"]
        elif (value.get("apiVersion"), value.get("kind")) == (API_VERSION, "Adapter"):
            found[value["metadata"]["name"]] = value
            lines += 1
        elif value.get("level") == "warning":
            passed_over.append(str(value.get("message")))
    if lines != expected:
        raise ValueError(f"the log holds {lines} Adapters and should hold {expected}: it was cut; run the import again")
    return Listing([found[name] for name in sorted(found)], passed_over)


def _parsed(line: str) -> Object:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
