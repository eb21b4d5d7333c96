"""Find German norms in text: '§ 35 VwVfG', '§§ 30, 34 BauGB', 'Art. 3 Abs. 1 GG' → {('§35', 'VwVfG'), …}. Pure.

Called by scorers.py and constraints.py. Sections and laws only: paragraph, sentence and number inside a section ('Abs. 2
Nr. 1') are read over, because two lawyers cite the same section in different depth.
"""

from __future__ import annotations

import re

Norm = tuple[str, str]  # ('§122', 'AO')

NUMBER = r"\d+[a-z]?\b"
# 'Abs. 2', 'Absatz 2', 'S. 1', 'Satz 1', 'Nr. 1', 'Buchst. a', 'Hs. 2', 'Alt. 1', 'Var. 1', 'f.', 'ff.', roman 'II 1'
DETAIL = (
    r"(?:(?:Abs|Absatz|S|Satz|Sätze|Nr|Nrn|Nummer|Buchst|Buchstabe|lit|Hs|Halbsatz|Alt|Var|UAbs)\b\.?\s*"
    r"(?:\d+[a-z]?|[a-z]\b)(?:\s*(?:,|und|bis|-|–)\s*\d+[a-z]?\b)*\)?|ff?\.|[IVX]+\b(?:\s+\d+\b)?)"
)
JOIN = r"(?:\s*(?:,|;|/|und|oder|sowie|i\.\s?V\.\s?m\.|bis|-|–)\s*(?:§§?|Art\.?|Artikel)?\s*)"
SECTION = rf"{NUMBER}(?:\s*{DETAIL})*"
LAW = r"(?!(?:Abs|Absatz|Satz|Nr|Nummer|Art|Artikel|Buchst|Alt|Hs)\b)[A-ZÄÖÜ][A-Za-zÄÖÜäöüß]*[A-ZÄÖÜ][A-Za-zÄÖÜäöüß]*(?:[ -](?:[IVX]+|\d{1,2})\b)?"
CITATION = re.compile(rf"(?P<sign>§§?|\bArt\.|\bArtikel)\s*(?P<sections>{SECTION}(?:{JOIN}{SECTION})*)\s+(?:des\s+|der\s+)?(?P<law>{LAW})")
DETAILS = re.compile(DETAIL)
NUMBERS = re.compile(NUMBER)

LONGEST_TEXT = 20_000  # characters looked at: the pattern is bounded, and so is what it is run on


def norms_in(text: str) -> frozenset[Norm]:
    """Every (section, law) the text cites.

    >>> sorted(norms_in("gemäß §§ 30, 34 BauGB und Art. 3 Abs. 1 GG"))
    [('Art3', 'GG'), ('§30', 'BauGB'), ('§34', 'BauGB')]
    """
    found = set()
    for match in CITATION.finditer(text[:LONGEST_TEXT]):
        sign = "§" if match["sign"].startswith("§") else "Art"
        sections = DETAILS.sub(" ", match["sections"])
        found |= {(f"{sign}{number.lower()}", match["law"]) for number in NUMBERS.findall(sections)}
    return frozenset(found)
