"""Compiled pieces of an expression, and what is known about them before they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from takopi.adapters.functions import NUMBERS
from takopi.adapters.scope import Scope

Evaluator: TypeAlias = Callable[[Any, Scope], Any]
"""(current node, scope) -> value. Values may be shared with the node and with constants: read only."""


def is_true(value: Any) -> bool:
    """JMESPath's truth: false, null, "", [] and {} are false; 0 is true."""
    return bool(value) or type(value) in NUMBERS


UNKNOWN: Final = object()


@dataclass(slots=True)
class Code:
    """A compiled node and what is known about it."""

    run: Evaluator
    fails: bool = False
    local: bool = True  # the value depends on the current node
    scoped: bool = False  # it depends on the scope, or is never the same
    value: Any = UNKNOWN  # of a constant
    path: tuple[str, ...] | None = None  # nothing but these fields, one after the other, of ...
    root: str | None = None  # ... this attribute of the scope, or of the current node
    # What pairs of nodes are made one of:
    argument: Code | None = None  # of a call of `type`
    tests_text: bool = False  # ``type(@) == 'string'``
    takes_text: bool = False  # a function of ``@`` that cannot fail on a string
    first: Evaluator | None = None  # of a filter that cannot fail: what is its ``[0]``
    index: int | None = None  # ``[index]``

    @property
    def is_current(self) -> bool:
        """Whether it is ``@``."""
        return self.path == () and self.root is None


def constant(value: Any) -> Code:
    """Code whose value is known."""
    return Code(lambda node, scope: value, local=False, value=value)


def joined(run: Evaluator, *parts: Code, fails: bool = False, local: bool | None = None) -> Code:
    """Code made of parts: it fails if one of them does, and so on."""
    return Code(
        run,
        fails=fails or any(part.fails for part in parts),
        local=any(part.local for part in parts) if local is None else local,
        scoped=any(part.scoped for part in parts),
    )
