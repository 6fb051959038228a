"""Templates: texts that mix in values with ``${ EXPR }``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ExpressionPart:
    """One ``${ EXPR }``: the expression's text and where it begins in the template."""

    text: str
    offset: int


class TemplateError(ValueError):
    """A ``${`` without its ``}``; ``offset`` is where it stands."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def split_template(text: str) -> list[str | ExpressionPart]:
    """The literal texts and expressions of a template, in order; ``$${`` is a literal ``${``.

    An expression ends at its matching ``}`` outside quotes. Raises `TemplateError`.
    """
    parts: list[str | ExpressionPart] = []
    literal = ""
    i = 0
    while i < len(text):
        if text.startswith("$${", i):
            literal += "${"
            i += 3
        elif text.startswith("${", i):
            end = _matching_brace(text, i + 2)
            if literal:
                parts.append(literal)
                literal = ""
            inner = text[i + 2 : end]
            lead = len(inner) - len(inner.lstrip())
            parts.append(ExpressionPart(inner.strip(), i + 2 + lead))
            i = end + 1
        else:
            literal += text[i]
            i += 1
    if literal or not parts:
        parts.append(literal)
    return parts


def _matching_brace(text: str, start: int) -> int:
    depth, i = 0, start
    quote = ""
    while i < len(text):
        char = text[i]
        if quote:
            if char == "\\":
                i += 1
            elif char == quote:
                quote = ""
        elif char in "'\"`":
            quote = char
        elif char == "{":
            depth += 1
        elif char == "}":
            if depth == 0:
                return i
            depth -= 1
        i += 1
    raise TemplateError("`${` is not closed by a matching `}`", start - 2)


def is_template(text: str) -> bool:
    """Whether a text mixes in a value (an escaped ``$${`` alone counts, to be unescaped)."""
    return "${" in text


def as_text(value: Any) -> str:
    """A value joined into a template: null is empty, texts as they are, the rest as JSON."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False)
