"""Hides secrets in text that engines print and takopi passes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_NAME = re.compile(r"(?i)(?:key|token|secret|password|passwd|credential)s?$")
_MIN_LENGTH = 8  # shorter values would hide ordinary words


def redactor(*tables: Mapping[str, Any]) -> Callable[[str], str]:
    """A function that replaces the values of secret-looking variables and options by ``***``.

    A secret of several lines is hidden line by line, because output is shown that way.
    """
    values = (v for table in tables for k, v in table.items() if _NAME.search(k))
    lines = (line.strip() for v in values if isinstance(v, str) for line in v.splitlines())
    secrets = {line for line in lines if len(line) >= _MIN_LENGTH}
    if not secrets:
        return str
    pattern = re.compile("|".join(re.escape(s) for s in sorted(secrets, key=len, reverse=True)))
    return lambda text: pattern.sub("***", text)
