"""Hides secrets in text that engines print and takopi passes on."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from takopi.config.environment import PREFIX
from takopi.logs import known_secrets

_NAME = re.compile(r"(?i)(?:key|token|secret|password|passwd|credential)s?$")
# What a bot token surely is; an engine's `file:12:name` must stay readable.
_BOT_TOKEN = r"(?<!\d)\d{6,}(?::|%3[Aa])[A-Za-z0-9_-]{30,}"
_MIN_LENGTH = 8  # shorter values would hide ordinary words


def redactor(*tables: Mapping[str, Any]) -> Callable[[str], str]:
    """A function that replaces the values of secret-looking variables and options by ``***``.

    takopi's own secrets, and what looks like a bot token, are hidden too. A secret of several lines is
    hidden line by line, because output is shown that way.
    """
    own = {k: v for k, v in os.environ.items() if k.upper().startswith(PREFIX)}
    values = (v for table in (*tables, own) for k, v in table.items() if _NAME.search(k))
    lines = (line.strip() for v in values if isinstance(v, str) for line in v.splitlines())
    secrets = known_secrets() | {line for line in lines if len(line) >= _MIN_LENGTH}
    longest_first = sorted(secrets, key=len, reverse=True)
    pattern = re.compile("|".join([*map(re.escape, longest_first), _BOT_TOKEN]))
    return lambda text: pattern.sub("***", text)
