"""What an unfinished attempt is doing, in a reason and a sentence. Pure; called by decide.

The pod's own words (`phase`: "waits for the store") are used where it has some.
"""

from __future__ import annotations

from clara_api import reasons
from clara_api.handoff.outcome import EXIT_PREEMPTED
from clara_api.training_job import Progress

from clara_operator.failures import NODE_IS_GONE
from clara_operator.pod_facts import JobFacts, PodFacts

Stage = tuple[str, str]


def stage_of(job: JobFacts, progress: Progress | None, which: str, *, took_steps: bool) -> Stage:
    """Reason and message. `which` is 'attempt 1 of 4'; `took_steps`: this very pod has trained, not only an earlier one."""
    pod = job.pod
    if pod is None:
        return reasons.QUEUED, f"{which}: Job {job.name} waits for its pod"
    found = _cannot_start(pod, which) or _was_taken_away(pod, progress, which)
    return found or _goes_on(pod, progress if took_steps else None, progress.phase if progress else None, which)


def _cannot_start(pod: PodFacts, which: str) -> Stage | None:
    if pod.waiting:
        cure = "check the image name, the registry and scheduling.imagePullSecrets"
        return reasons.IMAGE_UNAVAILABLE, f"{which}: pod {pod.name}: {pod.waiting}; {cure}"
    if pod.unschedulable:
        return reasons.UNSCHEDULABLE, f"{which}: pod {pod.name}: {pod.unschedulable}"
    if not pod.running and pod.phase == "Pending":
        return reasons.STARTING, f"{which}: pod {pod.name} is starting"
    return None


def _was_taken_away(pod: PodFacts, progress: Progress | None, which: str) -> Stage | None:
    """Its Job makes another pod by itself."""
    step = progress.checkpoint_step if progress else None
    then = f"another goes on at step {step}" if step else "another starts anew: there was no checkpoint"
    if pod.disruption in NODE_IS_GONE:
        return reasons.NODE_LOST, f"{which}: node {pod.node} of pod {pod.name} is gone; {then}"
    if pod.disrupted or pod.exit_code == EXIT_PREEMPTED:
        why = f" ({pod.disruption})" if pod.disruption else ""
        return reasons.PREEMPTED, f"{which}: pod {pod.name} was told to stop{why}; {then}"
    return None


def _goes_on(pod: PodFacts, progress: Progress | None, phase: str | None, which: str) -> Stage:
    if not pod.running:
        return reasons.PUBLISHING, f"{which}: pod {pod.name} has ended; its outcome is read"
    if progress is None:
        return reasons.PREPARING, f"{which}: pod {pod.name} {phase or 'fetches the base and checks the data'}"
    if progress.step >= progress.total_steps > 0:
        return reasons.PUBLISHING, f"{which}: pod {pod.name} {phase or 'publishes the artifact'}"
    return reasons.TRAINING, f"{which} on {pod.node or 'its node'} takes {progress.total_steps} steps"
