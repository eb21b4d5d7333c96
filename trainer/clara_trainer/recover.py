"""RecoverRun: the pod is gone and its outcome with it. What it published, if anything, lies at a known key."""

from __future__ import annotations

from clara_api.handoff.artifact import MANIFEST
from clara_api.handoff.outcome import Outcome
from clara_api.handoff.run import RecoverRun

from clara_trainer import manifests
from clara_trainer.manifests import Found
from clara_trainer.objects import Objects
from clara_trainer.outcome import Failure


def recover(run: RecoverRun, objects: Objects) -> Outcome:
    """The outcome the lost pod would have reported; Failure ArtifactMissing when it published nothing."""
    found = manifests.find(objects, run.artifact_uri)
    if found is None:
        raise Failure("ArtifactMissing", f"there is no {MANIFEST} below {run.artifact_uri}: the run was not completed")
    return published(found, objects, run.artifact_uri)


def published(found: Found, objects: Objects, artifact_uri: str) -> Outcome:
    """Success, read back from the store. The manifest is written last, so its files must all be there."""
    stored = {entry.path: entry.size for entry in objects.list(artifact_uri)}
    for file in found.manifest.files:
        if stored.get(file.path) != file.size:
            is_there = f"has {stored[file.path]} bytes" if file.path in stored else "is missing"
            message = f"{file.path} {is_there} below {artifact_uri}; {MANIFEST} lists {file.size} bytes"
            raise Failure("ArtifactInvalid", message)
    metrics = found.manifest.provenance.metrics
    return Outcome(
        result="Succeeded",
        message="the artifact was found in the store",
        artifact_uri=artifact_uri,
        artifact_digest=found.digest,
        weights_digest=found.manifest.weights_digest,
        rank=found.manifest.rank,
        step=int(metrics["steps"]) if "steps" in metrics else None,
        total_steps=int(metrics["steps"]) if "steps" in metrics else None,
        loss=metrics.get("loss"),
    )
