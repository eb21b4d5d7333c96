"""Build the Jobs that run `clara_trainer`, and the ConfigMap with what they are asked to do. Pure.

Called by training_job/build.py and adapter/build.py. The pod has no rights: its ServiceAccount token is not mounted, only a
projected one for the progress endpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clara_api.handoff.outcome import EXIT_CODES, EXIT_PREEMPTED
from clara_api.handoff.progress import AUDIENCE, ENV_CA, ENV_TOKEN, ENV_URL
from clara_api.handoff.run import (
    CA_FILE,
    DATA_DIR,
    ENV_SCRATCH_BYTES,
    RUN_DIR,
    RUN_FILE,
    SCRATCH_DIR,
    TOKEN_FILE,
    VOLUME_ROOT,
)
from clara_api.meta import ConfigMapKey, Resources, Scheduling
from clara_api.uris import parse

from clara_operator.plan import Manifest
from clara_operator.settings import Settings

USER = 65532  # the image's user; nothing in it needs root
LIMIT_GRACE_SECONDS = 60  # SIGTERM to SIGKILL
CONTAINER = "trainer"
# What the Job controller does by itself, also while the operator is away. The first rule that matches counts.
POD_FAILURE_POLICY: dict[str, Any] = {
    "rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {
            "action": "Ignore",  # it was told to stop and saved a checkpoint: the next pod goes on there
            "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [EXIT_PREEMPTED]},
        },
        {
            "action": "FailJob",
            "onExitCodes": {
                "containerName": CONTAINER,
                "operator": "In",
                "values": sorted(code for code in EXIT_CODES.values() if code != EXIT_PREEMPTED),
            },
        },
    ]
}
SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
POD_SECURITY: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True, slots=True)
class JobPod:
    """What differs between Clara's Jobs."""

    name: str
    namespace: str
    labels: dict[str, str]
    annotations: dict[str, str]
    owner: dict[str, Any]
    run_json: str
    uris: tuple[str, ...]  # which volumes must be mounted
    progress_url: str | None = None
    progress_ca: str = ""
    config_maps: tuple[ConfigMapKey, ...] = ()  # data sources, mounted by position
    judge_secret: str | None = None
    resources: Resources = field(default_factory=Resources)
    scheduling: Scheduling = field(default_factory=Scheduling)
    scratch: str = "10Gi"
    shares_memory: bool = False  # its processes exchange tensors
    ttl_seconds: int | None = None
    deadline_seconds: int | None = None


