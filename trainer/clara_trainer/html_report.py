"""report.html of the artifact: how the run went and what it learned from, in one file to look at. Pure; called by publish.py.

It lies beside weights for years and is opened from disks and object stores: no scripts, nothing fetched, and a policy in its
head that forbids both. Training rows are strangers' texts: every one is escaped here, by `_text`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from unicodedata import category

from clara_api.training_job import DataReport

from clara_trainer.curve import Point, loss_chart, rate_chart
from clara_trainer.report_style import STYLE
from clara_trainer.svg_axes import BOTTOM, TOP, Frame, whole

__all__ = ["Point", "render"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
LISTED = 50  # lines per reason; data_report.json has more
REASONS = {
    "empty": "empty",
    "duplicate": "equal to an earlier row",
    "leak": "a sample of a golden dataset, or nearly",
    "long": "longer than maxLength",
}
INVISIBLE = ("Cc", "Cf", "Cs")  # Unicode categories
CUT = "cut at maxLength, and learned up to there"


def render(
    title: str, facts: Mapping[str, str], points: Sequence[Point], report: DataReport, details: Mapping[str, Any]
) -> str:
    """The page. `facts` are shown as they come; `details` is what curate found (data_report.json)."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>\n<body><main>"
        f"<h1>{_text(title)}</h1>\n{_tiles(points, report, details)}\n{_curves(points)}\n"
        f"<h2>The run</h2>\n{_facts(facts)}\n<h2>The data</h2>\n{_notes(details)}{_sources(details)}\n"
        f"{_left_out(details)}\n{_lengths(details)}\n{_examples(details)}\n</main></body></html>\n"
    )


def _tiles(points: Sequence[Point], report: DataReport, details: Mapping[str, Any]) -> str:
    dropped = report.dropped_empty + report.dropped_duplicates + report.dropped_long + report.dropped_leaks
    tiles = [
        ("Rows learned", f"{report.training_rows:,}", f"{report.validation_rows:,} held out, {dropped:,} dropped"),
        ("Tokens per epoch", f"{report.tokens:,}", f"{details['supervisedShare']:.0%} carry loss"),
    ]
    if losses := [point.loss for point in points if math.isfinite(point.loss)]:
        tiles.insert(0, ("Loss", f"{losses[-1]:.3f}", f"from {losses[0]:.3f}"))
    if held_out := [(p.validation_loss, p.step) for p in points if p.validation_loss is not None]:
        best, step = min(held_out)
        tiles.insert(1, ("Validation loss", f"{held_out[-1][0]:.3f}", f"best {best:.3f} at step {step:,}"))
    shown = (f"<div><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>" for name, value, more in tiles)
    return f'<dl class="tiles">{"".join(shown)}</dl>'


def _curves(points: Sequence[Point]) -> str:
    if not points:
        return '<p class="soft">No step was logged.</p>'
    held_out = any(point.validation_loss is not None for point in points)
    keys = '<span class="key raw"></span>as logged<span class="key"></span>smoothed'
    keys += '<span class="key held-out"></span>validation' if held_out else ""
    return (
        f'<h2>Loss</h2><figure><div class="scroll">{loss_chart(points)}</div><figcaption>{keys}</figcaption></figure>'
        f'<h2>Learning rate</h2><figure><div class="scroll">{rate_chart(points)}</div></figure>'
    )


