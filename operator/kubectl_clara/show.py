"""Objects as lines people read. Pure; called by main."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Object = dict[str, Any]


def review_lines(adapter: Object) -> list[str]:
    """One Adapter: what was decided, on what evidence, and how to decide otherwise."""
    name, status = adapter["metadata"]["name"], adapter.get("status") or {}
    evaluation, decision = status.get("evaluation") or {}, status.get("decision") or {}
    lines = [f"Adapter   {name}", f"Decision  {decision.get('outcome', 'none yet')}: {decision.get('message', '')}"]
    if decision.get("by"):
        lines.append(f"By        {decision['by']} at {decision.get('at', '')}")
    if evaluation:
        score = (status.get("display") or {}).get("score", "")
        lines.append(f"Score     {score} on {evaluation.get('samples')} samples of {evaluation.get('goldenDataset')}")
        lines.append(f"Passed    {evaluation.get('passRate', 0) * 100:.0f} % of the samples")
        lines.append(
            f"Unscored  {evaluation.get('unscored', 0)}; broken hard constraints: {evaluation.get('failedConstraints', 0)}"
        )
        lines.append(f"Report    {evaluation.get('reportUri', '')}")
    lines.append(f"Artifact  {adapter['spec']['artifact']['uri']} {adapter['spec']['artifact']['digest']}")
    if decision.get("outcome") == "NeedsReview":
        lines.append(f"Decide    kubectl clara approve {name} --reason …   or   kubectl clara reject {name} --reason …")
    return lines


def doctor_lines(objects: Sequence[Object]) -> list[str]:
    """Every object whose top condition is not True, with its message; one line when all is well."""
    lines = []
    for obj in objects:
        conditions = (obj.get("status") or {}).get("conditions") or []
        top = next((c for c in conditions if c["type"] in ("Ready", "Succeeded")), None)
        if top is None:
            lines.append(f"{_name(obj)}: no status yet; is the operator running?")
        elif top["status"] != "True":
            lines.append(f"{_name(obj)}: {top['reason']}: {top['message']}")
        lines += [
            f"{_name(obj)}: {p['subject']}: {p['message']}" for p in (obj.get("status") or {}).get("problems") or []
        ]
    return lines or [f"all {len(objects)} objects are well"]


def _name(obj: Object) -> str:
    return f"{obj['kind']} {obj['metadata']['namespace']}/{obj['metadata']['name']}"
