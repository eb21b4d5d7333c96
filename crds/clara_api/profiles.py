"""Profiles: named sets of hyperparameter defaults, overridable field by field. Pure; called by the operator.

A profile is defaults, not a mode: whatever a person writes in spec.hyperparameters wins, and status.effective shows what is
used.
"""

from __future__ import annotations

from clara_api.meta import Resources
from clara_api.training_job import HyperparameterOverrides, Hyperparameters, Profile

REHEARSAL = 2  # processes of profile multi-gpu where no GPU is asked for

PROFILES: dict[Profile, Hyperparameters] = {
    # Rank 16 on every linear layer reaches full fine-tuning on instruction data (Dettmers et al. 2023, §4).
    "lora": Hyperparameters(),
    # 4-bit weights leave room for longer rows; the rate is QLoRA's own (§4, table 9).
    "qlora": Hyperparameters(max_length=2048),
    # Feedback comes in handfuls: one pass, tiny steps, no warm-up, so that nothing learned before is lost.
    "continuous": Hyperparameters(learning_rate=5.0e-6, epochs=1, global_batch_size=8, warmup_ratio=0),
    # Larger steps keep every GPU busy; with Adam the rate grows with the root of the batch (Malladi et al. 2022).
    "multi-gpu": Hyperparameters(learning_rate=2.8e-4, global_batch_size=128, max_length=2048),
}


def effective(profile: Profile, overrides: HyperparameterOverrides) -> Hyperparameters:
    """The profile with what the person wrote over it."""
    return PROFILES[profile].model_copy(update=overrides.model_dump(exclude_none=True))


def processes(profile: Profile, resources: Resources) -> int:
    """How many processes share each step of a run: one for each GPU of its limits. No GPU stands idle for want of a profile.

    Profile multi-gpu without GPUs takes two, so that what is going to run on GPUs can be tried on CPUs.
    """
    return gpus(resources) or (REHEARSAL if profile == "multi-gpu" else 1)


def gpus(resources: Resources) -> int:
    """GPUs of a pod, whoever made them: nvidia.com/gpu, amd.com/gpu."""
    return sum(int(count) for name, count in resources.limits.items() if name.endswith("/gpu") and count.isdigit())
