"""Small objects for scenarios that are not about training well."""

from __future__ import annotations

from typing import Any

import clara_chain as chain
from conftest import RECHT


def small_job(name: str, base: chain.Base, *, family: str | None = None, **spec: Any) -> chain.Object:
    """A job of a few steps, in a family of its own that nobody serves."""
    quick = {"rank": 4, "alpha": 8, "learningRate": 1e-3, "epochs": 1, "globalBatchSize": 4, "maxLength": 64}
    job = chain.training_job(name, RECHT, family or name, [], base, hyperparameters=quick)
    job["spec"] |= spec
    job["spec"].pop("evaluation", None)
    return job
