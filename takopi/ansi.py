"""Text that a CLI printed, fit to be shown: without what moves a cursor or rings a bell."""

from __future__ import annotations

import re

# CSI and OSC sequences, and the other escapes, which end with their first letter or digit.
_ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def without_escapes(text: str) -> str:
    """Text without terminal escapes and control characters (tabs and newlines stay)."""
    return _CONTROL.sub("", _ANSI.sub("", text))


def strip_ansi(text: str) -> str:
    """Text `without_escapes`, trimmed at the ends."""
    return without_escapes(text).strip()
