"""Repeat a run from its manifest and compare: the proof that an artifact came from what its manifest says.

    manifest ─ same packages, CPU, threads? ─ same data? ─ same base? ─ all steps ─ weights: equal bits, or how far apart

Called by `__main__`: `python -m clara_trainer reproduce ARTIFACT-URI [--approximate]`, or with a ReproduceRun. On a CPU the
bits must be equal; on another machine, and on GPUs, only the effect can be compared.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

from clara_api.fingerprint import Fingerprint, compare
from clara_api.handoff.artifact import FINGERPRINT, WEIGHTS, DataDigest, Manifest, Provenance
from clara_api.handoff.outcome import Outcome
from clara_api.handoff.run import ReproduceRun, TrainRun
from pydantic import ValidationError

from clara_trainer import machine, manifests
from clara_trainer.checkpoints import Checkpoints
from clara_trainer.manifests import below
from clara_trainer.objects import Objects
from clara_trainer.outcome import Failure
from clara_trainer.publish import Trained
from clara_trainer.reporter import Reporter
from clara_trainer.settings import Settings
from clara_trainer.train import prepare, take_and_measure
from clara_trainer.workers import processes_for, sharing

ALIKE = 0.99  # cosine of the effects of two runs that are the same up to rounding
FINGERPRINT_LIMIT = 16 << 20  # bytes

log = logging.getLogger(__name__)


def reproduce(wanted: ReproduceRun, objects: Objects, settings: Settings, reporter: Reporter) -> Outcome:
    """Succeeded when the bits, or with `approximate` the effects, are equal; Failure ArtifactInvalid when they are not."""
    found = manifests.find(objects, wanted.artifact_uri)
    if found is None:
        raise Failure("ArtifactMissing", f"there is no manifest below {wanted.artifact_uri}")
    manifest = found.manifest
    run = run_of(manifest)
    others = differences(manifest.provenance, run)
    if others and not wanted.approximate:
        raise Failure(
            "SetupDiffers",
            f"this is another set-up than the one that made the artifact: {'; '.join(others)}. Use the image "
            f"{manifest.provenance.image or 'of the manifest'} on such a machine, or say --approximate",
        )
    nowhere = Checkpoints(objects, "", settings.scratch / "checkpoints", keep=1)
    with sharing(processes_for(run)) as workers:
        course, prepared = prepare(run, objects, settings, reporter, workers)
        course.cuts = manifest.provenance.cuts
        check_data(manifest.provenance.data, prepared.files)
        trained = take_and_measure(
            run, course, prepared, checkpoints=nowhere, folder=settings.scratch / "adapter", reporter=reporter
        )
    return verdict(manifest, trained, wanted, objects)


def run_of(manifest: Manifest) -> TrainRun:
    """The run that the manifest records, without a place for its state: nothing of the first run is touched."""
    try:
        run = TrainRun.model_validate(manifest.provenance.run)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "provenance.run"
        message = f"the manifest does not say how to repeat the run ({where}: {first['msg']}); it was made elsewhere"
        raise Failure("ArtifactInvalid", message) from error
    return run.model_copy(update={"run_uri": "", "dry_run": False})


def differences(recorded: Provenance, run: TrainRun) -> list[str]:
    """What is another here than where the artifact was made; bits repeat only where nothing is."""
    here = {**machine.packages(), "CPU": machine.cpu_model(), "threads": str(machine.threads())}
    there = {**recorded.packages, "CPU": recorded.cpu_model or "", "threads": str(recorded.threads)}
    found = [f"{name} {there[name]} (here {here.get(name, 'none')})" for name in there if here.get(name) != there[name]]
    if len(recorded.machines) > 1:
        found.append(f"steps computed on {len(recorded.machines)} machines ({'; '.join(recorded.machines)})")
    elif recorded.machines and recorded.machines != [machine.here()] and not found:
        found.append(f"{recorded.machines[0]} (here {machine.here()})")
    if run.processes != (usable := processes_for(run)):
        found.append(f"{run.processes} processes (here {usable})")
    if recorded.device:
        found.append(f"a GPU, {recorded.device}, whose sums are not repeated bit by bit")
    return found


def check_data(recorded: Sequence[DataDigest], read: Sequence[DataDigest]) -> None:
    """Failure DataChanged when a source is not what it was."""
    for before, now in zip(recorded, read, strict=False):
        if before.sha256 != now.sha256:
            message = f"{now.name} has the digest {now.sha256[:12]}…, the artifact was made from {before.sha256[:12]}…"
            raise Failure("DataChanged", f"{message}; restore the file")
    if len(recorded) != len(read):
        raise Failure("DataChanged", f"there are {len(read)} files of data, the artifact was made from {len(recorded)}")


def verdict(manifest: Manifest, trained: Trained, wanted: ReproduceRun, objects: Objects) -> Outcome:
    """Compare bits; with `approximate`, what the adapters change."""
    digest = f"sha256:{hashlib.sha256((trained.folder / WEIGHTS).read_bytes()).hexdigest()}"
    if digest == manifest.weights_digest:
        return Outcome(result="Succeeded", message=f"bit-identical: {digest}", weights_digest=digest)
    if not wanted.approximate:
        raise Failure("ArtifactInvalid", f"the weights are {digest}, the manifest says {manifest.weights_digest}")
    data = objects.read(below(wanted.artifact_uri, FINGERPRINT), limit=FINGERPRINT_LIMIT) or b"{}"
    recorded = Fingerprint.model_validate_json(data)
    result = compare(recorded.vector(), trained.finished.fingerprint.vector(), noise=0)
    message = f"not the same bits; the change of log-probabilities has cosine {result.cosine:.5f} with the recorded one"
    if result.cosine < ALIKE:
        raise Failure("ArtifactInvalid", f"{message}, below {ALIKE}")
    return Outcome(result="Succeeded", message=message, weights_digest=digest)
