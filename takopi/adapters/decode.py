"""One line of bytes to one JSON object, as forgiving as can be without guessing."""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

Decode: TypeAlias = Callable[[bytes], Any]
"""Bytes to a JSON value; raises one of `REFUSED`."""

REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

decode_fast: Decode = msgspec.json.Decoder().decode


def decode_line(raw: bytes) -> dict[str, Any] | None:
    """The JSON object of one line, None where there is none.

    The fast decoder refuses lone surrogates (what Node prints when a CLI cuts an emoji in half),
    invalid UTF-8 and ``NaN``; such a line is decoded once more before it counts as non-JSON.
    """
    try:
        data = decode_fast(raw)
    except REFUSED:
        start = raw[:64].removeprefix(codecs.BOM_UTF8).lstrip()
        if start and start[:1] != b"{":  # plain text, perhaps of many megabytes
            return None
        try:
            data = _decode_leniently(raw.decode("utf-8-sig", errors="replace"))
        except (ValueError, RecursionError):
            return None
    return data if type(data) is dict else None


def _finite(digits: str) -> float | None:
    """A number JSON can hold; ``1e999`` is none."""
    value = float(digits)
    return value if math.isfinite(value) else None


_decode_leniently = json.JSONDecoder(parse_float=_finite, parse_constant=lambda _: None).decode


def mend(text: str) -> str:
    """``text`` with halves of a character joined again; a half that stays alone becomes U+FFFD.

    Halves arrive alone when a CLI cuts its output between two lines. No encoder takes them.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
