"""Bring one TrainingJob from whatever is there to what its spec asks for: observe, decide; the runtime acts."""

from __future__ import annotations

from clara_api.training_job import TrainingJobSpec, TrainingJobStatus

from clara_operator.subject import reconciler
from clara_operator.training_job.decide import decide
from clara_operator.training_job.observe import observe

reconcile = reconciler(TrainingJobSpec, TrainingJobStatus, observe, decide)
