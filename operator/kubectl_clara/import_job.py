"""The Job of `kubectl clara import`, and what its log says. Pure; called by main.

The Adapter objects lie in the store, beside the artifacts. Only a pod of the namespace has the store's key, so a pod reads them.
"""

from __future__ import annotations

import json
from typing import Any

from clara_api import labels
from clara_api.handoff.artifact import adapters_key
from clara_api.handoff.run import RUN_FILE, SCRATCH_DIR, VOLUME_ROOT, ListRun
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


def adapters_in(log: str) -> list[Object]:
    """The Adapters among the lines of the Job's log, ordered by name; of one name the last, for the log has the newest last."""
    found = {}
    for line in log.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and (value.get("apiVersion"), value.get("kind")) == (API_VERSION, "Adapter"):
            found[value["metadata"]["name"]] = value
    return [found[name] for name in sorted(found)]
