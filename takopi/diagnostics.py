"""Problems found in a file: where they are, what they mean, what to do about them.

One list of `Diagnostic` values has three views: text with an excerpt and a caret, JSON, and GitHub
workflow commands.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]

# Every code a diagnostic may carry, with the one-line meaning the documentation prints.
CODES: dict[str, str] = {
    "syntax": "the file is not the YAML or TOML it was meant to be",
    "duplicate-key": "a key is written twice in one mapping",
    "unknown-key": "a key that the format does not have",
    "schema": "a value of the wrong type or shape, or a required key is missing",
    "missing-key": "a required key of takopi.toml is missing",
    "expression": "a JMESPath expression that cannot work",
    "regex": "a regular expression that does not compile, lacks a group that is read, or can take exponential time",
    "resume-roundtrip": "the resume line does not give its token back",
    "resume-overlap": "two adapters understand each other's resume line",
    "unknown-option": "an option that is read but not declared, or declared but not read",
    "unset-state": "a state variable that is read but never set, or set but never read",
    "unreachable-rule": "a rule that an earlier one always beats",
    "quoted-literal": "double quotes name a field where a text was meant",
    "negated-path": "`!` binds tighter than the dot or comparison that follows it",
    "duplicate-id": "two files of the same source define one engine id",
    "reserved-id": "an engine id that is taken by a command",
    "missing-command": "the engine's executable was not found",
}


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one line of a file. ``line`` and ``column`` count from 1, in characters."""

    file: str
    line: int
    column: int
    length: int
    text: str  # the whole source line


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem. ``path`` is the place in the document, such as ``events[2].action.title``."""

    code: str
    message: str
    span: Span | None = None
    path: str | None = None
    help: str | None = None
    severity: Severity = "error"
    related: tuple[tuple[Span, str], ...] = ()


def suggest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` was probably meant to be, or None."""
    options = list(known)
    close = difflib.get_close_matches(word.lower(), [o.lower() for o in options], n=1, cutoff=0.6)
    return next((o for o in options if close and o.lower() == close[0]), None)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A help text for a misspelt ``word``: the likely one, else all of them (when few)."""
    options = sorted(known)
    best = suggest(word, options)
    if best is not None:
        return f"did you mean `{best}`?"
    if 0 < len(options) <= 12:
        return "known: " + ", ".join(f"`{o}`" for o in options)
    return None


def in_file_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Sorted by file, line and column; those without a place come first.

    What is said twice of one place is kept once: an alias puts a value into several.
    """
    unique: dict[object, Diagnostic] = {}
    for d in diagnostics:
        unique.setdefault((d.code, d.message, d.span) if d.span else d, d)
    return sorted(
        unique.values(),
        key=lambda d: (d.span.file, d.span.line, d.span.column) if d.span else ("", 0, 0),
    )


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    """Whether any of them is more than a warning."""
    return any(d.severity == "error" for d in diagnostics)


def _width(text: str) -> int:
    return sum(_cells(c) for c in text)


def _cells(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _pad(text: str) -> str:
    """White space as wide as ``text``; tabs stay tabs, so that the caret lines up."""
    return "".join(c if c == "\t" else " " * _cells(c) for c in text)


_EXCERPT_WIDTH = 160


def _excerpt(span: Span) -> tuple[str, str, int]:
    """The part of a source line worth showing, the padding before the caret, the caret's width."""
    start = span.column - 1
    text, offset = span.text, 0
    if len(text) > _EXCERPT_WIDTH:
        offset = max(0, min(start - 40, len(text) - _EXCERPT_WIDTH))
        text = text[offset : offset + _EXCERPT_WIDTH]
    begin = start - offset
    caret = _width(text[begin : begin + max(span.length, 1)]) or 1
    return text, _pad(text[:begin]), caret


def _visible(text: str) -> str:
    """Control characters as their pictures: what a file holds must not steer the terminal."""
    return _CONTROL.sub(lambda c: chr(0x2400 + ord(c[0])) if c[0] < " " else "�", text)


_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def _render_file(marks: Sequence[tuple[Span, str, str]], gutter: int) -> list[str]:
    """Lines of one file in their order, under each the marks of its spans with their labels."""
    blank = " " * gutter
    lines: list[str] = []
    before = 0
    for number in sorted({span.line for span, _, _ in marks}):
        if before and number > before + 1:
            lines.append(f"{blank} ⋮")
        before = number
        here = [mark for mark in marks if mark[0].line == number]
        # One excerpt for all marks, about the first; of a line too long for that, one for each.
        whole = len(here[0][0].text) <= _EXCERPT_WIDTH
        for index, (span, sign, label) in enumerate(here):
            text, pad, width = _excerpt(span)
            if index == 0 or not whole:
                lines.append(f"{str(number).rjust(gutter)} | {text}".rstrip())
            lines.append(f"{blank} | {pad}{sign * width} {label}".rstrip())
    return lines


def render_text(diagnostic: Diagnostic) -> str:
    """The diagnostic as lines for a terminal: headline, place, excerpt with caret, help."""
    return "\n".join(map(_visible, _render_lines(diagnostic)))


def _render_lines(diagnostic: Diagnostic) -> list[str]:
    lines = [f"{diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}"]
    span = diagnostic.span
    if span is None:
        if diagnostic.path:
            lines.append(f" --> {diagnostic.path}")
        if diagnostic.help:
            lines.append(f"  = help: {diagnostic.help}")
        return lines
    marks = [(span, "^", diagnostic.path or "")]
    marks += [(other, "-", label) for other, label in diagnostic.related]
    gutter = max(len(str(mark[0].line)) for mark in marks)
    blank = " " * gutter
    lines += [f"{blank}--> {span.file}:{span.line}:{span.column}", f"{blank} |"]
    for file in dict.fromkeys(mark[0].file for mark in marks):
        inside = [mark for mark in marks if mark[0].file == file]
        if file != span.file:
            other = inside[0][0]
            lines.append(f"{blank}::: {file}:{other.line}:{other.column}")
        lines += _render_file(inside, gutter)
    if diagnostic.help:
        lines.append(f"{blank} = help: {diagnostic.help}")
    return lines


def _span_json(span: Span) -> dict[str, Any]:
    return {
        "file": span.file,
        "line": span.line,
        "column": span.column,
        "length": span.length,
    }


def render_json(diagnostics: Sequence[Diagnostic]) -> str:
    """A JSON array; each item has code, severity, message, path, help, span and related."""
    return json.dumps(
        [
            {
                "code": d.code,
                "severity": d.severity,
                "message": d.message,
                "path": d.path,
                "help": d.help,
                "span": _span_json(d.span) if d.span else None,
                "related": [{"span": _span_json(s), "label": label} for s, label in d.related],
            }
            for d in diagnostics
        ],
        indent=2,
        ensure_ascii=False,
    )


def _escape_github(text: str, *, value: bool = False) -> str:
    out = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return out.replace(":", "%3A").replace(",", "%2C") if value else out


def render_github(diagnostic: Diagnostic) -> str:
    """A GitHub workflow command, which shows the problem beside the line of a pull request."""
    message = diagnostic.message + (f"\nhelp: {diagnostic.help}" if diagnostic.help else "")
    fields = [f"title={_escape_github(diagnostic.code, value=True)}"]
    if diagnostic.span:
        span = diagnostic.span
        fields[:0] = [
            f"file={_escape_github(span.file, value=True)}",
            f"line={span.line}",
            f"col={span.column}",
        ]
    return f"::{diagnostic.severity} {','.join(fields)}::{_escape_github(message)}"
