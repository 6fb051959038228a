"""Text with formatting, as Telegram takes it.

While a text is put together, positions count code points, as Python does. Telegram counts UTF-16
units: `to_entities` converts at the very end, `utf16_len` and `fit` measure limits.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

MAX_ENTITIES = 100
"""How many entities Telegram keeps of one message; it drops the others silently."""

# What is lost with a dropped entity: a link's target, a table's shape. The others only look.
_IMPORTANT = frozenset({"text_link", "pre", "blockquote"})
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_ZERO_WIDTH_JOINER = "\u200d"
_LONGEST_GRAPHEME = 64  # code points; more than that is noise, and may be cut


@dataclass(frozen=True, slots=True)
class Span:
    """Formatting of ``text[start:end]``. ``kind`` is Telegram's entity type; ``value`` the URL of a
    ``text_link`` and the language of a ``pre``.
    """

    kind: str
    start: int
    end: int
    value: str = ""


@dataclass(frozen=True, slots=True)
class RichText:
    """A text and its formatting. Spans nest, none is empty; none overlaps a ``code`` or ``pre``,
    except the ``blockquote`` that holds it.
    """

    text: str = ""
    spans: tuple[Span, ...] = ()

    def stripped(self) -> RichText:
        """Without white space at either end, of the text and of every span.

        A ``pre`` keeps its first line's indentation, as Telegram does.
        """
        pres = [span for span in self.spans if span.kind == "pre"]
        # Where code begins: its indentation stays, here and in a quote around it.
        kept = {
            _skip(self.text, span.start, "\n")
            for span in pres
            if not self.text[span.start : span.end].isspace()
        }
        spans = [trimmed for span in self.spans if (trimmed := _trimmed(span, self.text, kept))]
        start = min([len(self.text) - len(self.text.lstrip()), *kept])
        text = self.text[start:].rstrip()
        if start:
            spans = [replace(s, start=s.start - start, end=s.end - start) for s in spans]
        return RichText(text, tuple(spans))

    def cut(self, places: Sequence[int]) -> list[RichText]:
        """The pieces between the ascending ``places``, stripped; formatting goes on in the next one."""
        bounds = [0, *places, len(self.text)]
        spans: list[list[Span]] = [[] for _ in bounds[1:]]
        for span in self.spans:
            piece = bisect_right(bounds, span.start, hi=len(bounds) - 1) - 1
            while piece < len(spans) and bounds[piece] < span.end:
                base, limit = bounds[piece], bounds[piece + 1]
                start, end = max(span.start, base), min(span.end, limit)
                spans[piece].append(replace(span, start=start - base, end=end - base))
                piece += 1
        texts = [self.text[start:end] for start, end in pairwise(bounds)]
        return [RichText(t, tuple(s)).stripped() for t, s in zip(texts, spans, strict=True)]

    def limited(self, count: int) -> RichText:
        """With at most ``count`` spans; what only looks goes before what says something."""
        if len(self.spans) <= count:
            return self
        ranked = sorted(self.spans, key=lambda span: (span.kind not in _IMPORTANT, span.start))
        return replace(self, spans=tuple(ranked[: max(count, 0)]))


def join(parts: Iterable[RichText], separator: str = "\n\n") -> RichText:
    """The parts that are not empty, one after the other."""
    texts: list[str] = []
    spans: list[Span] = []
    base = 0
    for part in parts:
        if part.text:
            spans += [replace(s, start=s.start + base, end=s.end + base) for s in part.spans]
            texts.append(part.text)
            base += len(part.text) + len(separator)
    return RichText(separator.join(texts), tuple(spans))


def to_entities(rich: RichText) -> list[dict[str, Any]]:
    """The spans as ``MessageEntity`` objects of the Bot API, outer before inner.

    ``{"type": "text_link", "offset": 0, "length": 4, "url": "https://…"}``
    """
    astral = [found.start() for found in _ASTRAL.finditer(rich.text)]
    entities = []
    for span in sorted(rich.spans, key=lambda span: (span.start, -span.end)):
        start = span.start + bisect_left(astral, span.start)
        end = span.end + bisect_left(astral, span.end)
        entity: dict[str, Any] = {"type": span.kind, "offset": start, "length": end - start}
        if span.value:
            entity["url" if span.kind == "text_link" else "language"] = span.value
        entities.append(entity)
    return entities


def utf16_len(text: str) -> int:
    """How long Telegram finds a text."""
    if text.isascii():
        return len(text)
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def fit(text: str, start: int, limit: int) -> int:
    """Where ``text[start:]`` must be cut to have at most ``limit`` UTF-16 units, but at least one
    character. Characters that are shown as one stay together where that is possible.
    """
    end = min(len(text), start + limit)
    while (excess := utf16_len(text[start:end]) - limit) > 0 and end > start + 1:
        end = max(start + 1, end - (excess + 1) // 2)
    if end >= len(text):
        return end
    for place in range(end, max(start, end - _LONGEST_GRAPHEME), -1):
        if not _is_joined(text, place, start):
            return place
    return max(end, start + 1)


def _trimmed(span: Span, text: str, kept: Collection[int]) -> Span | None:
    """Without white space at its ends, but with what follows the places that are ``kept``."""
    start, end = span.start, span.end
    while end > start and text[end - 1].isspace():
        end -= 1
    while start < end and text[start].isspace() and start not in kept:
        start += 1
    if start == end:
        return None
    return span if (start, end) == (span.start, span.end) else replace(span, start=start, end=end)


def _skip(text: str, start: int, char: str) -> int:
    while text.startswith(char, start):
        start += 1
    return start


def _is_joined(text: str, place: int, start: int) -> bool:
    """Whether the characters before and after a place are shown as one: accents, flags, families.

    The rules of Unicode (UAX 29) as far as chats need them, for a text that begins at ``start``.
    """
    before, after = text[place - 1], text[place]
    if after < "\u0300":  # the first combining mark
        return False
    if _ZERO_WIDTH_JOINER in (before, after) or unicodedata.category(after).startswith("M"):
        return True
    # Skin tones; the tags that spell a flag; vowels and finals of a Korean syllable.
    if (
        "\U0001f3fb" <= after <= "\U0001f3ff"
        or "\U000e0020" <= after <= "\U000e007f"
        or "\u1160" <= after <= "\u11ff"
    ):
        return True
    if not (_is_flag_letter(before) and _is_flag_letter(after)):
        return False
    run = place
    while run > start and _is_flag_letter(text[run - 1]):
        run -= 1
    return (place - run) % 2 == 1


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"
