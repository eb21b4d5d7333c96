"""Desired objects of a TrainingJob: the run's ConfigMap and Job, the recovery Job, the Adapter. Pure."""

from __future__ import annotations

from clara_api import labels
from clara_api.adapter import AdapterSpec, Artifact
from clara_api.digests import json_digest
from clara_api.handoff.artifact import artifact_key
from clara_api.handoff.outcome import Outcome
from clara_api.handoff.run import DATA_DIR, DataFile, RecoverRun, TrainRun
from clara_api.meta import API_VERSION, BaseModelIdentity
from clara_api.profiles import effective
from clara_api.training_job import TrainingJobSpec

from clara_operator.job_pod import JobPod, build_job, build_run_config, owner_reference
from clara_operator.plan import Create, Manifest
from clara_operator.settings import Settings
from clara_operator.training_job.observe import Seen


def run_digest(spec: TrainingJobSpec) -> str:
    """What makes two attempts the same run: everything that decides the result, and `rerun`."""
    wire = spec.wire()
    return json_digest({k: wire.get(k) for k in (*_RECIPE, "data", "validation", "rerun")})


def recipe_digest(spec: TrainingJobSpec) -> str:
    """The recipe without its data: equal for a patch version."""
    wire = spec.wire()
    return json_digest({k: wire.get(k) for k in _RECIPE if k not in ("version", "baseModel")})


def sources_digest(spec: TrainingJobSpec) -> str:
    """Which sources, not which rows: equal for a patch version."""
    return json_digest([s.wire() for s in spec.data])


_RECIPE = ("family", "version", "baseModel", "method", "profile", "hyperparameters")


def artifact_uri(seen: Seen, attempt: int, settings: Settings) -> str:
    """Where the attempt publishes. No version inside: versions are taken when the Adapter is created."""
    prefix = settings.artifact_prefix.replace("{namespace}", seen.key.namespace)
    return artifact_key(
        prefix, namespace=seen.key.namespace, family=seen.spec.family, job_uid=seen.uid, attempt=attempt
    )


def build_training(seen: Seen, attempt: int, settings: Settings) -> tuple[Create, ...]:
    """The ConfigMap and the Job of one attempt."""
    uri = artifact_uri(seen, attempt, settings)
    sources = seen.spec.data
    config_maps = tuple(s.config_map for s in sources if s.config_map is not None)
    run = TrainRun(
        namespace=seen.key.namespace,
        name=seen.key.name,
        uid=seen.uid,
        attempt=attempt,
        family=seen.spec.family,
        base_model=seen.spec.base_model,
        method=seen.spec.method,
        profile=seen.spec.profile,
        hyperparameters=effective(seen.spec.profile, seen.spec.hyperparameters),
        data=_data_files(seen.spec),
        validation_fraction=seen.spec.validation.fraction,
        artifact_uri=uri,
        license=seen.spec.license,
        image=settings.trainer_image,
    )
    pod = JobPod(
        name=labels.child_name(seen.key.name, labels.PURPOSE_TRAIN, str(attempt)),
        namespace=seen.key.namespace,
        labels=_labels(seen, labels.PURPOSE_TRAIN, attempt),
        annotations={labels.RUN_DIGEST: run_digest(seen.spec)},
        owner=owner_reference("TrainingJob", seen.key.name, seen.uid),
        run_json=run.model_dump_json(by_alias=True, exclude_none=True, indent=1),
        uris=(uri, seen.spec.base_model.uri, *(s.uri for s in sources if s.uri)),
        progress_url=progress_url(seen, attempt, settings),
        progress_ca=seen.progress_ca,
        config_maps=config_maps,
        resources=seen.spec.resources,
        scheduling=seen.spec.scheduling,
        scratch=seen.spec.scratch,
    )
    return (Create(build_run_config(pod)), Create(build_job(pod, settings)))


