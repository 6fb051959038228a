"""Texts that are too long: cut to one message, or split over several.

Paragraphs stay together where they fit, then lines. Sizes are UTF-16 units, as Telegram counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from takopi.telegram.entities import RichText, fit, utf16_len

MAX_BODY = 3500
"""UTF-16 units of a body in one message; header and footer come on top."""

ELLIPSIS = "…"

# A backtick fence's info string holds no backtick: "```x```" is inline code.
_OPENING = re.compile(r"([ \t]*)(`{3,}(?=[^`]*$)|~{3,})(.*)")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True, slots=True, eq=False)
class _Fence:
    """One code block. Two with the same lines are still two."""

    opening: str
    closing: str


@dataclass(frozen=True, slots=True)
class _Piece:
    """A line or a part of one, with its newline; a fence's own lines are in ``fence``."""

    text: str
    fence: _Fence | None = None


def trim_body(body: str | None) -> str | None:
    """A body of at most 3500 UTF-16 units, ending in ``…`` if it was cut; None if it is blank."""
    if body is None or not body.strip():
        return None
    if utf16_len(body) <= MAX_BODY:
        return body
    return body[: fit(body, 0, MAX_BODY - 1)] + ELLIPSIS


def split_markdown_body(body: str, max_chars: int) -> list[str]:
    """Markdown in chunks of at most ``max_chars`` UTF-16 units; none if it is blank.

    A code block that goes on in the next chunk is closed in one and opened again in the other. A
    fence is only that if four of its markers would fit into a chunk.
    """
    if not body.strip():
        return []
    if utf16_len(body) <= max_chars:
        return [body]
    chunks = map(_assemble, _pack(_fenced_lines(body, max_chars), max_chars))
    return [chunk for chunk in chunks if chunk.strip()]


def trim_rich(rich: RichText, limit: int) -> RichText:
    """A rendered text of at most ``limit`` UTF-16 units, ending in ``…`` if it was cut."""
    if utf16_len(rich.text) <= limit:
        return rich
    return elide(rich.cut([fit(rich.text, 0, limit - len(ELLIPSIS))])[0])


def elide(rich: RichText) -> RichText:
    """A rendered text that says that something is missing after it."""
    return RichText(rich.text + ELLIPSIS, rich.spans)


def split_rich(rich: RichText, limit: int) -> list[RichText]:
    """A rendered text in chunks of at most ``limit`` UTF-16 units; none if it is blank."""
    if utf16_len(rich.text) <= limit:
        return [rich] if rich.text else []
    places, length = [], 0
    for pieces in _pack((_Piece(line) for line in _LINE.findall(rich.text)), limit):
        length += sum(len(piece.text) for piece in pieces)
        places.append(length)
    return [chunk for chunk in rich.cut(places[:-1]) if chunk.text]


def _fenced_lines(body: str, limit: int) -> Iterator[_Piece]:
    fence: _Fence | None = None
    for line in _LINE.findall(body):
        text = line.rstrip("\n")
        if fence is None:
            fence = _open_fence(text, limit)
            if fence is None:
                yield _Piece(line)
        elif _closes(text, fence):
            fence = None
        else:
            yield _Piece(line, fence)


def _open_fence(line: str, limit: int) -> _Fence | None:
    found = _OPENING.fullmatch(line)
    if found is None:
        return None
    closing = found[1] + found[2]
    if utf16_len(closing) * 4 > limit:
        return None
    return _Fence(line if utf16_len(line) * 4 <= limit else closing, closing)


def _closes(line: str, fence: _Fence) -> bool:
    text, marker = line.strip(" \t"), fence.closing.lstrip(" \t")
    return text.startswith(marker) and not text.strip(marker[0])


def _pack(pieces: Iterable[_Piece], limit: int) -> Iterator[list[_Piece]]:
    """As many pieces as fit into each chunk."""
    chunk: list[_Piece] = []
    size, fence = 0, None
    for paragraph in _paragraphs(pieces):
        for group in _fitting(paragraph, limit):
            grown, last = _measure(group, size, fence)
            if chunk and grown + _closing_len(last) > limit:
                yield chunk
                chunk = []
                grown, last = _measure(group)
            chunk += group
            size, fence = grown, last
    if chunk:
        yield chunk


def _paragraphs(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    """Pieces up to and including the empty lines after them."""
    group: list[_Piece] = []
    for piece, following in pairwise([*pieces, None]):
        if piece is not None:
            group.append(piece)
        if group[-1].text == "\n" and (following is None or following.text != "\n"):
            yield group
            group = []
    if group:
        yield group


def _fitting(paragraph: list[_Piece], limit: int) -> Iterator[list[_Piece]]:
    """A paragraph whole, or else its lines, or else parts of them: what fits into a chunk."""
    if _fits(paragraph, limit):
        yield paragraph
        return
    for piece in paragraph:
        if _fits([piece], limit):
            yield [piece]
            continue
        room = limit - _measure([_Piece("", piece.fence)])[0] - _closing_len(piece.fence)
        start = 0
        while start < len(piece.text):
            end = fit(piece.text, start, room)
            yield [_Piece(piece.text[start:end], piece.fence)]
            start = end


def _fits(pieces: list[_Piece], limit: int) -> bool:
    size, fence = _measure(pieces)
    return size + _closing_len(fence) <= limit


def _measure(
    pieces: list[_Piece], size: int = 0, fence: _Fence | None = None
) -> tuple[int, _Fence | None]:
    """Size of a chunk with these pieces added, and the fence that is open then."""
    for piece in pieces:
        if piece.fence is not fence:
            size += _closing_len(fence)
            fence = piece.fence
            if fence is not None:
                size += utf16_len(fence.opening) + 1
        size += utf16_len(piece.text)
    return size, fence


def _closing_len(fence: _Fence | None) -> int:
    return utf16_len(fence.closing) + 2 if fence else 0  # with a newline on both sides


def _assemble(pieces: list[_Piece]) -> str:
    out: list[str] = []
    fence: _Fence | None = None
    for piece in pieces:
        if piece.fence is not fence:
            out += _close(out, fence)
            fence = piece.fence
            if fence is not None:
                out.append(fence.opening + "\n")
        out.append(piece.text)
    if fence is not None:
        out += _close(out, fence)
        out[-1] = fence.closing
    text = "".join(out)
    return text if pieces[0].fence else text.lstrip("\n")


def _close(out: list[str], fence: _Fence | None) -> list[str]:
    if fence is None:
        return []
    newline = [] if out[-1].endswith("\n") else ["\n"]
    return [*newline, fence.closing + "\n"]
