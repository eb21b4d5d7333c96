"""Desired objects of a ServingDeployment: the engines' Deployment with its disruption budget, and one Engine
per pod. Pure.

init  fetch-base   downloads the base, verifies its digest once per pod start
init  agent        native sidecar: outlives the engine, loads and proves adapters; the only container with a token
      engine       vLLM behind the guard; no token, no store key
"""

from __future__ import annotations

from typing import Any

from clara_api import labels
from clara_api.digests import json_digest
from clara_api.engine import EngineObjectSpec, WantedAdapter
from clara_api.handoff.run import VOLUME_ROOT
from clara_api.meta import API_VERSION, LocalRef

from clara_operator.job_pod import POD_SECURITY, SECURITY, claims, needs_s3, owner_reference, scheduling_fields
from clara_operator.plan import Manifest
from clara_operator.serving_deployment.engine_args import BASE_DIR, engine_arguments
from clara_operator.serving_deployment.observe import EnginePod, Seen, deployment_name
from clara_operator.settings import Settings

ADAPTER_DIR = "/clara/adapters"
GUARD_DIR = "/clara/guard"
AGENT_PORT = 9091


def spec_digest(seen: Seen) -> str:
    """What makes engine pods restart: the engine spec and the base, not the replicas."""
    engine = {k: v for k, v in seen.spec.engine.wire().items() if k not in ("replicas", "updatePolicy")}
    return json_digest({"engine": engine, "base": seen.spec.base_model.wire()})


def template_digest(template: Manifest) -> str:
    """Digest of a pod template: tells an operator upgrade from a change of spec."""
    return json_digest(template)


def build_deployment(seen: Seen, settings: Settings) -> Manifest:
    """The engines' Deployment: new pods come before old ones go."""
    marks = _labels(seen)
    template = {"metadata": {"labels": marks}, "spec": _pod_spec(seen, settings)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": deployment_name(seen.key.name),
            "namespace": seen.key.namespace,
            "labels": marks,
            "annotations": {labels.SPEC_DIGEST: spec_digest(seen), labels.TEMPLATE_DIGEST: template_digest(template)},
            "ownerReferences": [owner_reference("ServingDeployment", seen.key.name, seen.uid)],
        },
        "spec": {
            "replicas": seen.spec.engine.replicas,
            "progressDeadlineSeconds": 3600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": _selector(marks)},
            "template": template,
        },
    }


def build_disruption_budget(seen: Seen) -> Manifest:
    """A drained node takes one engine at a time: the next goes when its successor has proven every adapter."""
    marks = _labels(seen)
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": deployment_name(seen.key.name),
            "namespace": seen.key.namespace,
            "labels": marks,
            "ownerReferences": [owner_reference("ServingDeployment", seen.key.name, seen.uid)],
        },
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",  # engines that never came up must not hold a drain for ever
            "selector": {"matchLabels": _selector(marks)},
        },
    }


