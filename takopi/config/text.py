"""TOML text of plain values, and whether two values are the same in TOML."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

from takopi.config.masking import MASK, is_secret

if TYPE_CHECKING:
    from takopi.config.positions import KeyPath

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")


def key_text(key: str) -> str:
    """A key as TOML wants it written."""
    return key if _BARE.match(key) else _string(key)


def literal(value: Any, path: KeyPath = (), *, show_secrets: bool = True) -> str:
    """A value as TOML; an array has one line per item.

    Raises `TypeError` for a type that TOML has not. ``path`` tells which strings are secrets.
    """
    if not show_secrets and is_secret(path):
        return _string(MASK)
    if isinstance(value, list | tuple) and value:
        items = (
            _inline(item, (*path, index), show_secrets=show_secrets)
            for index, item in enumerate(value)
        )
        return "[\n" + "".join(f"    {item},\n" for item in items) + "]"
    return _inline(value, path, show_secrets=show_secrets)


def _inline(value: Any, path: KeyPath, *, show_secrets: bool) -> str:
    if not show_secrets and is_secret(path):
        return _string(MASK)
    if isinstance(value, list | tuple):
        items = [_inline(v, (*path, i), show_secrets=show_secrets) for i, v in enumerate(value)]
        return "[" + ", ".join(items) + "]"
    if isinstance(value, Mapping):
        pairs = [
            f"{_key(k)} = {_inline(v, (*path, k), show_secrets=show_secrets)}"
            for k, v in value.items()
        ]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value))  # `inf`, `nan` and `1e+16` are TOML, too
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    raise TypeError(f"TOML has no type for {type(value).__name__}")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key must be a string, not {type(key).__name__}")
    return key_text(key)


def _string(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TypeError("a string that is no Unicode text") from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def document(data: Mapping[str, Any]) -> str:
    """A whole file. Raises `TypeError` like `literal`."""
    blocks: list[str] = []
    _add_table(blocks, data, ())
    return "\n".join(blocks)


def _add_table(blocks: list[str], table: Mapping[str, Any], path: KeyPath) -> None:
    lines = [
        f"{_key(key)} = {literal(value)}\n"
        for key, value in table.items()
        if not isinstance(value, Mapping)
    ]
    if path and (lines or not table):
        lines.insert(0, "[" + ".".join(_key(part) for part in path) + "]\n")
    if lines:
        blocks.append("".join(lines))
    for key, value in table.items():
        if isinstance(value, Mapping):
            _add_table(blocks, value, (*path, key))


def same(a: Any, b: Any) -> bool:
    """Whether two values are one in TOML: ``1``, ``1.0`` and ``true`` differ, ``nan`` does not."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    return bool(a == b)


def is_deep(value: Any, levels: int = 100) -> bool:
    """Whether a value is nested deeper than any sane one, and so deep that recursion may end."""
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return False
    return levels == 0 or any(is_deep(item, levels - 1) for item in value)
