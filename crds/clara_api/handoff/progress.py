"""Handoff 2: running pod → operator, in KEP-2779's wire format, so that stock `transformers` reports by itself.

POST https://clara-progress.<operator namespace>.svc:8443/v1/namespaces/NS/trainingjobs/NAME/attempts/N
Authorization: Bearer <projected token, audience AUDIENCE>
{"trainerStatus": {"progressPercentage": 12, "estimatedRemainingSeconds": 30,
                   "metrics": [{"name": "current_step", "value": "12"}, …], "lastUpdatedTime": "…"}}

Clara's own trainer adds the metrics `phase` (what the pod does, in words), checkpoint_step, resumed_from_step, interruptions,
peak_memory_bytes, micro_batch_size, accumulation, processes, gradient_checkpointing (0 or 1), memory_reason, and once the data
are read the counts of the data report as data_rows, data_tokens, ….

progressPercentage and estimatedRemainingSeconds are not believed (they read 100 % after a SIGTERM): the operator computes
its own from `current_step` and `total_steps`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from clara_api.meta import Model
from clara_api.training_job import DataReport

AUDIENCE = "clara-progress"
MAX_BODY_BYTES = 64 * 1024
ENV_URL = "KUBEFLOW_TRAINER_SERVER_URL"
ENV_CA = "KUBEFLOW_TRAINER_SERVER_CA_CERT"
ENV_TOKEN = "KUBEFLOW_TRAINER_SERVER_TOKEN"


class Metric(Model):
    """A named number, as text."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    value: Annotated[str, StringConstraints(max_length=64)]


class TrainerStatus(Model):
    """KEP-2779 trainerStatus."""

    progress_percentage: int | None = Field(default=None, ge=0, le=100)
    estimated_remaining_seconds: int | None = Field(default=None, ge=0)
    metrics: list[Metric] = Field(default_factory=list, max_length=256)
    last_updated_time: str | None = None


class ProgressMessage(Model):
    """The POST body."""

    trainer_status: TrainerStatus

    def number(self, name: str) -> float | None:
        """A metric's value as a number; None when absent or no number."""
        for metric in self.trainer_status.metrics:
            if metric.name == name:
                try:
                    return float(metric.value)
                except ValueError:
                    return None
        return None

    def text(self, name: str) -> str | None:
        """A metric's value as it was sent; None when absent."""
        return next((metric.value for metric in self.trainer_status.metrics if metric.name == name), None)


COUNTS = tuple(name for name, field in DataReport.model_fields.items() if field.annotation is int)


def data_metrics(report: DataReport) -> dict[str, int]:
    """The counts of a data report as metrics."""
    return {f"data_{name}": getattr(report, name) for name in COUNTS}


def data_of(message: ProgressMessage) -> DataReport | None:
    """The data report in a message; None before the data were read."""
    found = {name: message.number(f"data_{name}") for name in COUNTS}
    counts = {name: int(value) for name, value in found.items() if value is not None and 0 <= value < 1e15}
    return DataReport(**counts) if counts else None
