"""Messages as Telegram takes them: text and entities, within its limits.

Header, body and footer are rendered apart, so that nothing in a body can reach into the footer,
whose lines are read again when somebody answers.
"""

from __future__ import annotations

from typing import Any

from takopi.bridge.markdown import MarkdownParts
from takopi.telegram.entities import MAX_ENTITIES, RichText, join, to_entities, utf16_len
from takopi.telegram.markup import render_rich
from takopi.telegram.overflow import (
    MAX_BODY,
    elide,
    split_markdown_body,
    split_rich,
    trim_body,
    trim_rich,
)

__all__ = [
    "prepare_telegram",
    "prepare_telegram_multi",
    "render_markdown",
    "split_markdown_body",
    "trim_body",
]

MAX_TEXT = 4096
"""UTF-16 units of a message, counted without the markup."""

Prepared = tuple[str, list[dict[str, Any]]]
"""Text and entities of one message."""

_SEPARATOR = "\n\n"
# What a header and a footer may take before they are cut after all: the message would be refused.
_MAX_HEADER, _MAX_FOOTER = 1000, 2000
# How much Markdown is read for one message: enough for links with long targets.
_MAX_SOURCE = 16 * MAX_BODY


def render_markdown(md: str) -> Prepared:
    """Markdown as text and entities, of any length but with no more entities than Telegram keeps."""
    return _finish(render_rich(md).limited(MAX_ENTITIES))


def prepare_telegram(parts: MarkdownParts) -> Prepared:
    """One message. A body that is too long is cut; header and footer are not."""
    header, footer = _frame(parts)
    source = parts.body or ""
    room = _room(header, footer, MAX_BODY)
    if len(source) <= _MAX_SOURCE:
        body = render_rich(source)
    else:
        whole_lines = source[:_MAX_SOURCE].rpartition("\n")[0]
        body = elide(render_rich(whole_lines or source[:_MAX_SOURCE]))
    return _message(header, trim_rich(body, room), footer)


def prepare_telegram_multi(
    parts: MarkdownParts, *, max_body_chars: int = MAX_BODY
) -> list[Prepared]:
    """As many messages as the body needs, at least one; each has the header and the footer.

    From the second on, the header says which one it is: ``done · acme · 7s · continued (2/3)``.
    """
    header, footer = _frame(parts)
    body = render_rich(parts.body or "")
    if utf16_len(body.text) <= _room(header, footer, max_body_chars):
        return [_message(header, body, footer)]
    longest = _continued(header, 9999, 9999)
    chunks = split_rich(body, _room(longest, footer, max_body_chars))
    return [
        _message(_continued(header, i, len(chunks)) if i > 1 else header, chunk, footer)
        for i, chunk in enumerate(chunks, 1)
    ]


def _frame(parts: MarkdownParts) -> tuple[RichText, RichText]:
    header = trim_rich(render_rich(parts.header), _MAX_HEADER)
    return header, trim_rich(render_rich(parts.footer or ""), _MAX_FOOTER)


def _room(header: RichText, footer: RichText, wanted: int) -> int:
    used = sum(utf16_len(part.text) + len(_SEPARATOR) for part in (header, footer) if part.text)
    return min(wanted, MAX_TEXT - used)


def _continued(header: RichText, number: int, count: int) -> RichText:
    return join([header, RichText(f"continued ({number}/{count})")], " · ")


def _message(header: RichText, body: RichText, footer: RichText) -> Prepared:
    rest = MAX_ENTITIES - len(header.spans) - len(footer.spans)
    whole = join([header, body.limited(rest), footer], _SEPARATOR)
    return _finish(whole.limited(MAX_ENTITIES))


def _finish(rich: RichText) -> Prepared:
    return rich.text, to_entities(rich)
