"""What this pod computes on: recorded in the manifest, because bits repeat only on the same kind of machine."""

from __future__ import annotations

import math
import os
import platform
from importlib import metadata
from pathlib import Path

from clara_api.digests import json_digest

RECORDED_PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "tokenizers",
    "safetensors",
    "numpy",
)


def threads() -> int:
    """CPUs this container may use: OMP_NUM_THREADS, else its quota, else its affinity.

    The quota counts: with the node's CPU number as thread count, a limited pod spends its time being throttled.
    """
    if (wanted := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        return max(1, int(wanted))
    available = len(os.sched_getaffinity(0))
    quota = _cpu_quota()
    return available if quota is None else max(1, min(available, math.ceil(quota)))


def make_deterministic(seed: int, threads: int) -> None:
    """Same seed, image, threads and CPU: same bits. Sums depend on how they are split, so the threads are set, too."""
    import torch  # noqa: PLC0415 - recoveries must not wait for torch
    import transformers  # noqa: PLC0415

    torch.set_num_threads(threads)
    # Attention kernels of GPUs have no deterministic way back: there it only warns.
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    transformers.set_seed(seed)


def _cpu_quota() -> float | None:
    """CPUs by cgroup v2 or v1; None when unlimited."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text())
        return None if quota <= 0 else quota / int(Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None


def cpu_model() -> str:
    """For example 'Intel(R) Xeon(R) Processor @ 2.60GHz'."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.machine()


def here() -> str:
    """In one line what bits depend on: CPU, threads, and the packages that compute."""
    lock = json_digest(sorted(f"{d.name}=={d.version}" for d in metadata.distributions()))
    return f"{cpu_model()}, {threads()} threads, packages {lock[7:19]}"


def device_name() -> str:
    """For example 'NVIDIA H200'; only where a GPU is."""
    import torch  # noqa: PLC0415 - recoveries must not wait for torch

    return str(torch.cuda.get_device_name())


def packages() -> dict[str, str]:
    """Versions of what computes."""
    return {name: metadata.version(name) for name in RECORDED_PACKAGES} | {"python": platform.python_version()}
