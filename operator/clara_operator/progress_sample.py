"""One progress message as what the operator keeps of it. Pure; called by the endpoint (progress.py).

Numbers that are none (a loss that is NaN) are left out: the API server takes no NaN.
"""

from __future__ import annotations

import math
from datetime import datetime

from clara_api.handoff.progress import ProgressMessage, data_of
from clara_api.training_job import MemoryPlan

from clara_operator.cluster import ProgressSample


def sample_of(message: ProgressMessage, pod: str, now: datetime) -> ProgressSample | None:
    """None for a message with neither a step nor a phase: transformers' last one after a SIGTERM, say."""
    step, phase = _whole(message, "current_step"), _text(message, "phase")
    if step is None and phase is None:
        return None
    return ProgressSample(
        at=now,
        pod=pod,
        step=step,
        total_steps=_whole(message, "total_steps"),
        epoch=_number(message, "current_epoch"),
        loss=_number(message, "loss"),
        tokens_per_second=_number(message, "tokens_per_second"),
        phase=phase,
        learning_rate=_number(message, "learning_rate"),
        checkpoint_step=_whole(message, "checkpoint_step"),
        resumed_from_step=_whole(message, "resumed_from_step"),
        interruptions=_whole(message, "interruptions"),
        peak_memory_bytes=_whole(message, "peak_memory_bytes"),
        memory=_memory(message),
        data=data_of(message),
    )


def _memory(message: ProgressMessage) -> MemoryPlan | None:
    micro, accumulation = _whole(message, "micro_batch_size"), _whole(message, "accumulation")
    if not micro or not accumulation:
        return None
    return MemoryPlan(
        micro_batch_size=micro,
        accumulation=accumulation,
        processes=_whole(message, "processes") or 1,
        gradient_checkpointing=bool(_whole(message, "gradient_checkpointing")),
        reason=_text(message, "memory_reason") or "",
    )


def _number(message: ProgressMessage, name: str) -> float | None:
    value = message.number(name)
    return value if value is not None and math.isfinite(value) else None


def _whole(message: ProgressMessage, name: str) -> int | None:
    value = _number(message, name)
    return int(value) if value is not None and value >= 0 else None


def _text(message: ProgressMessage, name: str) -> str | None:
    return next((m.value for m in message.trainer_status.metrics if m.name == name), None) or None
