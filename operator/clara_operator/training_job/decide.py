"""What to do for one TrainingJob. Pure; called by reconcile with a frozen snapshot.

no attempt ──preflight──▶ attempt n ──pod says Succeeded──▶ Adapter POSTed ──▶ adapterRef: done, recipe locked
    ▲                        │ pod gone, nothing said ──▶ recovery Job reads the store ──▶ (Adapter | PodLost)
    └── retry, or a changed ─┴─ failure class
        recipe / rerun
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from clara_api import labels, reasons
from clara_api.handoff.outcome import Outcome
from clara_api.lifecycle import Situation

from clara_operator.plan import Create, Plan
from clara_operator.pod_facts import JobFacts
from clara_operator.settings import Settings
from clara_operator.training_job import build, retry
from clara_operator.training_job.observe import Seen
from clara_operator.training_job.preflight import refusal
from clara_operator.training_job.retry import Failure
from clara_operator.training_job.status import Verdict, with_status
from clara_operator.training_job.versioning import choose_version


@dataclass(frozen=True, slots=True)
class Run:
    """The attempts of the recipe as it is now, oldest first."""

    attempts: tuple[JobFacts, ...]
    recovery: JobFacts | None
    newest_number: int

    @property
    def current(self) -> JobFacts | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None


def decide(seen: Seen, settings: Settings, now: datetime) -> Plan:
    """One pass: what to create, and the status that is true now."""
    if seen.status.adapter_ref is not None and seen.status.artifact_digest is not None:
        return with_status(seen, _succeeded(seen, seen.status.adapter_ref.name), now)
    run = _run(seen)
    outcome = _published(run)
    if outcome is not None:
        return _publish(seen, outcome, now)
    job = run.current
    if job is None:
        return _start(seen, run, settings, now)
    if job.finished is None:
        return with_status(seen, _progressing(job), now)
    failure = retry.failure_of(job)
    if failure is None:
        return _recover(seen, run, job, settings, now)
    return _after_failure(seen, run, failure, settings, now)


def _run(seen: Seen) -> Run:
    digest = build.run_digest(seen.spec)
    train = tuple(j for j in seen.jobs if j.purpose == labels.PURPOSE_TRAIN)
    mine = tuple(j for j in train if j.run_digest == digest)
    unfinished = tuple(j for j in train if j.finished is None and j not in mine)
    attempts = mine or unfinished  # the recipe is locked while a pod runs: an older one is still this run
    current = attempts[-1] if attempts else None
    recovery = next(
        (j for j in seen.jobs if current and j.purpose == labels.PURPOSE_RECOVER and j.attempt == current.attempt), None
    )
    return Run(attempts, recovery, max((j.attempt for j in train), default=0))


def _published(run: Run) -> Outcome | None:
    """The outcome of a finished run, from its pod or from the recovery Job."""
    for job in (run.current, run.recovery):
        outcome = job.outcome if job else None
        if outcome is None or outcome.result != "Succeeded" or outcome.artifact_digest is None:
            continue
        if job is run.recovery or (outcome.step is not None and outcome.step == outcome.total_steps):
            return outcome
    return None


def _start(seen: Seen, run: Run, settings: Settings, now: datetime) -> Plan:
    refused = refusal(seen, settings)
    if refused is not None:
        return with_status(seen, Verdict(Situation.FAILED, refused.reason, refused.message, locked=False), now)
    created = build.build_training(seen, run.newest_number + 1, settings)
    verdict = Verdict(
        Situation.IN_PROGRESS, reasons.QUEUED, f"attempt {run.newest_number + 1} is being created", locked=True
    )
    return replace(with_status(seen, verdict, now), create=created)


def _progressing(job: JobFacts) -> Verdict:
    pod = job.pod
    locked = True
    if pod is None:
        return Verdict(Situation.IN_PROGRESS, reasons.QUEUED, f"Job {job.name} waits for its pod", locked, job)
    if pod.waiting:
        cure = "check the image name, the registry and scheduling.imagePullSecrets"
        return Verdict(
            Situation.IN_PROGRESS, reasons.IMAGE_UNAVAILABLE, f"pod {pod.name}: {pod.waiting}; {cure}", locked, job
        )
    if pod.unschedulable:
        return Verdict(
            Situation.IN_PROGRESS, reasons.UNSCHEDULABLE, f"pod {pod.name}: {pod.unschedulable}", locked, job
        )
    if not pod.running and pod.phase == "Pending":
        return Verdict(Situation.IN_PROGRESS, reasons.STARTING, f"pod {pod.name} is starting", locked, job)
    if not pod.running:
        return Verdict(
            Situation.IN_PROGRESS, reasons.PUBLISHING, f"pod {pod.name} has ended; its outcome is read", locked, job
        )
    return Verdict(
        Situation.IN_PROGRESS, reasons.PREPARING, f"pod {pod.name} fetches the base and checks the data", locked, job
    )


def _publish(seen: Seen, outcome: Outcome, now: datetime) -> Plan:
    own = next((v for v in seen.versions if v.job_uid == seen.uid), None)
    if own is not None:
        return with_status(seen, _succeeded(seen, own.name), now, adapter=own, outcome=outcome)
    version = choose_version(seen)
    if version is None:
        taken = f"{seen.spec.family}-{seen.spec.version}"
        message = f"Adapter {taken} exists already; make a new TrainingJob with another spec.version, or 'auto'"
        return with_status(
            seen, Verdict(Situation.FAILED, reasons.VERSION_TAKEN, message, locked=True), now, outcome=outcome
        )
    adapter = build.build_adapter(seen, outcome, version)
    verdict = Verdict(
        Situation.IN_PROGRESS,
        reasons.PUBLISHING,
        f"the artifact is complete; Adapter {seen.spec.family}-{version} is created",
        True,
    )
    return replace(
        with_status(seen, verdict, now, outcome=outcome), create=(adapter,), again_after=timedelta(seconds=1)
    )


def _succeeded(seen: Seen, adapter: str) -> Verdict:
    return Verdict(
        Situation.DONE, reasons.SUCCEEDED, f"Adapter {adapter} holds the result", locked=True, adapter=adapter
    )


def _recover(seen: Seen, run: Run, job: JobFacts, settings: Settings, now: datetime) -> Plan:
    if run.recovery is None:
        created: tuple[Create, ...] = build.build_recovery(seen, job.attempt, settings)
        message = (
            f"the pod of attempt {job.attempt} left no outcome; a recovery Job looks for its artifact in the store"
        )
        return replace(
            with_status(seen, Verdict(Situation.IN_PROGRESS, reasons.POD_LOST, message, True, job), now), create=created
        )
    if run.recovery.finished is None:
        message = f"Job {run.recovery.name} looks for the artifact of attempt {job.attempt}"
        return with_status(seen, Verdict(Situation.IN_PROGRESS, reasons.POD_LOST, message, True, job), now)
    failure = retry.failure_of(run.recovery) or Failure(
        reasons.POD_LOST, "neither the pod nor the recovery Job left an outcome"
    )
    if failure.reason == reasons.POD_LOST:
        failure = Failure(reasons.POD_LOST, f"the pod of attempt {job.attempt} vanished and published nothing")
    return _after_failure(seen, run, failure, settings, now)


def _after_failure(seen: Seen, run: Run, failure: Failure, settings: Settings, now: datetime) -> Plan:
    job = run.current
    assert job is not None
    tried = len(run.attempts)
    if job.run_digest != build.run_digest(seen.spec):
        return _start(seen, run, settings, now)  # the recipe was changed after the failure
    if failure.may_pass and tried < retry.MAX_ATTEMPTS:
        due = retry.next_attempt_at(tried, job.ended_at or now)
        if now >= due:
            return _start(seen, run, settings, now)
        message = f"attempt {job.attempt}: {failure.message}; attempt {job.attempt + 1} of {retry.MAX_ATTEMPTS} follows"
        verdict = Verdict(Situation.IN_PROGRESS, reasons.RETRYING, message, True, job, failure)
        return replace(with_status(seen, verdict, now), again_after=due - now)
    verdict = Verdict(Situation.FAILED, failure.reason, failure.message, locked=False, job=job, failure=failure)
    return with_status(seen, verdict, now)
