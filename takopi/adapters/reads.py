"""What an adapter's expressions read of a line: the rest need not be decoded.

A line's fields are a tree. `fields_read` marks what any expression can look at; `partial_decoder`
makes a decoder that keeps those and passes over the others, which for lines of a kilobyte is more
than half of the work. The decoder knows nothing of expressions, and they nothing of it: every node
is still a plain ``dict``, only with fewer keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypedDict

import msgspec

from takopi.adapters.adapter import Adapter
from takopi.adapters.functions import FUNCTIONS
from takopi.adapters.rules import MatchPath
from takopi.adapters.syntax import SEQUENCES, Node, operands

_MAX_DEPTH = 4  # objects within objects that are told apart; below that all is kept


_KEY = re.compile(r"\w+")
# The top-level keys whose expressions are evaluated before the first line, on lines that may tell the
# session (which are decoded whole), or after the last line.
_NOT_OF_A_LINE = frozenset({"command", "args", "stdin", "env", "resume", "session", "end"})


@dataclass(slots=True)
class Fields:
    """What is read of one value: all of it, or, where it is an object, these fields of it."""

    whole: bool = False
    fields: dict[str, Fields] = field(default_factory=dict)

    def field(self, name: str) -> Fields:
        """The field of that name, from now on read."""
        return self.fields.setdefault(name, Fields())


def fields_read(adapter: Adapter) -> Fields:
    """What the rules of ``adapter`` can read of a line, once its session is known."""
    line = Fields()
    for place, expression in adapter.expressions:
        key = _KEY.match(place.path)
        if key is not None and key[0] in _NOT_OF_A_LINE:
            continue
        # Inside `each` and in `tools` the current node is not the line; `event()` still is.
        elsewhere = place.path.startswith("tools[") or "].rules[" in place.path
        _keep(_read(expression.ast, None if elsewhere else line, line))
    _note_matches(line, adapter.match_paths)
    return line


def _note_matches(line: Fields, paths: Iterable[MatchPath]) -> None:
    for path in paths:
        here = line
        for name in path:
            here = here.field(name)
        here.whole = True


def _keep(read: Fields | None) -> None:
    """Its value is used: for what, nobody asks."""
    if read is not None:
        read.whole = True


def _read(node: Node, here: Fields | None, line: Fields) -> Fields | None:
    """Mark what ``node`` reads where the current node is ``here``.

    Gives what its value is a part of, None for a computed value or a part of one. Whether an object
    is empty, equal to something, or in a list is a use of the whole.
    """
    kind, children = node["type"], node["children"]
    if kind == "field":
        return here.field(node["value"]) if here is not None else None
    if kind in ("current", "identity"):
        return here
    if kind == "literal":
        return None
    if kind in SEQUENCES:
        for step in operands(node):
            here = _read(step, here, line)
        return here
    if kind == "function_expression" and FUNCTIONS[node["value"]].attribute == "event":
        return line
    if kind in ("index", "slice"):
        _keep(here)
        return None
    if kind in _PROJECTIONS:
        # What is in a list or behind `*` is kept; the bodies look only at that, and at `event()`.
        base, *bodies = children
        _keep(_read(base, here, line))
        for body in bodies:
            _keep(_read(body, None, line))
        return None
    if kind == "expref":
        here = None  # evaluated on items of another argument, which is kept
    for child in children:
        _keep(_read(child, here, line))
    return None


_PROJECTIONS = frozenset({"projection", "value_projection", "filter_projection"})


def partial_decoder(read: Fields) -> Callable[[bytes], Any] | None:
    """A decoder of lines that drops what is not in ``read``; None if all of a line is read.

    It raises what `msgspec.json.decode` raises, and also for JSON that is not an object.
    """
    if read.whole or not read.fields:
        return None
    return msgspec.json.Decoder(_table(read, 1)).decode


def _table(read: Fields, depth: int) -> Any:
    kinds = {name: _kind(below, depth + 1) for name, below in read.fields.items()}
    return TypedDict("Line", kinds, total=False)  # type: ignore[operator]


def _kind(read: Fields, depth: int) -> Any:
    if read.whole or not read.fields or depth > _MAX_DEPTH:
        return Any
    return _table(read, depth) | str | int | float | bool | list[Any] | None
