"""Training files → rows, split into training and validation. Every bad line is named with its file. Called by train.py.

Deterministic: what is held out and what is repeated depends on contents and seed, never on clocks, order of arrival or
hash randomisation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clara_api.handoff.artifact import DataDigest
from clara_api.handoff.run import DataFile

from clara_trainer.manifests import below
from clara_trainer.objects import Missing, Objects
from clara_trainer.outcome import Failure
from clara_trainer.rows import LONGEST_LINE, Format, Row, RowError, build, check_format, decode

MOST_PROBLEMS = 10  # one message must hold them, and whoever broke ten lines will look at the file anyway
CURE = "repair the file, then raise spec.rerun"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class DataProblems(Failure):
    """What is wrong with the data, at most MOST_PROBLEMS sentences."""

    def __init__(self, problems: Sequence[str]) -> None:
        sentences = "; ".join(problems[:MOST_PROBLEMS])
        more = "; and more" if len(problems) > MOST_PROBLEMS else ""
        super().__init__("DataInvalid", f"{sentences}{more}; {CURE}")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file on local disk."""

    name: str
    path: Path
    format: Format | None  # None: by its first row
    weight: float


@dataclass(frozen=True, slots=True)
class ReadFile:
    """One file's rows."""

    source: SourceFile
    rows: tuple[Row, ...]
    digest: DataDigest


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to learn from, repeated by their file's weight, and rows held out, each once."""

    training: tuple[Row, ...]
    validation: tuple[Row, ...]


def fetch(files: Sequence[DataFile], objects: Objects, folder: Path) -> list[SourceFile]:
    """Bring every file to local disk, in the order they are named; below a prefix every *.jsonl, sorted."""
    sources: list[SourceFile] = []
    for number, file in enumerate(files):
        format_: Format | None = None if file.format == "auto" else file.format
        for name, path in _bring(file, objects, folder / str(number)):
            sources.append(SourceFile(name, path, format_, file.weight))
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
    sha = hashlib.sha256()
    detected: Format | None = None
    before = len(problems)
    with source.path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            sha.update(line)
            stripped = (line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line).strip()
            if not stripped:
                continue  # editors end files with blank lines
            try:
                value = decode(stripped)
                format_ = check_format(value, declared=source.format, detected=detected)
                detected = detected or format_
                rows.append(build(value, format_, file=source.name, line=number))
            except RowError as error:
                problems.append(f"line {number} of {source.name} {error}")
                if len(problems) > MOST_PROBLEMS or len(line) > LONGEST_LINE:
                    break
    if not rows and len(problems) == before:
        problems.append(f"{source.name} is empty" if number == 0 else f"{source.name} has no rows, only blank lines")
    return ReadFile(source, tuple(rows), DataDigest(name=source.name, sha256=sha.hexdigest(), rows=len(rows)))


def split(files: Sequence[ReadFile], *, fraction: float, seed: int) -> Split:
    """Hold out `fraction` of the distinct contents. Equal rows land on one side: nothing held out is also learned."""
    contents = {row.content for file in files for row in file.rows}
    held_out = min(round(len(contents) * fraction), len(contents) - 1)
    chosen = set(_by_hash(contents, seed)[:held_out])
    training: list[Row] = []
    validation: list[Row] = []
    for file in files:
        validation += [row for row in file.rows if row.content in chosen]
        training += repeat([row for row in file.rows if row.content not in chosen], file.source.weight, seed)
    return Split(tuple(training), tuple(validation))


def repeat(rows: Sequence[Row], weight: float, seed: int) -> list[Row]:
    """Each row ⌊weight⌋ times, and the rest of the weight as one more copy of that share of rows, chosen by hash.

    >>> [len(repeat([Row("a", i, text=str(i)) for i in range(4)], w, 0)) for w in (0.5, 1, 2.25)]
    [2, 4, 9]
    """
    whole, rest = int(weight), weight - int(weight)
    extra = _by_hash((f"{row.file}\n{row.line}" for row in rows), seed)[: round(rest * len(rows))]
    once_more = set(extra)
    return list(rows) * whole + [row for row in rows if f"{row.file}\n{row.line}" in once_more]


def _by_hash(texts: Iterable[str], seed: int) -> list[str]:
    """The texts in an order that only the seed changes."""
    return sorted(texts, key=lambda text: hashlib.sha256(f"{seed}\n{text}".encode()).digest())
