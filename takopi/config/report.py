"""What is wrong in the configuration, where it stands and what to do: never with a secret's value."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from takopi.config.masking import MASK, is_secret, mask_broken_line, mask_tokens
from takopi.config.positions import KeyPath, Place, locate
from takopi.diagnostics import Diagnostic, Severity, Span, suggest
from takopi.errors import ConfigError

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")


def dotted(path: Sequence[str | int]) -> str:
    """``projects.app.path``, ``a.list[0]``; parts that are no bare keys are quoted."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            name = part if _BARE.match(part) else json.dumps(part, ensure_ascii=False)
            shown += f".{name}" if shown else name
    return shown


@dataclass(frozen=True)
class Source:
    """What a configuration was made of: the file's text and the environment's variables.

    ``variables``: key path -> name of the variable that gave its value.
    """

    path: Path
    text: str = ""
    variables: Mapping[KeyPath, str] = field(default_factory=dict)

    @cached_property
    def _places(self) -> dict[KeyPath, Place]:
        return locate(self.text)

    def variable(self, path: KeyPath) -> str | None:
        """The variable that a key's value, or what is missing beside it, comes from."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.variables:
                return self.variables[path[:length]]
        if path[:-1] in self._places or len(path) < 2:
            return None
        beside = (v for known, v in self.variables.items() if known[: len(path) - 1] == path[:-1])
        return next(beside, None)

    def span(self, path: KeyPath, *, hide_value: bool = False) -> Span | None:
        """Where a key stands, or else the table it belongs to; None for nothing of the file."""
        place = next(
            (self._places[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self._places),
            None,
        )
        if place is None:
            return None
        hidden = [p.value for known, p in self._places.items() if p.value and is_secret(known)]
        if hide_value and place.value:
            hidden.append(place.value)
        start = self.text.rfind("\n", 0, place.start) + 1
        shift, line = self._masked_line(start, hidden, place.start)
        length = place.end - place.start
        column = place.start - start + 1 - shift
        if any(a <= place.start < b for a, b in hidden):
            length = len(MASK)
        return Span(str(self.path), self._line_number(start), column, length, line)

    def _masked_line(
        self, start: int, hidden: Sequence[tuple[int, int]], mark: int
    ) -> tuple[int, str]:
        """The line with `MASK` for hidden values, and how far ``mark`` moved to the left by it."""
        end = self.text.find("\n", start)
        end = len(self.text) if end < 0 else end
        line, at, shift = "", start, 0
        for begin, stop in sorted(hidden):
            begin, stop = max(begin, at), min(stop, end)
            if begin >= stop:
                continue
            line += self.text[at:begin] + MASK
            if begin <= mark:
                shift += min(stop, mark) - begin - (len(MASK) if stop <= mark else 0)
            at = stop
        return shift, mask_tokens(line + self.text[at:end]).rstrip("\r")

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(found.end() for found in re.finditer("\n", self.text))]

    def _line_number(self, offset: int) -> int:
        return bisect_right(self._line_starts, offset)

    def problem(
        self,
        path: KeyPath,
        reason: str,
        *,
        code: str = "schema",
        help: str | None = None,
        severity: Severity = "error",
    ) -> Diagnostic:
        """A diagnostic about one key, at its line or with the name of its variable."""
        span = self.span(path, hide_value=code == "unknown-key")
        variable = self.variable(path)
        if variable is not None:
            span, help = None, help or f"it comes from the environment variable {variable}"
        return Diagnostic(code, reason, span, dotted(path) or None, help, severity)


def read_source(path: Path, variables: Mapping[KeyPath, str] | None = None) -> Source:
    """The file as it is now; without text when it cannot be read."""
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError:
        text = ""
    return Source(path, text, variables or {})


def malformed(path: Path, text: str, error: Exception) -> ConfigError:
    """The error of a file that is no TOML, with its line."""
    reason = str(error)
    message = f"Malformed TOML in {path}: {reason}"
    found = _WHERE.search(reason)
    if found is None:
        return ConfigError(message)
    text = text.replace("\r\n", "\n")
    if found[1]:
        line, column = int(found[1]), int(found[2])
    else:
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
    end = text.find("\n", start)
    shown = mask_broken_line(text, start, len(text) if end < 0 else end)
    column = min(column, len(shown) + 1)
    span = Span(str(path), line, column, 1, shown)
    return ConfigError(message, [Diagnostic("syntax", reason[: found.start()], span)])


_REASONS = {
    "missing": "missing; it is required",
    "extra_forbidden": "unknown key",
    "string_type": "expected a string",
    "string_too_short": "expected a non-empty string",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "int_type": "expected an integer",
    "int_parsing": "expected an integer",
    "int_parsing_size": "expected an integer",
    "int_from_float": "expected an integer",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "list_type": "expected a list",
    "dict_type": "expected a table",
    "model_type": "expected a table",
    "model_attributes_type": "expected a table",
}


def _reason(error: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "literal_error":
        return f"expected one of {context['expected']}".replace("'", "`")
    if kind == "greater_than_equal":
        return f"expected a number of at least {context['ge']:g}"
    if kind in _REASONS:
        return _REASONS[kind]
    # Ours say what was expected; any other one's words could hold the value.
    return str(error["msg"]) if kind == "takopi" else "not a valid value"


def schema_error(
    errors: Sequence[Mapping[str, Any]], source: Source, known_keys: Mapping[KeyPath, Sequence[str]]
) -> ConfigError:
    """Errors as pydantic lists them. ``known_keys``: those of the table that a key path names."""
    missing = {tuple(error["loc"]) for error in errors if error["type"] == "missing"}
    found: list[tuple[str, Diagnostic]] = []
    misspelt: set[KeyPath] = set()
    for error in errors:
        path: KeyPath = tuple(error["loc"])
        if error["type"] == "extra_forbidden":
            known = known_keys.get(path[:-1], ())
            meant = suggest(str(path[-1]), known)
            help = f"did you mean `{meant}`?" if meant else "known: " + ", ".join(known)
            if meant and (*path[:-1], meant) in missing:
                misspelt.add((*path[:-1], meant))
                help += " It is required"
            line = "unknown key" + (f"; {help}" if meant else "")
            message = f"unknown key `{path[-1]}`"
            problem = source.problem(path, message, code="unknown-key", help=help)
        else:
            line = _reason(error)
            code = "missing-key" if error["type"] == "missing" else "schema"
            problem = source.problem(path, line, code=code)
        line = f"{dotted(path)}: {line}" if path else line
        variable = source.variable(path)
        found.append((line + (f" (from {variable})" if variable else ""), problem))
    # A key that is missing because it is misspelt is one mistake.
    kept = {dotted(path) for path in misspelt}
    found = [f for f in found if f[1].path not in kept or f[1].code == "unknown-key"]
    found.sort(key=lambda f: (s.line, s.column) if (s := f[1].span) else (0, 0))
    lines = "\n".join(line for line, _ in found)
    return ConfigError(f"Invalid config in {source.path}: {lines}", [d for _, d in found])
