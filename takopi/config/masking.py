"""Which keys hold secrets, and text without them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MASK = "***"

_SECRET = r"(?:token|secrets?|passw(?:or)?d|passphrase|credentials?|api[_-]?keys?|(?<=[_-])key)"
_SECRET_KEY = re.compile(rf"{_SECRET}\Z", re.IGNORECASE)
_ASSIGNMENT = re.compile(rf"""{_SECRET}(?:["'][ \t]*|[ \t]*)[=:][ \t]*""", re.IGNORECASE)
_TOKEN = re.compile(r"\d+:[A-Za-z0-9_-]{10,}")
_CLOSED_BY = {'"""': '"""', "'''": "'''", "[": "]", "{": "}"}


def is_secret(path: Iterable[str | int]) -> bool:
    """Whether the value at a key path must not be shown: a part of it is named like a secret."""
    return any(isinstance(part, str) and _SECRET_KEY.search(part) for part in path)


def secret_values(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """The texts of a configuration that must never be shown."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from secret_values(value, (*path, key))
        elif is_secret((*path, key)):
            items = value if isinstance(value, list) else [value]
            yield from (item for item in items if isinstance(item, str))


def mask_tokens(text: str) -> str:
    """``text`` without anything shaped like a bot's token."""
    return _TOKEN.sub(MASK, text)


def mask_broken_line(text: str, start: int, end: int) -> str:
    """The line ``text[start:end]`` of a file that is no TOML, so that values have no known bounds.

    From the first name of a secret on, nothing of the line is shown; nothing at all inside a
    secret that began on an earlier line and has not ended.
    """
    line = text[start:end]
    found = _ASSIGNMENT.search(line)
    if found is not None:
        line = line[: found.end()] + MASK
    for earlier in _ASSIGNMENT.finditer(text, 0, start):
        for opening, closing in _CLOSED_BY.items():
            value = earlier.end()
            if text.startswith(opening, value) and (
                text.find(closing, value + len(opening), start) < 0
            ):
                return MASK
    return mask_tokens(line)
