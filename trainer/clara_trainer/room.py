"""Is there room in scratch for what will be fetched? Asked before a byte is copied. Called by train.py and `__main__`.

A pod that fills its scratch space is evicted by the kubelet, and its Job makes another, which is evicted too: the cluster would
repeat it for ever. So the sizes that the store tells are added up first, and a pod that is evicted all the same says so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import Any

from clara_api.digests import is_base_model_file
from clara_api.handoff.run import TrainRun

from clara_trainer.objects import Objects
from clara_trainer.outcome import Failure, Terminated
from clara_trainer.settings import Settings

SPARE = 64 << 20  # bytes: caches
COPIES = 4  # of the adapter: a checkpoint has weights and two moments, and the adapter itself is saved


def check(run: TrainRun, objects: Objects, settings: Settings) -> None:
    """Failure DiskFull when base and data do not fit into spec.scratch, or onto the node's disk."""
    needed = base_bytes(run, objects) + data_bytes(run, objects) + SPARE
    free = shutil.disk_usage(settings.scratch).free
    limit = free if settings.scratch_bytes is None else settings.scratch_bytes
    if needed > limit:
        message = (
            f"base and data need {mib(needed)} MiB of scratch space, spec.scratch gives {mib(limit)} MiB; raise it"
        )
        raise Failure("DiskFull", message)
    if needed > free:
        message = f"base and data need {mib(needed)} MiB of scratch space, the node has {mib(free)} MiB left"
        raise Failure("DiskFull", f"{message}; choose another node by spec.scheduling, or free its disk")


def check_training(model: Any, settings: Settings) -> None:
    """Failure DiskFull when a checkpoint on its way to the store would not fit beside what is there."""
    adapter = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    used = used_bytes(settings)
    limit = settings.scratch_bytes
    if limit is not None and used + COPIES * adapter > limit:
        needed = mib(used + COPIES * adapter)
        message = f"base, data, checkpoints and adapter need {needed} MiB of scratch space, spec.scratch gives {mib(limit)} MiB"
        raise Failure("DiskFull", f"{message}; raise it")


def cause(error: BaseException, settings: Settings) -> BaseException:
    """Why the run ended. The kubelet stops a pod over spec.scratch as it stops any other: only what lies there tells."""
    limit = settings.scratch_bytes
    if not isinstance(error, Terminated) or limit is None or (used := used_bytes(settings)) <= limit:
        return error
    message = (
        f"the pod was told to stop while {mib(used)} MiB lay in its scratch space; spec.scratch gives {mib(limit)} MiB"
    )
    return Failure("DiskFull", f"{message}; raise it")


def used_bytes(settings: Settings) -> int:
    """Disk blocks under scratch, as the kubelet counts them; files come and go meanwhile."""
    total = 0
    for folder, _, names in os.walk(settings.scratch):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            with contextlib.suppress(OSError):
                total += os.lstat(path).st_blocks * 512
    return total


def base_bytes(run: TrainRun, objects: Objects) -> int:
    """Size of the base at the first place that has one; 0 when none does, which fetching it will explain."""
    for uri in (run.base_model.uri, *run.base_model.mirrors):
        try:
            entries = objects.list(uri)
        except Failure:
            continue
        if size := sum(entry.size for entry in entries if is_base_model_file(entry.path)):
            return size
    return 0


def data_bytes(run: TrainRun, objects: Objects) -> int:
    """Size of all sources in the store."""
    total = 0
    for source in run.data:
        if source.uri is None:
            continue
        alone = None if source.uri.endswith("/") else objects.size(source.uri)
        total += alone if alone is not None else sum(entry.size for entry in objects.list(source.uri))
    return total


def mib(size: int) -> int:
    """Rounded up."""
    return -(-size // (1 << 20))
