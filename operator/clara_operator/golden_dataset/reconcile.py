"""Observe and decide one GoldenDataset."""

from __future__ import annotations

from clara_api.golden_dataset import GoldenDatasetSpec, GoldenDatasetStatus

from clara_operator.golden_dataset.decide import decide
from clara_operator.golden_dataset.observe import observe
from clara_operator.subject import reconciler

reconcile = reconciler(GoldenDatasetSpec, GoldenDatasetStatus, observe, decide)
