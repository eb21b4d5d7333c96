"""Desired objects of an Adapter: the evaluation Job and the Job that records a person's decision. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from clara_api import labels
from clara_api.adapter import Approval
from clara_api.digests import json_digest
from clara_api.handoff.run import EvaluationRun, RecordRun, ServingLimits
from clara_api.meta import BaseModelRef, Resources

from clara_operator.adapter.observe import Golden, Seen
from clara_operator.job_pod import JobPod, build_job, build_run_config, owner_reference
from clara_operator.plan import Create
from clara_operator.settings import Settings

KEPT_SECONDS = 24 * 3600  # a finished evaluation's pod and log; its outcome is in status long before


def evaluation_target(golden: Golden | None) -> str:
    """What an evaluation Job is for: the golden digest, or 'verify' when only the artifact is checked."""
    return golden.digest if golden else "verify"


def build_evaluation(seen: Seen, base: BaseModelRef, attempt: int, settings: Settings) -> tuple[Create, ...]:
    """Verify the artifact and, with a benchmark, score it."""
    golden = seen.golden
    spec = golden.spec if golden else None
    run = EvaluationRun(
        namespace=seen.key.namespace,
        name=seen.key.name,
        uid=seen.uid,
        family=seen.spec.family,
        version=seen.spec.version,
        base_model=base,
        artifact_uri=seen.spec.artifact.uri,
        artifact_digest=seen.spec.artifact.digest,
        adapter_object=adapter_object(seen),
        golden_name=golden.name if golden else None,
        golden_digest=golden.digest if golden else None,
        samples=spec.samples if spec else [],
        scorers=spec.scorers if spec else [],
        judge=spec.judge if spec else None,
        **({"thresholds": spec.thresholds, "max_new_tokens": spec.max_new_tokens} if spec else {}),
        limits=ServingLimits(max_lora_rank=seen.max_lora_rank or 512),
    )
    judge_secret = spec.judge.secret_ref.name if spec and spec.judge and spec.judge.secret_ref else None
    pod = _pod(
        seen,
        labels.PURPOSE_EVALUATE,
        attempt,
        evaluation_target(golden)[-8:],
        run.model_dump_json(by_alias=True, exclude_none=True),
    )
    pod = _with(
        pod, uris=(seen.spec.artifact.uri, base.uri), judge_secret=judge_secret, golden=evaluation_target(golden)
    )
    return (Create(build_run_config(pod)), Create(build_job(pod, settings)))


def build_record(seen: Seen, decision: dict[str, Any], digest: str, settings: Settings) -> tuple[Create, ...]:
    """Write a decision beside the artifact, where a re-created Adapter finds it."""
    run = RecordRun(
        namespace=seen.key.namespace,
        name=seen.key.name,
        uid=seen.uid,
        artifact_uri=seen.spec.artifact.uri,
        artifact_digest=seen.spec.artifact.digest,
        decision=decision,
        decision_digest=digest,
    )
    pod = _pod(seen, labels.PURPOSE_RECORD, 1, digest[-8:], run.model_dump_json(by_alias=True, exclude_none=True))
    pod = _with(pod, uris=(seen.spec.artifact.uri,), judge_secret=None, golden=digest)
    return (Create(build_run_config(pod)), Create(build_job(pod, settings)))


def approval_digest(approval: Approval | None, at: datetime | None) -> str:
    """Digest of a person's decision, or of its withdrawal, at that time: the same words said again are another decision."""
    words = approval.wire() if approval else {"decision": "Withdrawn"}
    return json_digest(words | {"at": at.isoformat() if at else ""})


def adapter_object(seen: Seen) -> dict[str, Any]:
    """The Adapter as it can be applied again after a disaster: no uid, no status, no approval (that lies beside it)."""
    meta = seen.manifest["metadata"]
    kept = {k: meta[k] for k in ("name", "namespace", "labels", "annotations") if meta.get(k)}
    spec = {k: v for k, v in seen.manifest["spec"].items() if k != "approval"}
    return {
        "apiVersion": seen.manifest.get("apiVersion", "clara.vcc.dev/v1alpha1"),
        "kind": "Adapter",
        "metadata": kept,
        "spec": spec,
    }


def _pod(seen: Seen, purpose: str, attempt: int, suffix: str, run_json: str) -> JobPod:
    parts = (purpose, suffix) if attempt == 1 else (purpose, suffix, str(attempt))
    marks = labels.child_labels(
        "evaluation",
        owner=seen.key.name,
        **{
            labels.ADAPTER: seen.key.name,
            labels.FAMILY: seen.spec.family,
            labels.PURPOSE: purpose,
            labels.ATTEMPT: str(attempt),
        },
    )
    return JobPod(
        name=labels.child_name(f"{seen.key.name}-{seen.uid[:5]}", *parts),
        namespace=seen.key.namespace,
        labels=marks,
        annotations={},
        owner=owner_reference("Adapter", seen.key.name, seen.uid),
        run_json=run_json,
        uris=(),
        resources=seen.resources if purpose == labels.PURPOSE_EVALUATE else Resources(),
        scheduling=seen.scheduling,
        ttl_seconds=KEPT_SECONDS,
    )


def _with(pod: JobPod, *, uris: tuple[str, ...], judge_secret: str | None, golden: str) -> JobPod:
    return replace(pod, uris=uris, judge_secret=judge_secret, annotations={labels.GOLDEN_DIGEST: golden})
