"""What to do for one TrainingJob. Pure; called by reconcile with a frozen snapshot.

no attempt ──start──▶ attempt n ──pod says Succeeded──▶ Adapter POSTed ──▶ adapterRef: done, recipe locked
    ▲                    │ pod gone, nothing said ──▶ recovery Job reads the store ──▶ (Adapter | PodLost)
    └── retry, changed ──┴─ failure class                          spec.suspend: the Job stops, and goes on
        recipe, rerun
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from clara_api import reasons
from clara_api.handoff.outcome import Outcome
from clara_api.lifecycle import Situation
from clara_api.meta import find_condition
from clara_api.training_job import Progress

from clara_operator.failures import Failure, failure_of, lost
from clara_operator.plan import Plan
from clara_operator.pod_facts import JobFacts
from clara_operator.settings import Settings
from clara_operator.training_job import build, retry, suspend
from clara_operator.training_job.attempts import Run, base_of, dry_run_done, published, recorded_failure, run_of
from clara_operator.training_job.deadline import deadline_patch
from clara_operator.training_job.observe import Seen
from clara_operator.training_job.progress import finished, progress_of, saved
from clara_operator.training_job.stage import stage_of
from clara_operator.training_job.start import go_on, start
from clara_operator.training_job.status import Verdict, with_status
from clara_operator.training_job.versioning import choose_version

TOOK_STEPS = (reasons.TRAINING, reasons.PUBLISHING)


def decide(seen: Seen, settings: Settings, now: datetime) -> Plan:
    """One pass: what to create, and the status that is true now."""
    if seen.status.adapter_ref is not None and seen.status.artifact_digest is not None:
        return with_status(seen, _succeeded(seen, seen.status.adapter_ref.name), now)
    run = run_of(seen)
    outcome = published(run)
    if outcome is not None:
        return _publish(seen, run, outcome, now)
    tried = dry_run_done(run)
    if tried is not None or _dry_run_is_recorded(seen):
        return _dry_run_done(seen, run, tried, now)
    job = run.current
    if job is None and (known := _failure_is_recorded(seen)):
        return with_status(seen, known, now)
    if job is None:
        return start(seen, run, seen.spec.base_model, settings, now)
    if job.finished is None:
        return _unfinished(seen, run, job, settings, now)
    failure = failure_of(job) or recorded_failure(seen, job)
    if failure is None:
        return _recover(seen, run, job, settings, now)
    return _after_failure(seen, run, failure, settings, now)


def _unfinished(seen: Seen, run: Run, job: JobFacts, settings: Settings, now: datetime) -> Plan:
    if seen.spec.suspend:
        return _suspend(seen, job, now)
    if job.suspended and job.suspended_by_us:
        return go_on(seen, run, job, settings, now)
    progress, took_steps = _progress(seen, job)
    which = f"attempt {len(run.attempts)} of {seen.spec.retry.max_attempts}"
    reason, message = stage_of(job, progress, which, took_steps=took_steps)
    if job.suspended:
        reason, message = reasons.QUEUED, f"{which}: Job {job.name} was suspended by somebody else, who lets it go on"
    verdict = Verdict(Situation.IN_PROGRESS, reason, message, locked=True, job=job, progress=progress)
    patch = deadline_patch(seen, run, now)
    return replace(with_status(seen, verdict, now), patch=(patch,) if patch else ())


def _suspend(seen: Seen, job: JobFacts, now: datetime) -> Plan:
    """The Job's pods save and end; its slot is free when they are gone."""
    patch = suspend.stop(seen, job, now)
    stops = patch is not None or (job.pod is not None and job.pod.running)
    verdict = Verdict(
        Situation.IN_PROGRESS if stops else Situation.WAITS_PERSON,
        reasons.SUSPENDED,
        suspend.words(seen, job),
        locked=True,
        job=job,
        progress=_progress(seen, job)[0] if stops else saved(seen.status.progress, job.outcome),
    )
    return replace(with_status(seen, verdict, now), patch=(patch,) if patch else ())


def _progress(seen: Seen, job: JobFacts) -> tuple[Progress | None, bool]:
    """Where an unfinished attempt is, and whether its newest pod has taken steps itself."""
    before = saved(seen.status.progress, job.outcome)
    running = job.pod is not None and job.pod.running
    if running and seen.samples:
        progress = progress_of(seen.samples, before)
        taken = seen.samples[-1].step
        return progress, taken is not None and taken > (seen.samples[-1].resumed_from_step or 0)
    top = find_condition(seen.status.conditions, "Succeeded")
    if running and top is not None and top.reason in TOOK_STEPS:
        return seen.status.progress, True  # this operator is new: it hears of the pod within seconds
    return before, False


