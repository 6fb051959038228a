"""Tables: columns where a phone is wide enough for them, else row by row."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

from takopi.telegram.entities import RichText, Span, join

_MAX_WIDTH = 48  # columns; a phone shows some 40 of a monospaced line before it breaks it
_MAX_LABEL = 40

_AS_EMOJI = "\ufe0f"  # makes two columns of the character before it
_PART = re.compile("\u200d.|[\U0001f3fb-\U0001f3ff]")  # of an emoji that is shown as one


@dataclass(slots=True)
class Table:
    """``rows`` starts with the head; ``alignments``, one per column: left, right, center, empty."""

    alignments: list[str] = field(default_factory=list)
    rows: list[list[RichText]] = field(default_factory=list)


def render_table(table: Table) -> str | list[list[RichText]]:
    """Monospaced text, or a list of lines per row.

    Rows are chosen where the columns would be too wide, and where cells hold links, which
    monospaced text cannot.
    """
    widths = [max(map(_columns, column)) for column in zip(*table.rows, strict=False)]
    wide = sum(widths) + 3 * (len(widths) - 1) > _MAX_WIDTH
    if wide or any(s.kind == "text_link" for row in table.rows for c in row for s in c.spans):
        return list(_labelled(table))
    lines = [_padded(row, widths, table.alignments) for row in table.rows]
    lines.insert(1, "-+-".join("-" * width for width in widths))
    return "\n".join(lines).strip("\n")


def _padded(row: list[RichText], widths: list[int], alignments: list[str]) -> str:
    cells = []
    for cell, width, alignment in zip(row, widths, alignments, strict=False):
        missing = width - _columns(cell)
        left = {"right": missing, "center": missing // 2}.get(alignment, 0)
        cells.append(" " * left + cell.text + " " * (missing - left))
    return " | ".join(cells).rstrip()


def _labelled(table: Table) -> Iterator[list[RichText]]:
    """``Name: **render.py**``, ``Lines: 300``: each cell below the other, with its column's head.

    A head that is too long to be repeated is a row of its own.
    """
    head, *rows = table.rows
    labels = [cell.text for cell in head]
    if not rows or max(map(_columns, head)) > _MAX_LABEL:
        yield [cell for cell in head if cell.text]
        labels = [""] * len(head)
    used = [any(cell.text for cell in column) for column in zip(*rows, strict=False)]
    for row in rows:
        lines = []
        for number, (label, cell) in enumerate(zip(labels, row, strict=False)):
            if cell.text or not used[number]:
                used[number] = True  # an empty column is named once
                is_name = number == 0 and not cell.spans
                bold = (Span("bold", 0, len(cell.text)),) if is_name and cell.text else cell.spans
                lines.append(_labelled_cell(label, RichText(cell.text, bold)))
        yield lines


def _labelled_cell(label: str, cell: RichText) -> RichText:
    return join([RichText(f"{label}:" if label else ""), cell], " ")


def _columns(cell: RichText) -> int:
    """How wide a text is shown: East Asian characters and emoji take two columns, marks none."""
    if cell.text.isascii():
        return len(cell.text)
    columns, before = 0, " "
    for char in _PART.sub("", cell.text):
        if char == _AS_EMOJI:
            columns += not _is_wide(before)
        elif unicodedata.category(char) not in ("Mn", "Me", "Cf"):
            columns += 1 + _is_wide(char)
        before = char
    return columns


def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in ("W", "F")
