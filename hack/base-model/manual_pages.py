"""German prose to learn the language from: Debian's translated manual pages (package ``manpages-de``).

Used by make_base.py. The package is fetched with the system's own ``apt-get download`` (nothing is installed) and kept
beside the cached models; the pages are roff source, of which only running text and the one-line descriptions are kept.
"""

from __future__ import annotations

import gzip
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "manpages-de"

_FONT = re.compile(r"\\f(?:\[[^\]]*\]|\(..|.)")
_SIZE = re.compile(r"\\s[-+]?\d")
_ESCAPES = {
    r"\-": "-", r"\&": "", r"\|": "", r"\^": "", r"\/": "", r"\,": "", r"\:": "", r"\ ": " ", r"\~": " ", r"\%": "",
    r"\(aq": "'", r"\(dq": '"', r"\(en": "–", r"\(em": "—", r"\(bu": "•", r"\(co": "©", r"\(ti": "~", r"\(ha": "^",
    r"\(rs": "\\", r"\e": "\\",
}  # fmt: skip
_INLINE_FONT_MACRO = re.compile(r"\.(?:B|I|BR|IR|RB|RI|BI|IB|SM|SB)\s+(.*)")


@dataclass(frozen=True, slots=True)
class Page:
    """One manual page: its name, what its NAME section says it does, and its paragraphs of running text."""

    name: str
    purpose: str | None
    paragraphs: tuple[str, ...]


def fetch_package(folder: Path) -> Path:
    """Return the package file in `folder`, downloading it once.

    Raises RuntimeError with the cure when apt cannot find the package.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = sorted(folder.glob(f"{PACKAGE}_*.deb"))
    if kept:
        return kept[-1]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for prepare in ((), ("apt-get", "update", "-qq")):  # package lists are only refreshed when they are missing
            if prepare:
                subprocess.run(prepare, check=False, capture_output=True)
            command = ["apt-get", "download", PACKAGE]
            done = subprocess.run(command, check=False, cwd=scratch, capture_output=True, text=True)
            found = list(Path(scratch).glob("*.deb"))
            if found:
                return found[0].rename(folder / found[0].name)
    raise RuntimeError(
        f"apt-get download {PACKAGE} failed: {done.stderr.strip()[-300:]}\n"
        f"Put {PACKAGE}_*.deb into {folder}, or run 'apt-get update' as root and try again."
    )


def read_pages(package: Path) -> list[Page]:
    """Unpack the package into a scratch folder and return its German pages in a fixed order."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["dpkg-deb", "-x", str(package), scratch], check=True)
        files = sorted(Path(scratch).glob("usr/share/man/de/man*/*.gz"))
        sources = {f.name.split(".")[0]: f for f in files if not f.is_symlink()}
        pages = [_page(name, gzip.decompress(f.read_bytes()).decode("utf-8", "replace")) for name, f in sources.items()]
    return [page for page in pages if page.paragraphs]


def _page(name: str, roff: str) -> Page:
    purpose = None
    paragraphs: list[str] = []
    for section, text in _blocks(roff):
        if section in ("BEZEICHNUNG", "NAME"):
            _, dash, rest = text.partition(" - ")
            purpose = purpose or (rest.strip() if dash else None)
        elif section not in ("ÜBERSICHT", "SIEHE AUCH", "ÜBERSETZUNG", "AUTOR", "COPYRIGHT") and _is_prose(text):
            paragraphs.append(text)
    return Page(name, purpose, tuple(paragraphs))


def _blocks(roff: str) -> Iterator[tuple[str, str]]:
    """Yield (section, paragraph). Any macro that is not a mere font change ends a paragraph."""
    section, lines = "", list[str]()
    for raw in roff.splitlines():
        if raw.startswith((r".\"", r"'\"")):
            continue
        inline = _INLINE_FONT_MACRO.match(raw)
        if inline:
            lines.append(_plain(inline[1]).replace('"', ""))
        elif raw.startswith((".", "'")) or not raw.strip():
            if lines:
                yield section, " ".join(" ".join(lines).split())
            lines = []
            if raw.startswith((".SH", ".Sh")):
                section = _plain(raw[3:]).strip().strip('"').upper()
        else:
            lines.append(_plain(raw))
    if lines:
        yield section, " ".join(" ".join(lines).split())


def _plain(text: str) -> str:
    text = _SIZE.sub("", _FONT.sub("", text))
    for escape, replacement in _ESCAPES.items():
        text = text.replace(escape, replacement)
    return re.sub(r"\\\(..|\\\[[^\]]*\]", "", text)


def _is_prose(text: str) -> bool:
    """Keep sentences, drop synopses, tables and code: most characters are letters and it ends like a sentence."""
    letters = sum(c.isalpha() or c == " " for c in text)
    return len(text) > 80 and letters > 0.88 * len(text) and text[-1] in ".:!?" and "\\" not in text
