"""People's regular expressions on models' answers. Pure; called by scorers.py and constraints.py.

Python's `re` backtracks, so a pattern such as (a+)+$ can take forever. The API takes patterns of at most 512 characters; here
the answer is cut, and what RE2 would not take either (back-references, look-around) or what repeats a repetition is refused
by name. That is a choice: a watchdog process per pattern would cost more than the patterns people write are worth.
"""

from __future__ import annotations

import re
from re import _constants as kinds  # type: ignore[attr-defined]  # the parser is the only reliable reader of patterns
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

LONGEST_ANSWER = 10_000  # characters

LOOPS = (kinds.MAX_REPEAT, kinds.MIN_REPEAT)
REFUSED = {
    kinds.GROUPREF: "a back-reference",
    kinds.GROUPREF_EXISTS: "a conditional group",
    kinds.ASSERT: "look-around",
    kinds.ASSERT_NOT: "look-around",
}


class PatternError(ValueError):
    """The pattern cannot be used; the message says why."""


def found_in(pattern: str, text: str) -> bool:
    """Whether the pattern is found anywhere in the text; PatternError when it is invalid or could run away."""
    try:
        tree = parser.parse(pattern)
    except re.error as error:
        raise PatternError(f"'{pattern}' is no regular expression: {error}") from error
    _refuse(tree, pattern, in_loop=False)
    return re.search(pattern, text[:LONGEST_ANSWER]) is not None


def _refuse(tree: Any, pattern: str, *, in_loop: bool) -> None:
    """Walk the parsed pattern; an unbounded repetition inside another is what backtracks exponentially."""
    for kind, value in tree:
        if kind in REFUSED:
            raise PatternError(f"'{pattern}' uses {REFUSED[kind]}, which is not supported")
        unbounded = kind in LOOPS and value[1] == kinds.MAXREPEAT
        if unbounded and in_loop:
            raise PatternError(f"'{pattern}' repeats a repetition, which can take forever; write it without nesting")
        for part in _parts(kind, value):
            _refuse(part, pattern, in_loop=in_loop or unbounded)


def _parts(kind: Any, value: Any) -> list[Any]:
    if kind in LOOPS or kind == kinds.POSSESSIVE_REPEAT:
        return [value[2]]
    if kind == kinds.SUBPATTERN:
        return [value[3]]
    if kind == kinds.ATOMIC_GROUP:
        return [value]
    return list(value[1]) if kind == kinds.BRANCH else []