def _publish(seen: Seen, run: Run, outcome: Outcome, now: datetime) -> Plan:
    job = run.current
    assert job is not None
    base = base_of(seen.spec, job)
    progress, identity = finished(seen.status.progress, outcome), build.identity(outcome, base)
    own = next((v for v in seen.versions if v.job_uid == seen.uid), None)
    if own is not None:
        verdict = replace(_succeeded(seen, own.name), job=job, progress=progress)
        return with_status(seen, verdict, now, adapter=own, outcome=outcome, base=identity)
    version = choose_version(seen, identity.digest)
    if version is None:
        taken = f"{seen.spec.family}-{seen.spec.version}"
        message = f"Adapter {taken} exists already; make a new TrainingJob with another spec.version, or 'auto'"
        verdict = Verdict(Situation.FAILED, reasons.VERSION_TAKEN, message, locked=True, progress=progress)
        return with_status(seen, verdict, now, outcome=outcome, base=identity)
    message = f"the artifact is complete; Adapter {seen.spec.family}-{version} is created"
    verdict = Verdict(Situation.IN_PROGRESS, reasons.PUBLISHING, message, True, job, progress=progress)
    plan = with_status(seen, verdict, now, outcome=outcome, base=identity)
    adapter = build.build_adapter(seen, outcome, base, version)
    return replace(plan, create=(adapter,), again_after=timedelta(seconds=1))


def _succeeded(seen: Seen, adapter: str) -> Verdict:
    message = f"Adapter {adapter} holds the result"
    return Verdict(Situation.DONE, reasons.SUCCEEDED, message, locked=True, progress=seen.status.progress)


def _dry_run_done(seen: Seen, run: Run, outcome: Outcome | None, now: datetime) -> Plan:
    """Nothing is locked: what was learned may change the recipe; spec.dryRun: false trains."""
    report = outcome.dry_run if outcome else seen.status.dry_run
    assert report is not None
    gib = report.peak_memory_bytes / 2**30
    message = (
        f"one step took {report.seconds_per_step:.2f} s and {gib:.1f} GiB; {report.total_steps} steps would take about "
        f"{report.estimated_seconds / 60:.0f} min. spec.dryRun: false trains"
    )
    verdict = Verdict(Situation.DONE, reasons.DRY_RUN_DONE, message, locked=False, job=run.current)
    return with_status(seen, verdict, now, outcome=outcome)


def _dry_run_is_recorded(seen: Seen) -> bool:
    """Its Job may be gone; the same spec is not tried twice."""
    top = find_condition(seen.status.conditions, "Succeeded")
    done = top is not None and top.reason == reasons.DRY_RUN_DONE and top.observed_generation == seen.generation
    return done and seen.spec.dry_run and seen.status.dry_run is not None


def _failure_is_recorded(seen: Seen) -> Verdict | None:
    """The Job of a run that failed for good may be cleaned away; that is no wish to try it again. A changed spec is."""
    top = find_condition(seen.status.conditions, "Succeeded")
    last = seen.status.attempts[-1] if seen.status.attempts else None
    if top is None or last is None or top.status != "False" or top.observed_generation != seen.generation:
        return None
    if (last.reason, last.ended_at is None) != (top.reason, False) or not top.message.startswith(last.message[:64]):
        return None
    return Verdict(Situation.FAILED, top.reason, top.message, locked=False, progress=seen.status.progress)


def _recover(seen: Seen, run: Run, job: JobFacts, settings: Settings, now: datetime) -> Plan:
    progress = saved(seen.status.progress, job.outcome)
    if run.recovery is None:
        message = (
            f"the pod of attempt {job.attempt} left no outcome; a recovery Job looks for its artifact in the store"
        )
        verdict = Verdict(Situation.IN_PROGRESS, reasons.POD_LOST, message, True, job, progress=progress)
        return replace(with_status(seen, verdict, now), create=build.build_recovery(seen, job.attempt, settings))
    if run.recovery.finished is None:
        message = f"Job {run.recovery.name} looks for the artifact of attempt {job.attempt}"
        verdict = Verdict(Situation.IN_PROGRESS, reasons.POD_LOST, message, True, job, progress=progress)
        return with_status(seen, verdict, now)
    failure = failure_of(run.recovery)
    if failure is None or failure.reason == reasons.POD_LOST:
        failure = lost(job)
    return _after_failure(seen, run, failure, settings, now)


def _after_failure(seen: Seen, run: Run, failure: Failure, settings: Settings, now: datetime) -> Plan:
    job = run.current
    assert job is not None
    follows = retry.after(seen, run, failure, now)
    if isinstance(follows, retry.Stop):
        known = seen.status.progress
        last = known.model_copy(update={"eta_seconds": None, "phase": None}) if known else None
        stopped = Verdict(Situation.FAILED, follows.reason, follows.message, False, job, failure, progress=last)
        return with_status(seen, stopped, now, outcome=job.outcome)
    if now >= follows.at or seen.spec.suspend:
        return start(seen, run, follows.base, settings, now, level=follows.memory_level, failure=failure)
    progress = saved(seen.status.progress, job.outcome)
    waits = Verdict(Situation.IN_PROGRESS, reasons.RETRYING, follows.message, True, job, failure, progress=progress)
    return replace(with_status(seen, waits, now), again_after=follows.at - now)
