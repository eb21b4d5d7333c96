"""Desired objects of a TrainingJob: the run's ConfigMap and Job, the recovery Job, the Adapter. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from clara_api import labels
from clara_api.adapter import AdapterSpec, Artifact
from clara_api.handoff.artifact import artifact_key, run_key
from clara_api.handoff.outcome import Outcome
from clara_api.handoff.run import DATA_DIR, DataFile, RecoverRun, StartAdapter, TrainRun
from clara_api.meta import API_VERSION, BaseModelIdentity
from clara_api.profiles import gpus, processes
from clara_api.training_job import TrainingBase, TrainingJobSpec

from clara_operator.job_pod import JobPod, build_job, build_run_config, owner_reference
from clara_operator.plan import Create, Manifest
from clara_operator.settings import Settings
from clara_operator.training_job import golden
from clara_operator.training_job.observe import Seen
from clara_operator.training_job.recipe import recipe_digest, room_digest, run_digest, sources_digest


@dataclass(frozen=True, slots=True)
class NextAttempt:
    """What the attempts of a run differ in."""

    number: int
    base: TrainingBase
    memory_level: int = 0
    seconds: int | None = None  # what is left of retry.maxDuration


def artifact_uri(seen: Seen, attempt: int, settings: Settings) -> str:
    """Where the attempt publishes. No version inside: versions are taken when the Adapter is created."""
    return artifact_key(
        _prefix(seen, settings),
        namespace=seen.key.namespace,
        family=seen.spec.family,
        job_uid=seen.uid,
        attempt=attempt,
    )


def run_uri(seen: Seen, base: TrainingBase, settings: Settings) -> str:
    """Where the attempts of the run on this base keep their checkpoints."""
    return run_key(
        _prefix(seen, settings),
        namespace=seen.key.namespace,
        family=seen.spec.family,
        job_uid=seen.uid,
        run_digest=run_digest(seen.spec),
        base_digest=base.digest,
    )


def _prefix(seen: Seen, settings: Settings) -> str:
    return settings.artifact_prefix.replace("{namespace}", seen.key.namespace)


def build_training(seen: Seen, attempt: NextAttempt, settings: Settings) -> tuple[tuple[Create, ...], tuple[str, ...]]:
    """The ConfigMap and the Job of one attempt, and the GoldenDatasets that the run could not be given."""
    run = _train_run(seen, attempt, settings)
    named = seen.spec.evaluation.golden_dataset_ref.name if seen.spec.evaluation else None
    sets, left_out = golden.fitting(seen.golden, named, golden.LIMIT_BYTES - len(_json(run).encode()))
    unchecked = (*left_out, *seen.golden_unreadable)
    run = run.model_copy(update={"golden": list(sets), "golden_left_out": list(unchecked)})
    pod = _train_pod(seen, attempt, run, settings)
    return (Create(build_run_config(pod)), Create(build_job(pod, settings))), unchecked


def _train_run(seen: Seen, attempt: NextAttempt, settings: Settings) -> TrainRun:
    spec, start = seen.spec, seen.start
    return TrainRun(
        namespace=seen.key.namespace,
        name=seen.key.name,
        uid=seen.uid,
        attempt=attempt.number,
        family=spec.family,
        base_model=attempt.base,
        method=spec.method,
        profile=spec.profile,
        hyperparameters=seen.effective,
        start_from=StartAdapter(name=start.name, uri=start.uri, digest=start.digest) if start else None,
        conversion=spec.conversion,
        data=_data_files(spec),
        data_policy=spec.data_policy,
        validation_fraction=spec.validation.fraction,
        checkpoints=spec.checkpoints,
        gpus=gpus(spec.resources),
        processes=processes(spec.profile, spec.resources),
        memory_level=attempt.memory_level,
        dry_run=spec.dry_run,
        run_uri=run_uri(seen, attempt.base, settings),
        artifact_uri=artifact_uri(seen, attempt.number, settings),
        license=spec.license,
        image=settings.trainer_image,
    )


def _json(run: TrainRun) -> str:
    return run.model_dump_json(by_alias=True, exclude_none=True)


def _train_pod(seen: Seen, attempt: NextAttempt, run: TrainRun, settings: Settings) -> JobPod:
    spec, base = seen.spec, attempt.base
    sources = (s.uri for s in spec.data if s.uri)
    start = (run.start_from.uri,) if run.start_from else ()
    notes = {
        labels.RUN_DIGEST: run_digest(spec),
        labels.BASE_MODEL: base.name,
        labels.BASE_DIGEST: base.digest,
        labels.MEMORY_LEVEL: str(attempt.memory_level),
        labels.ROOM_DIGEST: room_digest(spec),
    }
    return JobPod(
        name=labels.child_name(seen.key.name, labels.PURPOSE_TRAIN, str(attempt.number)),
        namespace=seen.key.namespace,
        labels=_labels(seen, labels.PURPOSE_TRAIN, attempt.number),
        annotations=notes,
        owner=owner_reference("TrainingJob", seen.key.name, seen.uid),
        run_json=_json(run),
        uris=(run.artifact_uri, run.run_uri, base.uri, *base.mirrors, *start, *sources),
        progress_url=progress_url(seen, attempt.number, settings),
        progress_ca=seen.progress_ca,
        config_maps=tuple(s.config_map for s in spec.data if s.config_map is not None),
        resources=spec.resources,
        scheduling=spec.scheduling,
        scratch=spec.scratch,
        shares_memory=run.processes > 1,
        deadline_seconds=attempt.seconds,
    )


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


def identity(outcome: Outcome, base: TrainingBase) -> BaseModelIdentity:
    """The base the result belongs to: the pod's word, else the one its attempt was given."""
    return outcome.base_model or BaseModelIdentity(name=base.name, digest=base.digest)


def build_adapter(seen: Seen, outcome: Outcome, base: TrainingBase, version: str) -> Create:
    """The Adapter of a finished run: POSTed, never applied. No ownerReference: it outlives its job."""
    assert outcome.artifact_uri is not None
    assert outcome.artifact_digest is not None
    spec = AdapterSpec(
        family=seen.spec.family,
        version=version,
        base_model=identity(outcome, base),
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
                labels.BASE_URI: base.uri,
            },
        },
        "spec": spec.wire(),
    }
    return Create(manifest, unless_labelled=f"{labels.TRAINING_JOB_UID}={seen.uid}", name_is_taken_by_race=True)
