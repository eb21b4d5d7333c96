"""What makes two runs the same run, two recipes the same recipe. Pure; digests of effective values.

A field that is spelled out and equals the profile's default changes nothing.
"""

from __future__ import annotations

from typing import Any

from clara_api.digests import json_digest
from clara_api.profiles import effective
from clara_api.training_job import TrainingJobSpec


def run_digest(spec: TrainingJobSpec) -> str:
    """What makes two attempts the same run: everything that decides the result, and `rerun`."""
    wire = spec.wire()
    kept = ("version", "baseModel", "fallbackBaseModels", "data", "validation", "dryRun", "rerun")
    return json_digest(_recipe(spec) | {k: wire.get(k) for k in kept})


def recipe_digest(spec: TrainingJobSpec) -> str:
    """The recipe without its base and data: equal for a patch version."""
    return json_digest(_recipe(spec))


def sources_digest(spec: TrainingJobSpec) -> str:
    """Which sources, not which rows: equal for a patch version."""
    return json_digest([s.wire() for s in spec.data])


def room_digest(spec: TrainingJobSpec) -> str:
    """What the pods are given: no part of the recipe, but a lack of it ends runs."""
    return json_digest([spec.resources.wire(), spec.scratch])


def _recipe(spec: TrainingJobSpec) -> dict[str, Any]:
    wire = spec.wire()
    kept = ("family", "method", "startFrom", "conversion", "dataPolicy")
    hyperparameters = effective(spec.profile, spec.hyperparameters).wire()  # the profile itself is only defaults
    return {k: wire.get(k) for k in kept} | {"hyperparameters": hyperparameters}
