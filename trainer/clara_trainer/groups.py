"""Which groups of rows are held out of training. Pure; called by data.split.

A group is never torn: near-equal rows on both sides would make the validation loss praise what was only remembered.
The choice depends on the groups' names, the seed and the sizes alone, and moves little when rows are added: groups stand in
an order that only the seed decides, and the first of them are held out.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from clara_trainer.rows import Row


def held_out(rows: Sequence[Row], *, fraction: float, seed: int) -> set[int]:
    """Indexes of the rows that are held out: whole groups, together at most `fraction` of the rows and never all.

    A group too large for what is still wanted is passed over, so fewer may be held out than asked for, or none.
    """
    keys = _keys(rows)
    sizes = Counter(keys)
    wanted = min(round(len(rows) * fraction), len(rows) - 1)
    chosen: set[str] = set()
    for key in by_hash(sizes, seed):
        if sizes[key] <= wanted:
            chosen.add(key)
            wanted -= sizes[key]
        if wanted <= 0:
            break
    return {place for place, key in enumerate(keys) if key in chosen}


def by_hash(texts: Iterable[str], seed: int) -> list[str]:
    """The texts in an order that only the seed changes."""
    return sorted(texts, key=lambda text: hashlib.sha256(f"{seed}\n{text}".encode()).digest())


def _keys(rows: Sequence[Row]) -> list[str]:
    """Every row's group. Groups that share a row's contents are one: equal rows must not be on both sides."""
    names = [row.group_key for row in rows]
    one_with: dict[str, str] = {}

    def root(name: str) -> str:
        while name in one_with:
            name = one_with[name]
        return name

    first_with: dict[str, str] = {}
    for row, name in zip(rows, names, strict=True):
        one, other = sorted((root(name), root(first_with.setdefault(row.digest, name))))
        if one != other:
            one_with[other] = one
    return [root(name) for name in names]
