"""Every label and annotation key Clara writes, and the one function that makes a child's labels."""

from __future__ import annotations

import hashlib
import re

from clara_api.meta import GROUP

OWNER = f"{GROUP}/owner"  # "<kind>.<name>", shortened to a label value
FAMILY = f"{GROUP}/family"
VERSION = f"{GROUP}/version"
TRAINING_JOB = f"{GROUP}/training-job"
TRAINING_JOB_UID = f"{GROUP}/training-job-uid"  # an Adapter's link to the run that made it: looked up before a POST
SERVING_DEPLOYMENT = f"{GROUP}/serving-deployment"
ATTEMPT = f"{GROUP}/attempt"
PURPOSE = f"{GROUP}/purpose"  # train | recover | evaluate | record | list | reproduce: what a Job is for
ADAPTER = f"{GROUP}/adapter"

SPEC_DIGEST = f"{GROUP}/spec-digest"  # annotation: digest of the engine spec a Deployment was made from
TEMPLATE_DIGEST = f"{GROUP}/template-digest"  # annotation: digest of the pod template applied last
RUN_DIGEST = f"{GROUP}/run-digest"  # annotation: digest of the recipe and rerun a Job was made from
BASE_MODEL = f"{GROUP}/base-model"  # annotation of a train Job: name of the base this attempt was given
BASE_DIGEST = f"{GROUP}/base-digest"  # annotation of a train Job: its digest, which tells a fallback
MEMORY_LEVEL = f"{GROUP}/memory-level"  # annotation of a train Job: how often pods of the run were killed for memory
ROOM_DIGEST = f"{GROUP}/room-digest"  # annotation of a train Job: digest of the resources and scratch of its pods
SUSPENDED = f"{GROUP}/suspended"  # annotation of a train Job: spec.suspend is ours to take back
ACTIVE_SECONDS = f"{GROUP}/active-seconds"  # annotation of a train Job: how long it ran before it was suspended
RECIPE_DIGEST = f"{GROUP}/recipe-digest"  # annotation of an Adapter: tells a patch from a minor version
SOURCES_DIGEST = f"{GROUP}/sources-digest"  # annotation of an Adapter: likewise
BASE_URI = f"{GROUP}/base-uri"  # annotation of an Adapter: where its base lay; a hint for evaluation
GOLDEN_DIGEST = f"{GROUP}/golden-digest"  # annotation of an evaluation Job

# Annotations of the ServiceAccount clara-trainer, written by the chart: what `kubectl clara import` runs, and where it looks.
TRAINER_IMAGE = f"{GROUP}/trainer-image"
ARTIFACT_PREFIX = f"{GROUP}/artifact-prefix"
STORE_SECRET = f"{GROUP}/store-secret"

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "clara"

PURPOSE_TRAIN = "train"
PURPOSE_RECOVER = "recover"
PURPOSE_EVALUATE = "evaluate"
PURPOSE_RECORD = "record"
PURPOSE_LIST = "list"
PURPOSE_REPRODUCE = "reproduce"

CHILD_NAME_LIMIT = 52  # a Job adds 11 characters to its pods' names, a label value holds 63


def child_labels(component: str, *, owner: str, **extra: str) -> dict[str, str]:
    """Labels of an object Clara makes. `owner` is the name of the custom resource; never app.kubernetes.io/instance,
    which Argo CD would take as its own tracking label."""
    labels = {
        "app.kubernetes.io/name": "clara",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "clara",
        MANAGED_BY: MANAGER,
        OWNER: label_value(owner),
    }
    labels.update({key: label_value(value) for key, value in extra.items()})
    return labels


def label_value(text: str) -> str:
    """`text` as a label value: itself when it fits, otherwise its start and a hash."""
    if len(text) <= 63 and re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", text):
        return text
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', text).strip('-')[:50]}-{short_hash(text)}".strip("-")


def child_name(owner: str, *parts: str) -> str:
    """A DNS label of at most 52 characters for a child of `owner`: dots become dashes and add a hash, as cutting does."""
    wanted = "-".join((owner, *parts))
    plain = re.sub(r"[^a-z0-9-]", "-", wanted.lower())
    if plain == wanted and len(plain) <= CHILD_NAME_LIMIT:
        return plain
    suffix = "-".join(parts)
    tail = f"-{short_hash(wanted)}" + (f"-{re.sub(r'[^a-z0-9-]', '-', suffix.lower())}" if suffix else "")
    head = re.sub(r"[^a-z0-9-]", "-", owner.lower())[: CHILD_NAME_LIMIT - len(tail)].strip("-")
    return f"{head}{tail}"


def short_hash(text: str) -> str:
    """Eight hex digits that tell names apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
