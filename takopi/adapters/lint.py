"""Traps of JMESPath that its library does not catch, found in an expression's tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from takopi.adapters.backtracking import EXPONENTIAL_HELP, exponential_part
from takopi.adapters.syntax import Token


@dataclass(frozen=True, slots=True)
class Finding:
    """One trap: a diagnostic code, what and where it is (characters into the text), what to write."""

    code: str
    message: str
    start: int
    length: int
    help: str


@dataclass(frozen=True, slots=True)
class Access:
    """A read of ``function().field``; ``field`` is None when the whole object is taken."""

    function: str
    field: str | None
    start: int
    length: int


_COMPARATORS = frozenset(("eq", "ne", "lt", "lte", "gt", "gte"))
_BEFORE_LITERAL = _COMPARATORS | {"or", "and", "comma", "lparen", "colon"}
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*\Z")
_OPEN = {"lparen": "rparen", "lbracket": "rbracket", "lbrace": "rbrace", "filter": "rbracket"}


def lint(text: str, tokens: Sequence[Token]) -> list[Finding]:
    """Every trap in one expression, in order."""
    checks = (_quoted_literals, _negations, _flattened_literals, _filters_after_flatten, _captures)
    return sorted((f for check in checks for f in check(text, tokens)), key=lambda f: f.start)


def accesses(tokens: Sequence[Token], functions: frozenset[str]) -> list[Access]:
    """Where an expression reads a field of one of the argument-less ``functions``."""
    found = []
    for i, token in enumerate(tokens):
        if not _is_call(tokens, i) or token.value not in functions:
            continue
        if _type(tokens, i + 2) != "rparen":
            continue
        name = tokens[i + 4] if _type(tokens, i + 3) == "dot" else None
        if name is not None and name.type in ("unquoted_identifier", "quoted_identifier"):
            found.append(Access(token.value, str(name.value), name.start, name.end - name.start))
        else:
            found.append(Access(token.value, None, token.start, token.end - token.start))
    return found


def calls(tokens: Sequence[Token]) -> list[Token]:
    """The name tokens of all function calls."""
    return [token for i, token in enumerate(tokens) if _is_call(tokens, i)]


def _type(tokens: Sequence[Token], index: int) -> str:
    return tokens[index].type if 0 <= index < len(tokens) else "eof"


def _is_call(tokens: Sequence[Token], index: int) -> bool:
    return tokens[index].type == "unquoted_identifier" and _type(tokens, index + 1) == "lparen"


def _closing(tokens: Sequence[Token], index: int) -> int:
    """The index of the token that closes the bracket at ``index``."""
    stack = []
    for i in range(index, len(tokens)):
        kind = tokens[i].type
        if kind in _OPEN:
            stack.append(_OPEN[kind])
        elif stack and kind == stack[-1]:
            stack.pop()
            if not stack:
                return i
    return len(tokens) - 1


def _meant_as_text(name: str) -> bool:
    """Names that need their quotes have a letter and no space: ``"a-b"``, ``"@type"``."""
    spaced = re.search(r"\s", name) is not None
    return spaced or _IDENTIFIER.match(name) is not None or re.search(r"\w", name) is None


def _quoted_literals(text: str, tokens: Sequence[Token]) -> Iterator[Finding]:
    for i, token in enumerate(tokens):
        if token.type != "quoted_identifier":
            continue
        before, after = _type(tokens, i - 1) if i else "eof", _type(tokens, i + 1)
        if before == "dot" or after in ("dot", "colon"):
            continue
        compared = before in _COMPARATORS or after in _COMPARATORS
        if not compared and not _meant_as_text(str(token.value)):
            continue
        value = str(token.value).replace("'", "\\'")
        yield Finding(
            "quoted-literal",
            f"double quotes name a field: this reads the field `{token.value}`",
            token.start,
            token.end - token.start,
            f"write `'{value}'` for the text, or `{token.value}` without quotes for the field"
            if _IDENTIFIER.match(str(token.value))
            else f"write `'{value}'` for the text",
        )


def _operand_end(tokens: Sequence[Token], start: int) -> int:
    """The index after what a ``!`` at ``start - 1`` applies to."""
    i = start
    while _type(tokens, i) == "not":
        i += 1
    if _is_call(tokens, i) if i < len(tokens) else False:
        i = _closing(tokens, i + 1) + 1
    elif _type(tokens, i) in _OPEN:
        i = _closing(tokens, i) + 1
    else:
        i += 1
    while _type(tokens, i) == "lbracket":  # an index binds tighter than `!`
        i = _closing(tokens, i) + 1
    return i


def _negations(text: str, tokens: Sequence[Token]) -> Iterator[Finding]:
    for i, token in enumerate(tokens):
        if token.type != "not" or (i and tokens[i - 1].type == "not"):
            continue
        after = _operand_end(tokens, i + 1)
        kind = _type(tokens, after)
        operand = text[tokens[i + 1].start : tokens[after - 1].end]
        if kind in ("dot", "filter", "flatten"):
            example = f"`!({operand}.…)`" if kind == "dot" else f"`!({operand}[…])`"
            meaning = f"`!` binds tighter than what follows: this is `(!{operand})…`"
        elif kind in _COMPARATORS:
            operator = tokens[after].value
            example = f"`!({operand} {operator} …)`"
            meaning = f"`!` binds tighter than `{operator}`: this is `(!{operand}) {operator} …`"
        else:
            continue
        end = tokens[after].end
        yield Finding("negated-path", meaning, token.start, end - token.start, f"write {example}")


def _flattened_literals(text: str, tokens: Sequence[Token]) -> Iterator[Finding]:
    for i, token in enumerate(tokens):
        if token.type == "flatten" and i and tokens[i - 1].type in _BEFORE_LITERAL:
            yield Finding(
                "expression",
                "`[]` flattens the current value; it is not an empty list",
                token.start,
                token.end - token.start,
                "write `` `[]` `` for an empty list",
            )


def _filters_after_flatten(text: str, tokens: Sequence[Token]) -> Iterator[Finding]:
    for i, token in enumerate(tokens):
        if token.type == "filter" and i and tokens[i - 1].type == "flatten":
            yield Finding(
                "expression",
                "a filter right after `[]` is applied inside each element, not to the flattened list",
                token.start,
                token.end - token.start,
                "write `[] | [?…]`",
            )


_DOUBLED = re.compile(r"\\\\[A-Za-z.()\[\]{}+*?|^$]")


def _captures(text: str, tokens: Sequence[Token]) -> Iterator[Finding]:
    for i, token in enumerate(tokens):
        if not _is_call(tokens, i) or token.value != "capture":
            continue
        close = _closing(tokens, i + 1)
        pattern = tokens[close - 1]
        if pattern.type != "literal" or not isinstance(pattern.value, str):
            continue
        raw = text[pattern.start : pattern.end]
        if raw.startswith("'") and _DOUBLED.search(raw):
            yield Finding(
                "regex",
                "two backslashes in a raw string mean a literal backslash",
                pattern.start,
                pattern.end - pattern.start,
                "write one backslash: '\\d', not '\\\\d'",
            )
        yield from _capture_groups(tokens, close, pattern.value)
        part = exponential_part(pattern.value)
        if part is not None:
            yield Finding(
                "regex",
                f"this can take exponential time: `{part}`",
                pattern.start,
                pattern.end - pattern.start,
                EXPONENTIAL_HELP,
            )


def _capture_groups(tokens: Sequence[Token], close: int, pattern: str) -> Iterator[Finding]:
    try:
        groups = {*re.compile(pattern).groupindex, "match"}
    except re.error:
        return  # reported where the regex is compiled
    if _type(tokens, close + 1) != "dot" or close + 2 >= len(tokens):
        return
    field = tokens[close + 2]
    if field.type in ("unquoted_identifier", "quoted_identifier") and field.value not in groups:
        yield Finding(
            "regex",
            f"the regular expression has no group `{field.value}`",
            field.start,
            field.end - field.start,
            "its groups: " + ", ".join(f"`{g}`" for g in sorted(groups)),
        )