def _data_files(spec: TrainingJobSpec) -> list[DataFile]:
    files: list[DataFile] = []
    mounted = 0
    for source in spec.data:
        if source.config_map is not None:
            path = f"{DATA_DIR}/{mounted}/{source.config_map.key}"
            files.append(DataFile(name=source.config_map.key, path=path, format=source.format, weight=source.weight))
            mounted += 1
        elif source.uri is not None:
            name = source.uri.rstrip("/").rsplit("/", 1)[1]
            files.append(DataFile(name=name, uri=source.uri, format=source.format, weight=source.weight))
    return files


def progress_url(seen: Seen, attempt: int, settings: Settings) -> str:
    """Where stock transformers reports to (handoff/progress.py)."""
    return (
        f"https://clara-progress.{settings.namespace}.svc:{settings.progress_port}"
        f"/v1/namespaces/{seen.key.namespace}/trainingjobs/{seen.key.name}/attempts/{attempt}"
    )


def build_recovery(seen: Seen, attempt: int, settings: Settings) -> tuple[Create, ...]:
    """The pod vanished: a small Job looks for manifest.json at the attempt's key."""
    uri = artifact_uri(seen, attempt, settings)
    run = RecoverRun(namespace=seen.key.namespace, name=seen.key.name, uid=seen.uid, attempt=attempt, artifact_uri=uri)
    pod = JobPod(
        name=labels.child_name(seen.key.name, labels.PURPOSE_RECOVER, str(attempt)),
        namespace=seen.key.namespace,
        labels=_labels(seen, labels.PURPOSE_RECOVER, attempt),
        annotations={labels.RUN_DIGEST: run_digest(seen.spec)},
        owner=owner_reference("TrainingJob", seen.key.name, seen.uid),
        run_json=run.model_dump_json(by_alias=True, exclude_none=True, indent=1),
        uris=(uri,),
        scheduling=seen.spec.scheduling,
    )
    return (Create(build_run_config(pod)), Create(build_job(pod, settings)))


def _labels(seen: Seen, purpose: str, attempt: int) -> dict[str, str]:
    return labels.child_labels(
        "trainer",
        owner=seen.key.name,
        **{
            labels.TRAINING_JOB: seen.key.name,
            labels.FAMILY: seen.spec.family,
            labels.PURPOSE: purpose,
            labels.ATTEMPT: str(attempt),
        },
    )


def build_adapter(seen: Seen, outcome: Outcome, version: str) -> Create:
    """The Adapter of a finished run: POSTed, never applied. No ownerReference: it outlives its job."""
    assert outcome.artifact_uri is not None
    assert outcome.artifact_digest is not None
    spec = AdapterSpec(
        family=seen.spec.family,
        version=version,
        base_model=BaseModelIdentity(name=seen.spec.base_model.name, digest=seen.spec.base_model.digest),
        artifact=Artifact(uri=outcome.artifact_uri, digest=outcome.artifact_digest),
        evaluation=seen.spec.evaluation,
    )
    marks = labels.child_labels(
        "adapter",
        owner=seen.key.name,
        **{
            labels.FAMILY: seen.spec.family,
            labels.VERSION: version,
            labels.TRAINING_JOB: seen.key.name,
            labels.TRAINING_JOB_UID: seen.uid,
        },
    )
    manifest: Manifest = {
        "apiVersion": API_VERSION,
        "kind": "Adapter",
        "metadata": {
            "name": f"{seen.spec.family}-{version}",
            "namespace": seen.key.namespace,
            "labels": marks,
            "annotations": {
                labels.RECIPE_DIGEST: recipe_digest(seen.spec),
                labels.SOURCES_DIGEST: sources_digest(seen.spec),
                labels.BASE_URI: seen.spec.base_model.uri,
            },
        },
        "spec": spec.wire(),
    }
    return Create(manifest, unless_labelled=f"{labels.TRAINING_JOB_UID}={seen.uid}", name_is_taken_by_race=True)
