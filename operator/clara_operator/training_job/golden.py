"""Which GoldenDatasets fit into run.json: a run is told what it must not learn from, in a ConfigMap of at most 1 MiB. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from clara_api.handoff.run import GoldenPrompts

LIMIT_BYTES = 700 * 1024  # of run.json; the rest of the ConfigMap is the API server's and the CA's


def fitting(
    sets: Sequence[GoldenPrompts], first: str | None, room: int
) -> tuple[tuple[GoldenPrompts, ...], tuple[str, ...]]:
    """Those that fit into `room` bytes, the one named `first` before the others, which come by name; and who is left out."""
    kept, left_out = [], []
    for one in sorted(sets, key=lambda g: (g.name != first, g.name)):
        size = len(one.model_dump_json(by_alias=True).encode()) + 1
        if size <= room:
            room -= size
            kept.append(one)
        else:
            left_out.append(one.name)
    return tuple(kept), tuple(left_out)