def build_run_config(pod: JobPod) -> Manifest:
    """The ConfigMap mounted at /clara/run."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": pod.name,
            "namespace": pod.namespace,
            "labels": pod.labels,
            "ownerReferences": [pod.owner],
        },
        "immutable": True,
        "data": {"run.json": pod.run_json, "ca.crt": pod.progress_ca},
    }


def build_job(pod: JobPod, settings: Settings) -> Manifest:
    """One attempt: no retries inside the Job but for pods that were moved, which the Job controller replaces by itself.

    `suspend` is not sent: nobody who owns it (a person's spec.suspend, a queueing system) is to be overwritten.
    """
    spec: dict[str, Any] = {
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": POD_FAILURE_POLICY,
        "template": {"metadata": {"labels": pod.labels}, "spec": _pod_spec(pod, settings)},
    }
    if pod.ttl_seconds is not None:
        spec["ttlSecondsAfterFinished"] = pod.ttl_seconds
    if pod.deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = pod.deadline_seconds
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": pod.name,
            "namespace": pod.namespace,
            "labels": pod.labels,
            "annotations": pod.annotations,
            "ownerReferences": [pod.owner],
        },
        "spec": spec,
    }


def _pod_spec(pod: JobPod, settings: Settings) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": "clara-trainer",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": LIMIT_GRACE_SECONDS,
        "securityContext": POD_SECURITY,
        "containers": [_container(pod, settings)],
        "volumes": _volumes(pod, settings),
    }
    return {**spec, **scheduling_fields(pod.scheduling)}


def scheduling_fields(scheduling: Scheduling) -> dict[str, Any]:
    """The pod fields of spec.scheduling, without the empty ones."""
    wire = scheduling.wire()
    return {name: value for name, value in wire.items() if value not in ({}, [], "")}


def _container(pod: JobPod, settings: Settings) -> dict[str, Any]:
    env = [
        {"name": "HOME", "value": SCRATCH_DIR},
        {"name": "TMPDIR", "value": SCRATCH_DIR},
        {"name": "CLARA_VOLUME_ROOT", "value": VOLUME_ROOT},
        {"name": ENV_SCRATCH_BYTES, "value": str(bytes_of(pod.scratch))},
    ]
    if pod.progress_url:
        env += [
            {"name": ENV_URL, "value": pod.progress_url},
            {"name": ENV_CA, "value": CA_FILE},
            {"name": ENV_TOKEN, "value": TOKEN_FILE},
        ]
    mounts: list[dict[str, Any]] = [
        {"name": "run", "mountPath": RUN_DIR, "readOnly": True},
        {"name": "scratch", "mountPath": SCRATCH_DIR},
    ]
    if pod.progress_url:
        mounts.append({"name": "token", "mountPath": TOKEN_FILE.rsplit("/", 1)[0], "readOnly": True})
    if pod.shares_memory:
        mounts.append({"name": "shared-memory", "mountPath": "/dev/shm"})
    if pod.judge_secret:
        mounts.append({"name": "judge", "mountPath": "/clara/judge", "readOnly": True})
    mounts += [
        {"name": f"data-{i}", "mountPath": f"{DATA_DIR}/{i}", "readOnly": True} for i in range(len(pod.config_maps))
    ]
    mounts += [{"name": f"claim-{c}", "mountPath": f"{VOLUME_ROOT}/{c}"} for c in claims(pod.uris)]
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": settings.trainer_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["python3", "-m", "clara_trainer"],
        "args": [RUN_FILE],
        "env": env,
        "securityContext": SECURITY,
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if needs_s3(pod.uris):
        container["envFrom"] = [{"secretRef": {"name": settings.store_secret}}]
    if resources := {k: v for k, v in pod.resources.wire().items() if v}:
        container["resources"] = resources
    return container


def _volumes(pod: JobPod, settings: Settings) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": "run", "configMap": {"name": pod.name}},
        {"name": "scratch", "emptyDir": {"sizeLimit": pod.scratch}},
    ]
    if pod.progress_url:
        token = {"audience": AUDIENCE, "expirationSeconds": 3600, "path": "token"}
        volumes.append({"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}})
    if pod.shares_memory:  # the runtime's own has 64 MiB, too few for NCCL between GPUs without a direct link
        volumes.append({"name": "shared-memory", "emptyDir": {"medium": "Memory"}})
    if pod.judge_secret:
        volumes.append(
            {"name": "judge", "secret": {"secretName": pod.judge_secret, "items": [{"key": "token", "path": "token"}]}}
        )
    volumes += [
        {"name": f"data-{i}", "configMap": {"name": c.name, "items": [{"key": c.key, "path": c.key}]}}
        for i, c in enumerate(pod.config_maps)
    ]
    volumes += [{"name": f"claim-{c}", "persistentVolumeClaim": {"claimName": c}} for c in claims(pod.uris)]
    return volumes


def bytes_of(quantity: str) -> int:
    """A Kubernetes quantity of bytes as a number.

    >>> bytes_of("2Gi"), bytes_of("1.5M")
    (2147483648, 1500000)
    """
    number = quantity.rstrip("mkMGTKi")
    unit = quantity[len(number) :]
    powers = {"": 1, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    binary = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    return int(float(number) * (powers | binary)[unit])


def claims(uris: tuple[str, ...]) -> tuple[str, ...]:
    """The claims that volume:// URIs name."""
    return tuple(sorted({p.root for p in map(parse, uris) if p.scheme == "volume"}))


def needs_s3(uris: tuple[str, ...]) -> bool:
    """Whether any URI needs the store's key."""
    return any(parse(u).scheme == "s3" for u in uris)


def owner_reference(kind: str, name: str, uid: str, api_version: str = "clara.vcc.dev/v1alpha1") -> dict[str, Any]:
    """A controller reference: the child goes with its owner."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
