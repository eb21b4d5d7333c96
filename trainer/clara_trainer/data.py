"""Training files → rows, split into training and validation. Every bad line is named with its file. Called by train.py.

Deterministic: what is held out and what is repeated depends on contents and seed, never on clocks, order of arrival or
hash randomisation.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clara_api.handoff.artifact import DataDigest
from clara_api.handoff.run import DataFile

from clara_trainer.groups import by_hash, held_out
from clara_trainer.manifests import below
from clara_trainer.objects import Missing, Objects
from clara_trainer.outcome import Failure
from clara_trainer.rows import LONGEST_LINE, EmptyRow, Format, Row, RowError, build, check_format, decode

MOST_PROBLEMS = 10  # one message must hold them, and whoever broke ten lines will look at the file anyway
CURE = "repair the file, then raise spec.rerun"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class DataProblems(Failure):
    """What is wrong with the data, at most MOST_PROBLEMS sentences. `total` is how many there are, if that is known."""

    def __init__(self, problems: Sequence[str], cure: str = CURE, *, total: int | None = None) -> None:
        sentences = "; ".join(problems[:MOST_PROBLEMS])
        rest = max(total or 0, len(problems)) - MOST_PROBLEMS
        more = "" if rest <= 0 else "; and more" if total is None else f"; and {rest} more"
        super().__init__("DataInvalid", f"{sentences}{more}; {cure}")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file on local disk."""

    name: str
    path: Path
    format: Format | None  # None: by its first row
    weight: float


@dataclass(frozen=True, slots=True)
class EmptyLine:
    """A row that teaches nothing; `why` is the rest of a sentence that begins with 'line 17 of FILE'."""

    line: int
    why: str


@dataclass(frozen=True, slots=True)
class ReadFile:
    """One file's rows; the digest counts the empty ones too."""

    source: SourceFile
    rows: tuple[Row, ...]
    digest: DataDigest
    empty: tuple[EmptyLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to learn from, repeated by their file's weight, and rows held out, each once."""

    training: tuple[Row, ...]
    validation: tuple[Row, ...]


def fetch(files: Sequence[DataFile], objects: Objects, folder: Path) -> list[SourceFile]:
    """Bring every file to local disk, in the order they are named; below a prefix every *.jsonl, sorted.

    Two sources may have one name, as keys of two ConfigMaps; the second is then called 'NAME (2)', so that lines can be found.
    """
    sources: list[SourceFile] = []
    times: Counter[str] = Counter()
    for number, file in enumerate(files):
        format_: Format | None = None if file.format == "auto" else file.format
        for name, path in _bring(file, objects, folder / str(number)):
            times[name] += 1
            called = name if times[name] == 1 else f"{name} ({times[name]})"
            sources.append(SourceFile(called, path, format_, file.weight))
    return sources


def _bring(file: DataFile, objects: Objects, folder: Path) -> list[tuple[str, Path]]:
    if file.uri is None:
        path = Path(file.path or "")
        if not path.is_file():
            raise DataProblems([f"{file.name} is not mounted at {file.path}"])
        return [(file.name, path)]
    if not file.uri.endswith("/"):
        try:
            objects.download(file.uri, folder / "file")
            return [(file.name, folder / "file")]
        except Missing:
            pass  # no such object: perhaps a prefix
    entries = [entry for entry in objects.list(file.uri) if entry.path.endswith(".jsonl")]
    if not entries:
        raise DataProblems([f"there is neither a file nor any *.jsonl at {file.uri}"])
    brought = []
    for number, entry in enumerate(entries):
        objects.download(below(file.uri, entry.path), folder / f"{number}.jsonl")
        brought.append((f"{file.name.rstrip('/')}/{entry.path}", folder / f"{number}.jsonl"))
    return brought


def read(sources: Sequence[SourceFile]) -> list[ReadFile]:
    """Every file's rows; DataProblems names up to MOST_PROBLEMS bad lines of all files together."""
    problems: list[str] = []
    files = []
    for source in sources:
        files.append(_read_file(source, problems))
        if len(problems) > MOST_PROBLEMS:
            break
    if problems:
        raise DataProblems(problems)
    return files


def _read_file(source: SourceFile, problems: list[str]) -> ReadFile:
    rows: list[Row] = []
    empty: list[EmptyLine] = []
    sha = hashlib.sha256()
    detected: Format | None = None
    before = len(problems)
    with source.path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            sha.update(line)
            stripped = line.removeprefix(BYTE_ORDER_MARK).strip()  # joined files have one in the middle
            if not stripped:
                continue  # editors end files with blank lines
            try:
                value = decode(stripped)
                format_ = check_format(value, declared=source.format, detected=detected)
                detected = detected or format_
                rows.append(build(value, format_, file=source.name, line=number))
            except EmptyRow as error:
                empty.append(EmptyLine(number, str(error)))
            except RowError as error:
                problems.append(f"line {number} of {source.name} {error}")
                if len(problems) > MOST_PROBLEMS or len(line) > LONGEST_LINE:
                    break
    if not rows and not empty and len(problems) == before:
        problems.append(f"{source.name} is empty" if number == 0 else f"{source.name} has no rows, only blank lines")
    digest = DataDigest(name=source.name, sha256=sha.hexdigest(), rows=len(rows) + len(empty))
    return ReadFile(source, tuple(rows), digest, tuple(empty))


def split(files: Sequence[ReadFile], *, fraction: float, seed: int) -> Split:
    """Hold out `fraction` of the rows, by whole groups (groups.py); the others are repeated by their file's weight."""
    chosen = held_out([row for file in files for row in file.rows], fraction=fraction, seed=seed)
    training: list[Row] = []
    validation: list[Row] = []
    before = 0
    for file in files:
        learned: list[Row] = []
        for place, row in enumerate(file.rows, start=before):
            (validation if place in chosen else learned).append(row)
        training += repeat(learned, file.source.weight, seed)
        before += len(file.rows)
    return Split(tuple(training), tuple(validation))


def repeat(rows: Sequence[Row], weight: float, seed: int) -> list[Row]:
    """Each row ⌊weight⌋ times, and the rest of the weight as one more copy of that share of rows, chosen by hash.

    >>> [len(repeat([Row("a", i, text=str(i)) for i in range(4)], w, 0)) for w in (0.5, 1, 2.25)]
    [2, 4, 9]
    """
    whole, rest = int(weight), weight - int(weight)
    if not rest:
        return list(rows) * whole
    extra = by_hash((f"{row.file}\n{row.line}" for row in rows), seed)[: round(rest * len(rows))]
    once_more = set(extra)
    return list(rows) * whole + [row for row in rows if f"{row.file}\n{row.line}" in once_more]
