"""The Job of `kubectl clara reproduce`: the training pod again, told to repeat and compare. Pure; called by main.

It is made from the Job that trained the adapter, so it has the same image, data mounts, scratch and CPUs: sums depend on them.
"""

from __future__ import annotations

from typing import Any

from clara_api import labels
from clara_api.handoff.progress import ENV_CA, ENV_TOKEN, ENV_URL

Object = dict[str, Any]
KEPT_SECONDS = 600  # long enough to read the log of one that failed
REPORTING = (ENV_URL, ENV_CA, ENV_TOKEN)  # nobody listens to a repetition


def attempt_of(adapter: Object) -> tuple[str, str]:
    """Label value of the TrainingJob and the attempt that published the adapter. ValueError: it was not trained here."""
    marks = adapter["metadata"].get("labels") or {}
    if labels.TRAINING_JOB not in marks:
        raise ValueError("it has no TrainingJob: it was brought by a person")
    return marks[labels.TRAINING_JOB], adapter["spec"]["artifact"]["uri"].rstrip("/").rpartition("/")[2]


def build(trained: Object, adapter: Object, name: str, *, approximate: bool) -> Object:
    """The Job, from the one that trained."""
    marks = labels.child_labels("reproduce", owner=name, **{labels.PURPOSE: labels.PURPOSE_REPRODUCE})
    pod = dict(trained["spec"]["template"]["spec"])
    container = dict(pod["containers"][0])
    container["args"] = ["reproduce", adapter["spec"]["artifact"]["uri"], *(["--approximate"] if approximate else [])]
    container["env"] = [entry for entry in container.get("env", []) if entry["name"] not in REPORTING]
    pod["containers"] = [container]
    spec = {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "template": {"metadata": {"labels": marks}, "spec": pod},
    }
    meta = {"name": name, "namespace": trained["metadata"]["namespace"], "labels": marks}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}
