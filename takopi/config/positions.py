"""Where the keys of a TOML file stand. The text is known to be TOML: nothing is checked here."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""``("projects", "app", "path")``; an item of an array has its index."""


@dataclass(slots=True)
class Place:
    """Offsets into the text: of the key, and of its value (None for a table's header)."""

    start: int
    end: int
    value: tuple[int, int] | None = None


_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_KEY = re.compile(r""""(?:\\.|[^"\\\n])*"|'[^'\n]*'|[A-Za-z0-9_-]+""")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\r\n]*[^,\]}#\r\n \t]|")


def locate(text: str) -> dict[KeyPath, Place]:
    """The first place of every key, table and array item."""
    scanner = _Scanner(text)
    # No TOML after all, or nested without end: what was found so far is right.
    with suppress(IndexError, RecursionError):
        scanner.scan()
    return scanner.places


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.places: dict[KeyPath, Place] = {}
        self._counts: dict[KeyPath, int] = {}  # items so far of each array of tables

    def scan(self) -> None:
        here: KeyPath = ()
        while self._skip(_BLANK) < len(self.text):
            if self.text[self.at] == "[":
                here = self._header()
            else:
                self._pair(here)

    def _skip(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise IndexError(self.at)
        self.at = found.end()
        return self.at

    def _header(self) -> KeyPath:
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        path = self._key((), is_array=is_array)
        self._skip(_SPACE)
        self.at += 2 if is_array else 1
        return path

    def _key(self, path: KeyPath, *, is_array: bool = False) -> KeyPath:
        """Read a dotted key. Within an array of tables it means the table begun last."""
        parts: list[tuple[str, int, int]] = []
        while True:
            start = self._skip(_SPACE)
            end = self._skip(_KEY)
            parts.append((_name(self.text[start:end]), start, end))
            self._skip(_SPACE)
            if self.text[self.at] != ".":
                break
            self.at += 1
        for index, (name, start, end) in enumerate(parts, 1):
            path = (*path, name)
            self.places.setdefault(path, Place(start, end))
            if is_array and index == len(parts):
                self._counts[path] = self._counts.get(path, 0) + 1
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
                self.places.setdefault(path, Place(start, end))
        return path

    def _pair(self, here: KeyPath) -> None:
        path = self._key(here)
        self.at += 1  # the equals sign
        self._skip(_SPACE)
        self.places[path].value = self._value(path)

    def _value(self, path: KeyPath) -> tuple[int, int]:
        start = self.at
        opening = self.text[start]
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            self._skip(_STRING if opening in "\"'" else _SCALAR)
        return start, self.at

    def _array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while self.text[self._skip(_BLANK)] != "]":
            item = (*path, index)
            start, end = self._value(item)
            self.places[item] = Place(start, end, (start, end))
            index += 1
            if self.text[self._skip(_BLANK)] == ",":
                self.at += 1
        self.at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while self.text[self._skip(_BLANK)] != "}":
            self._pair(path)
            if self.text[self._skip(_BLANK)] == ",":
                self.at += 1
        self.at += 1


def _name(written: str) -> str:
    if written[0] == "'":
        return written[1:-1]
    if written[0] != '"':
        return written
    name: str = tomllib.loads(f"name = {written}")["name"]
    return name