def _facts(facts: Mapping[str, str]) -> str:
    rows = (f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>' for name, value in facts.items())
    return f"<table><tbody>{''.join(rows)}</tbody></table>"


def _notes(details: Mapping[str, Any]) -> str:
    return "".join(f'<p class="note">{_text(note)}</p>' for note in details["notes"])


def _sources(details: Mapping[str, Any]) -> str:
    head = ("Rows", "Learned", "Held out", "Dropped", "Weight")
    rows = []
    for source in details["sources"]:
        numbers = (source["rows"], source["training"], source["validation"], sum(source["dropped"].values()))
        cells = "".join(f'<td class="number">{number:,}</td>' for number in numbers)
        rows.append(
            f'<tr><td>{_text(source["name"])}<br><code class="soft">sha256:{_text(source["sha256"][:12])}</code></td>'
            f'{cells}<td class="number">{source["weight"]:g}</td></tr>'
        )
    titles = "".join(f'<th class="number">{name}</th>' for name in head)
    return (
        f'<div class="scroll"><table><thead><tr><th>Source</th>{titles}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _left_out(details: Mapping[str, Any]) -> str:
    found = [_lines(of, REASONS.get(reason, reason)) for reason, of in details["dropped"].items()]
    if details["truncated"]:
        found.append(_lines(details["truncated"], CUT))
    golden = ", ".join(f"{of['name']} ({of['samples']} samples)" for of in details["golden"])
    checked = (
        f"Compared with {_text(golden)}." if golden else "No golden dataset of the family was there to compare with."
    )
    return f'<h3>Rows left out or cut</h3><p class="soft">{checked}</p>{"".join(found) or "<p>None.</p>"}'


def _lines(found: Mapping[str, Any], words: str) -> str:
    rows = found["rows"][:LISTED]
    items = "".join(f"<li>line {row['line']} of {_text(row['file'])} {_text(row['why'])}</li>" for row in rows)
    more = found["count"] - len(rows)
    rest = f'<p class="soft">and {more:,} more, see data_report.json</p>' if more else ""
    return f'<details><summary><b>{found["count"]:,}</b> {_text(words)}</summary><ul class="lines">{items}</ul>{rest}</details>'


def _lengths(details: Mapping[str, Any]) -> str:
    lengths, names = details["tokenLengths"], list(details["tokenLengths"]["learned"])
    head = "".join(f'<th class="number">{name}</th>' for name in names)
    rows = ""
    for words, key in (("as written", "asWritten"), ("as learned", "learned")):
        cells = "".join(f'<td class="number">{lengths[key][name]:,}</td>' for name in names)
        rows += f"<tr><td>{words}</td>{cells}</tr>"
    return (
        f'<h3>Length of rows</h3><figure><div class="scroll">{_histogram(details["histogram"], details["maxLength"])}</div>'
        f'</figure><div class="scroll"><table><thead><tr><th>Tokens</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _histogram(bars: Sequence[Mapping[str, int]], limit: int) -> str:
    """Rows by length as written; what lies beyond `limit` tokens was cut or dropped."""
    frame = Frame(0, bars[-1]["to"], 0, max(bar["rows"] for bar in bars) * 1.08, height=200)
    found = []
    for bar in bars:
        left, right, top = frame.x(bar["from"]), frame.x(bar["to"]), frame.y(bar["rows"])
        kind = "bar cut" if bar["from"] >= limit else "bar"
        foot = frame.height - BOTTOM
        found.append(
            f'<g class="column"><rect x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{foot - TOP}"/>'
            f'<path class="{kind}" d="M{left + 1:.1f} {foot}V{top:.1f}H{right - 1:.1f}V{foot}Z"/>'
            f"<title>{bar['from']:,} to {bar['to'] - 1:,} tokens: {bar['rows']:,} rows</title></g>"
        )
    if limit < bars[-1]["to"]:
        x = frame.x(limit)
        found.append(
            f'<g class="limit"><path d="M{x:.1f} {TOP}V{frame.height - BOTTOM}"/>'
            f'<text x="{x - 6:.1f}" y="{TOP + 10}" text-anchor="end">maxLength {limit:,}</text></g>'
        )
    words = f"Rows by length, from {bars[0]['from']} to {bars[-1]['to']} tokens"
    return frame.draw("".join(found), label=words, x_label="tokens", y_label="rows", x_ticks=whole, y_ticks=whole)


def _examples(details: Mapping[str, Any]) -> str:
    found = []
    for example in details["examples"]:
        cut = f", {example['cut']:,} more cut" if example["cut"] else ""
        parts = (
            f"<mark>{_text(part['text'])}</mark>" if part["learned"] else _text(part["text"])
            for part in example["parts"]
        )
        where = f"line {example['line']} of {_text(example['file'])}, {example['tokens']:,} tokens{cut}"
        found.append(f'<p class="soft">{where}</p><pre>{"".join(parts)}</pre>')
    key = '<p class="soft">As the model sees them.<span class="key mark"></span>carries loss</p>'
    return f"<h3>Examples</h3>{key}{''.join(found)}"


def _text(value: str) -> str:
    """Escaped; what is invisible (controls, marks that turn the direction of text) is written out: it was learned too."""
    return escape("".join(f"\\u{ord(c):04x}" if category(c) in INVISIBLE and c not in "\n\t" else c for c in value))
