"""Find German norms in text: '§ 35 VwVfG', '§§ 30, 34 BauGB', 'Art. 3 Abs. 1 GG' → {('§35', 'VwVfG'), …}. Pure.

Called by scorers.py and constraints.py. Sections and laws only: paragraph, sentence and number inside a section ('Abs. 2
Nr. 1') are read over, because two lawyers cite the same section in different depth. One pass over tokens, not one big
pattern: a model that repeats '§ 1, 1, 1, …' must not make the scorer backtrack.

    SIGN ─ NUMBER ─┬─ NUMBER … ─┬─ LAW: every section so far belongs to it
                   └─ DETAIL … ─┘  anything else: it was no citation
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

Norm = tuple[str, str]  # ('§122', 'AO')

TOKEN = re.compile(
    r"(?P<sign>§§?|\bArt\.|\bArtikel\b)"
    r"|(?P<detail>\b(?:UAbs|Abs|Absatz|Sätze|Satz|S|Nrn|Nummer|Nr|Buchstabe|Buchst|lit|Halbsatz|Hs|Alt|Var)\b\.?)"
    r"|(?P<roman>\b[IVX]+\b)"
    r"|(?P<joint>[,;/–-]|\bi\.\s?V\.\s?m\.|\b(?:und|oder|sowie|bis|iVm|des|der)\b|\bff?\.)"
    r"|(?P<number>\b\d+[a-z]?\b)"
    r"|(?P<letter>\b[a-z]\b)"
    r"|(?P<law>\bSGB[ -](?:[IVX]+|\d{1,2})\b|\b[A-ZÄÖÜ]\w*(?:-\w+)*)"
    r"|(?P<other>\S)"
)


@dataclass(slots=True)
class Citation:
    """A citation that is being read."""

    sign: str = ""  # '§' or 'Art'; '' outside a citation
    plural: bool = False  # '§§' announces several sections
    in_detail: bool = False  # after 'Abs.' numbers are no sections
    sections: list[str] = field(default_factory=list)

    def open(self, sign: str) -> None:
        """A sign: the next number is a section. 'Art.' does not continue a list of '§'."""
        kind = "§" if sign.startswith("§") else "Art"
        if kind != self.sign:
            self.sections = []
        self.sign, self.plural, self.in_detail = kind, sign == "§§", False

    def number(self, text: str) -> None:
        """A section, or a part of one. In '§§ 30 Abs. 1, 34' lists ascend, which tells 34 from a paragraph."""
        if self.in_detail and not (self.plural and _value(text) > _value(self.sections[-1])):
            return
        self.in_detail = False
        self.sections.append(text.lower())


def norms_in(text: str) -> frozenset[Norm]:
    """Every (section, law) the text cites.

    >>> sorted(norms_in("gemäß §§ 30, 34 BauGB und Art. 3 Abs. 1 GG"))
    [('Art3', 'GG'), ('§30', 'BauGB'), ('§34', 'BauGB')]
    """
    found: set[Norm] = set()
    reading = Citation()
    for match in TOKEN.finditer(text):
        kind, token = match.lastgroup, match[0]
        if kind == "sign":
            reading.open(token)
        elif not reading.sign or kind in ("joint", "letter"):
            continue
        elif kind == "number":
            reading.number(token)
        elif kind in ("detail", "roman") and reading.sections:
            reading.in_detail = True
        else:
            if kind == "law" and _is_law(token):
                found |= {(f"{reading.sign}{section}", _spelled(token)) for section in reading.sections}
            reading = Citation()
    return frozenset(found)


def _is_law(word: str) -> bool:
    """Abbreviations of laws have at least two capitals: VwVfG, BauGB, AO, GG."""
    return sum(letter.isupper() for letter in word) >= 2


def _spelled(law: str) -> str:
    """One spelling: 'DS-GVO' is 'DSGVO', 'SGB-X' is 'SGB X'."""
    return "SGB " + law[4:] if law.startswith(("SGB ", "SGB-")) else law.replace("-", "")


def _value(section: str) -> int:
    return int(section.rstrip("abcdefghijklmnopqrstuvwxyz")[:9])
