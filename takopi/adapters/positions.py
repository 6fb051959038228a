"""Where each character of a YAML scalar's text is written.

In the file a text may be longer than its value: quotes are doubled, characters escaped, lines
folded and indented. Each function gives the offset of every character of the value in ``raw``, the
scalar as written, and at last that of the end.
"""

from __future__ import annotations

import re

_ESCAPE_DIGITS = {"x": 2, "u": 4, "U": 8}
_SPACE = re.compile(r"[ \t\r\n]+")
_BREAK = re.compile(r"\r\n|\r|\n")
_ESCAPED_BREAK = re.compile(r"\\(?:\r\n|\r|\n)[ \t\r\n]*")


def character_offsets(raw: str, style: str | None, value: str) -> list[int] | None:
    """The offsets of all characters of ``value``; None where they cannot be told.

    ``style`` is None for a plain scalar, else the character that begins it: ``'``, ``"``, ``|`` or
    ``>``.
    """
    if style == "|":
        found = _literal(raw, value)
    elif style == ">":
        found = _folded(raw, value)
    else:
        found = _flow(raw, style)
    return found if found is not None and len(found) == len(value) + 1 else None


def _flow(raw: str, style: str | None) -> list[int]:
    """Plain and quoted scalars: n line breaks with the white space around them are n - 1 or a space."""
    i, end = (1, len(raw) - 1) if style else (0, len(raw))
    out: list[int] = []
    while i < end:
        space = _SPACE.match(raw, i, end)
        breaks = len(_BREAK.findall(space[0])) if space else 0
        if space and breaks:
            out += [i] * max(1, breaks - 1)
            i = space.end()
        elif style == '"' and raw[i] == "\\":
            escaped_break = _ESCAPED_BREAK.match(raw, i, end)
            if escaped_break:
                out += [i] * (len(_BREAK.findall(escaped_break[0])) - 1)
                i = escaped_break.end()
            else:
                out.append(i)
                i += 2 + _ESCAPE_DIGITS.get(raw[i + 1], 0)
        else:
            out.append(i)
            i += 2 if style == "'" and raw.startswith("''", i) else 1
    return [*out, end]


def _header_end(raw: str) -> int:
    found = _BREAK.search(raw)
    return found.end() if found else len(raw)


def _literal(raw: str, value: str) -> list[int] | None:
    """A literal block: every line of the value is one of the text, after the same indentation."""
    lines: list[tuple[int, int]] = []
    at = _header_end(raw)
    for match in [*_BREAK.finditer(raw, at), None]:
        stop = match.start() if match else len(raw)
        lines.append((at, stop))
        at = match.end() if match else len(raw)
    wanted = value.split("\n")
    first = next((n for n, text in enumerate(wanted) if text), None)
    if first is None or first >= len(lines):
        return None
    indent = lines[first][1] - lines[first][0] - len(wanted[first])
    out: list[int] = []
    for begin, stop in lines[: len(wanted)]:
        out += [*range(min(begin + indent, stop), stop), stop]
    return out[: len(value) + 1]


def _folded(raw: str, value: str) -> list[int] | None:
    """A folded block: what is not white space stands in the same order as in the value."""
    i = _header_end(raw)
    out: list[int] = []
    for char in value:
        space = _SPACE.match(raw, i)
        if char in " \t\n":
            out.append(i)
            i += 1 if space else 0
            continue
        i = space.end() if space else i
        if not raw.startswith(char, i):
            return None
        out.append(i)
        i += 1
    return [*out, i]
