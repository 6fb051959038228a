"""Hides secrets in text that engines print and takopi passes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_NAME = re.compile(r"(?i)(?:key|token|secret|password|passwd|credential)s?$")
_MIN_LENGTH = 8  # shorter values would hide ordinary words


def redactor(environ: Mapping[str, str]) -> Callable[[str], str]:
    """A function that replaces the values of secret-looking variables by ``***``."""
    secrets = {v for k, v in environ.items() if _NAME.search(k) and len(v) >= _MIN_LENGTH}
    if not secrets:
        return str
    pattern = re.compile("|".join(re.escape(s) for s in sorted(secrets, key=len, reverse=True)))
    return lambda text: pattern.sub("***", text)
