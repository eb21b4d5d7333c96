"""The Job of `kubectl clara import`, and what its log says. Pure; called by main.

The Adapter objects lie in the store, beside the artifacts. Only a pod of the namespace has the store's key, so a pod reads them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from clara_api import labels
from clara_api.adapter import AdapterSpec
from clara_api.handoff.artifact import adapters_key
from clara_api.handoff.run import LISTED, RUN_FILE, SCRATCH_DIR, VOLUME_ROOT, ListRun
from clara_api.meta import API_VERSION, GROUP
from clara_api.uris import parse
from pydantic import ValidationError

Object = dict[str, Any]
USER = 65532
DEADLINE_SECONDS = 300  # some thousand small reads; and a pod that never starts ends too
KEPT_SECONDS = 600  # long enough to read the log of one that failed


def build(account: Object, name: str) -> tuple[Object, Object]:
    """Job and ConfigMap for the namespace of the ServiceAccount `clara-trainer`. KeyError: the chart did not annotate it."""
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
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
        "volumeMounts": mounts,
    }
    pod = {
        "restartPolicy": "Never",
        "serviceAccountName": account["metadata"]["name"],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    spec = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": DEADLINE_SECONDS,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "template": {"metadata": {"labels": meta["labels"]}, "spec": pod},
    }
    config = {"run.json": run.model_dump_json(by_alias=True)}
    return (
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": config},
    )


def owned(manifest: Object, job: Object) -> Object:
    """The ConfigMap goes with the Job, whoever deletes that."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    return manifest | {"metadata": manifest["metadata"] | {"ownerReferences": [owner]}}


@dataclass(frozen=True, slots=True)
class Listing:
    """What the Job found: Adapters by name, and sentences about what it passed over."""

    adapters: list[Object]
    passed_over: list[str]


def read_log(log: str, namespace: str) -> Listing:
    """The Job's log. Of one name the last Adapter counts, for the newest is printed last. ValueError: lines are missing.

    The pod is not trusted: whatever it prints becomes at most an Adapter of its own namespace that nobody has approved.
    """
    found: dict[str, Object] = {}
    passed_over: list[str] = []
    lines, expected = 0, -1
    for value in map(_parsed, log.splitlines()):
        if value.get("kind") == LISTED:
            expected = value["count"]
        elif value.get("kind") == "Adapter":
            lines += 1
            try:
                adapter = _own(value, namespace)
                found[adapter["metadata"]["name"]] = adapter
            except ValueError as error:
                passed_over.append(f"an Adapter in the store is passed over: {error}")
        elif value.get("level") == "warning":
            passed_over.append(str(value.get("message")))
    if lines != expected:
        raise ValueError(
            f"the log holds {lines} Adapters and should hold {expected}: it was cut, which a node does above 10 MiB"
        )
    return Listing([found[name] for name in sorted(found)], passed_over)


def _own(value: Object, namespace: str) -> Object:
    """The object anew, from nothing but what an Adapter of this namespace may hold. ValueError says what is wrong."""
    meta, spec = value.get("metadata"), value.get("spec")
    if not isinstance(meta, dict) or not isinstance(spec, dict) or value.get("apiVersion") != API_VERSION:
        raise ValueError(f"it is no Adapter of {API_VERSION}")
    if meta.get("namespace") != namespace:
        raise ValueError(f"it belongs to namespace {meta.get('namespace')}")
    try:
        clean = AdapterSpec.model_validate({k: v for k, v in spec.items() if k != "approval"})
    except ValidationError as error:
        raise ValueError(f"{meta.get('name')}: {error.errors()[0]['msg']}") from error
    marks = {part: _texts(meta.get(part)) for part in ("labels", "annotations")}
    name = f"{clean.family}-{clean.version}"
    return {
        "apiVersion": API_VERSION,
        "kind": "Adapter",
        "metadata": {"name": name, "namespace": namespace} | {k: v for k, v in marks.items() if v},
        "spec": clean.wire(),
    }


def _texts(marks: object) -> dict[str, str]:
    """Labels or annotations of Clara's own."""
    pairs = marks.items() if isinstance(marks, dict) else ()
    return {str(k): str(v) for k, v in pairs if str(k).startswith((f"{GROUP}/", "app.kubernetes.io/"))}


def _parsed(line: str) -> Object:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
