"""RecordRun: write a person's decision beside the artifact, where a re-created Adapter finds it; and find it again."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from clara_api.digests import canonical_json
from clara_api.handoff.artifact import decision_path
from clara_api.handoff.outcome import Outcome
from clara_api.handoff.run import RecordRun

from clara_trainer import manifests
from clara_trainer.objects import Objects

DECISION_LIMIT = 64 << 10  # bytes
TOLD = ("decision", "by", "reason", "at", "reportDigest")
WITHDRAWN = "Withdrawn"
REASON_CHARS = 512  # the outcome has 3 KiB; the file keeps the whole reason

log = logging.getLogger(__name__)


def record(run: RecordRun, objects: Objects) -> Outcome:
    """Write decisions/<digest16>.json once; the same decision again changes nothing."""
    manifests.find_expected(objects, run.artifact_uri, run.artifact_digest)  # a decision binds to these bytes
    uri = manifests.below(run.artifact_uri, decision_path(run.decision_digest))
    wanted = canonical_json(run.decision) + b"\n"
    if objects.read(uri, limit=DECISION_LIMIT) == wanted:
        message = f"the decision lies at {uri} already"
    else:
        objects.write(wanted, uri)
        message = f"the decision was written to {uri}"
    return Outcome(
        result="Succeeded", message=message, artifact_uri=run.artifact_uri, artifact_digest=run.artifact_digest
    )


def newest_decision(objects: Objects, artifact_uri: str) -> dict[str, str] | None:
    """The decision with the latest `at`; None when nobody decided, or the last word was to take a decision back. A file
    that is no decision is passed over, loudly."""
    decisions = []
    for entry in objects.list(manifests.below(artifact_uri, "decisions")):
        uri = manifests.below(artifact_uri, f"decisions/{entry.path}")
        try:
            decisions.append(_parse(objects.read(uri, limit=DECISION_LIMIT) or b""))
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s is no decision (%s); it is passed over", uri, error)
    newest = max(decisions, key=_made_at, default=None)
    if newest is None or newest["decision"] == WITHDRAWN:
        return None
    return newest | {"reason": newest["reason"][:REASON_CHARS]}


def _parse(data: bytes) -> dict[str, str]:
    value = json.loads(data)
    decision = {name: str(value[name]) for name in TOLD if value.get(name) is not None}
    if decision["decision"] not in ("Approved", "Rejected", WITHDRAWN):
        raise ValueError(f"'{decision['decision']}' is neither Approved, Rejected nor {WITHDRAWN}")
    _made_at(decision)  # a decision without a time cannot be ordered
    return {"reason": "", **decision}


def _made_at(decision: dict[str, str]) -> datetime:
    at = datetime.fromisoformat(decision["at"])
    return at if at.tzinfo else at.replace(tzinfo=UTC)
