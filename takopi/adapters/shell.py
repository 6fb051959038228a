"""Commands as they were meant: without the shell that an engine runs them in."""

from __future__ import annotations

import re
import shlex
from typing import Final

_SHELL: Final = re.compile(
    r"\s*(?:/\S*/)?(?:env\s+(?:/\S*/)?)?(?:ba|z|da|k)?sh\s+-[a-z]*c\s+"
    r"""(?:(?:'(?P<single>[^']*)'|"(?P<double>[^"\\]*)"|(?P<word>[^\s'"\\]+))\s*|(?P<script>\S.*))""",
    re.DOTALL,
)


def unwrap_shell(command: str) -> str:
    """The script of ``bash -lc '…'`` and the like; anything else as it is."""
    wrapper = _SHELL.fullmatch(command)
    if wrapper is None:
        return command
    single, double, word, script = wrapper.groups()
    if script is None:  # the usual case: shlex takes a microsecond per character
        return single or double or word or command
    try:
        words = shlex.split(script.rstrip())
    except ValueError:  # no closing quotation
        return command
    return words[0] if len(words) == 1 and words[0] else command