def build_replicas(seen: Seen) -> Manifest:
    """Only the number of engines, under a field manager of its own: the template stays as it is."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": deployment_name(seen.key.name), "namespace": seen.key.namespace},
        "spec": {"replicas": seen.spec.engine.replicas},
    }


def build_engine(seen: Seen, pod: EnginePod, adapters: list[WantedAdapter], settings: Settings) -> Manifest:
    """The Engine of one pod, owned by it: it goes with the pod."""
    spec = EngineObjectSpec(
        serving_deployment_ref=LocalRef(name=seen.key.name),
        base_model=seen.spec.base_model,
        address=f"{pod.address}:{settings.engine_port}" if pod.address else None,
        max_lora_rank=seen.spec.engine.max_lora_rank,
        max_cpu_loras=seen.spec.engine.max_cpu_loras,
        drain_seconds=seen.spec.engine.drain_seconds,
        adapters=adapters,
    )
    return {
        "apiVersion": API_VERSION,
        "kind": "Engine",
        "metadata": {
            "name": pod.name,
            "namespace": seen.key.namespace,
            "labels": _labels(seen),
            "ownerReferences": [owner_reference("Pod", pod.name, pod.uid, api_version="v1")],
        },
        "spec": spec.wire(),
    }


def _labels(seen: Seen) -> dict[str, str]:
    return labels.child_labels("engine", owner=seen.key.name, **{labels.SERVING_DEPLOYMENT: seen.key.name})


def _selector(marks: dict[str, str]) -> dict[str, str]:
    return {k: marks[k] for k in (labels.SERVING_DEPLOYMENT, "app.kubernetes.io/component")}


def _pod_spec(seen: Seen, settings: Settings) -> dict[str, Any]:
    drain = seen.spec.engine.drain_seconds
    spec: dict[str, Any] = {
        "serviceAccountName": "clara-agent",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 2 * drain + 30,
        "securityContext": POD_SECURITY,
        "initContainers": [_fetch_base(seen, settings), _agent(seen, settings)],
        "containers": [_engine(seen, settings)],
        "volumes": _volumes(seen, settings),
    }
    return {**spec, **scheduling_fields(seen.spec.engine.scheduling)}


def _image(seen: Seen, settings: Settings) -> dict[str, Any]:
    return {
        "image": seen.spec.engine.image or settings.engine_image,
        "imagePullPolicy": settings.image_pull_policy,
        "securityContext": SECURITY,
    }


def _fetch_base(seen: Seen, settings: Settings) -> dict[str, Any]:
    base = seen.spec.base_model
    container = {
        "name": "fetch-base",
        **_image(seen, settings),
        "command": ["python3", "-m", "clara_agent", "fetch-base"],
        "env": _env(
            CLARA_BASE_URI=base.uri,
            CLARA_BASE_DIGEST=base.digest,
            CLARA_BASE_DIR=BASE_DIR,
            CLARA_VOLUME_ROOT=VOLUME_ROOT,
        ),
        "volumeMounts": [_mount("base", BASE_DIR), _mount("tmp", "/tmp"), *_claim_mounts(seen, settings)],
    }
    return {**container, **_store_env(seen, settings)}


def _agent(seen: Seen, settings: Settings) -> dict[str, Any]:
    env = _env(
        CLARA_BASE_DIR=BASE_DIR,
        CLARA_ADAPTER_DIR=ADAPTER_DIR,
        CLARA_ENGINE_SECRET_DIR=GUARD_DIR,
        CLARA_ENGINE_URL=f"http://127.0.0.1:{settings.engine_port}",
        CLARA_VOLUME_ROOT=VOLUME_ROOT,
        CLARA_DRAIN_SECONDS=str(seen.spec.engine.drain_seconds),
    )
    env.append({"name": "CLARA_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
    env.append({"name": "CLARA_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}})
    container = {
        "name": "agent",
        **_image(seen, settings),
        "restartPolicy": "Always",
        "command": ["python3", "-m", "clara_agent", "run"],
        "env": env,
        "ports": [{"name": "agent-metrics", "containerPort": AGENT_PORT}],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": AGENT_PORT},
            "periodSeconds": 2,
            "failureThreshold": 3,
        },
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        "volumeMounts": [
            _mount("base", BASE_DIR, read_only=True),
            _mount("adapters", ADAPTER_DIR),
            _mount("guard", GUARD_DIR),
            _mount("tmp", "/tmp"),
            {"name": "agent-token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True},
            *_claim_mounts(seen, settings),
        ],
    }
    return {**container, **_store_env(seen, settings)}


def _engine(seen: Seen, settings: Settings) -> dict[str, Any]:
    env = _env(
        HOME="/tmp",
        HF_HUB_OFFLINE="1",
        VLLM_ALLOW_RUNTIME_LORA_UPDATING="True",
        VLLM_NO_USAGE_STATS="1",
        DO_NOT_TRACK="1",
        CLARA_ENGINE_SECRET_DIR=GUARD_DIR,
        CLARA_DRAIN_SECONDS=str(seen.spec.engine.drain_seconds),
        CLARA_TOKEN_ISSUER=settings.service_account_issuer,
        CLARA_GATEWAY_IDENTITY=settings.gateway_identity,
    )
    if settings.cpu_engines:
        # Without it vLLM compiles C++ at the first request for log-probabilities; the image has no compiler.
        env += _env(VLLM_CPU_KVCACHE_SPACE=str(settings.kv_cache_gib), TORCHDYNAMO_DISABLE="1")
    probe = {"httpGet": {"path": "/health", "port": settings.engine_port}}
    container: dict[str, Any] = {
        "name": "engine",
        **_image(seen, settings),
        "command": ["vllm"],
        "args": engine_arguments(seen.spec, settings),
        "env": env,
        "ports": [{"name": "http", "containerPort": settings.engine_port}],
        "startupProbe": {**probe, "periodSeconds": 2, "failureThreshold": 900},
        "readinessProbe": {**probe, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 3},
        "livenessProbe": {**probe, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6},
        "lifecycle": {"preStop": {"exec": {"command": ["python3", "-m", "clara_agent", "drain"]}}},
        "volumeMounts": [
            _mount("base", BASE_DIR, read_only=True),
            _mount("adapters", ADAPTER_DIR, read_only=True),
            _mount("guard", GUARD_DIR, read_only=True),
            _mount("tmp", "/tmp"),
            _mount("shm", "/dev/shm"),
        ],
    }
    if resources := {k: v for k, v in seen.spec.engine.resources.wire().items() if v}:
        container["resources"] = resources
    return container


def _volumes(seen: Seen, settings: Settings) -> list[dict[str, Any]]:
    token_sources = [
        {"serviceAccountToken": {"expirationSeconds": 3600, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]
            }
        },
    ]
    volumes: list[dict[str, Any]] = [{"name": name, "emptyDir": {}} for name in ("base", "adapters", "tmp")]
    volumes += [{"name": name, "emptyDir": {"medium": "Memory"}} for name in ("guard", "shm")]
    volumes.append({"name": "agent-token", "projected": {"sources": token_sources}})
    return volumes + [
        {"name": f"claim-{c}", "persistentVolumeClaim": {"claimName": c}} for c in _claims(seen, settings)
    ]


def _claims(seen: Seen, settings: Settings) -> tuple[str, ...]:
    """From the base and the installation's store, never from single adapters: those must not restart a pod."""
    return claims((seen.spec.base_model.uri, settings.artifact_prefix))


def _claim_mounts(seen: Seen, settings: Settings) -> list[dict[str, Any]]:
    return [_mount(f"claim-{c}", f"{VOLUME_ROOT}/{c}", read_only=True) for c in _claims(seen, settings)]


def _store_env(seen: Seen, settings: Settings) -> dict[str, Any]:
    if not needs_s3((seen.spec.base_model.uri, settings.artifact_prefix)):
        return {}
    return {"envFrom": [{"secretRef": {"name": settings.store_secret}}]}


def _env(**values: str) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _mount(name: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    mount: dict[str, Any] = {"name": name, "mountPath": path}
    return {**mount, "readOnly": True} if read_only else mount
