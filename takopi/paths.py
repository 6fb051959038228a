"""Paths for display, relative to where a run works.

A path or command that an engine reports names files in full; a chat is narrow. What is not certainly
inside the base directory is left as it was: a long path is never wrong, a mangled one is.
"""

from __future__ import annotations

import os
import re
from contextvars import ContextVar, Token
from functools import lru_cache
from pathlib import Path

_run_base_dir: ContextVar[Path | None] = ContextVar("takopi_run_base_dir", default=None)

# What may stand before a path in a command line. Everything else may belong to a path:
# `/srv/repo/x`, `~/repo/x`, `$HOME/repo/x`, `@/repo/x` and `*/repo/x` are not in `/repo`.
_BEFORE = r"""\s"'`=:,;|&<>(\[{"""
# A quote opens a word after one of these; after anything else it closes one (`"$HOME"/repo/x`).
_BEFORE_QUOTE = _BEFORE + r"\\"
# After `<base>/` these mean that the base itself was named: `cd /repo/ && ls` must not lose it.
_NOTHING_FOLLOWS = r"""\s"'`:,;|&<>)}\]/"""


def set_run_base_dir(base_dir: Path | None) -> Token[Path | None]:
    """Set the directory the current run works in; give the token to `reset_run_base_dir`."""
    return _run_base_dir.set(base_dir)


def reset_run_base_dir(token: Token[Path | None]) -> None:
    """Undo one `set_run_base_dir`."""
    _run_base_dir.reset(token)


def get_run_base_dir() -> Path | None:
    """The directory the current run works in, or None: the process's own."""
    return _run_base_dir.get()


def relativize_path(value: str, *, base_dir: Path | str | None = None) -> str:
    """``value`` relative to the base directory if it lies in it, else unchanged.

    The base is ``base_dir``, else the run's, else the process's. The base itself is ``.``.
    Paths are compared as text: links are not followed and nothing is read from disk.
    """
    if not value:
        return value
    base = _base(base_dir)
    if base is None:
        return value
    if value == base:
        return "."
    if base == "/" or not value.startswith(base + "/"):
        return value
    return value[len(base) :].lstrip("/") or "."


def relativize_command(value: str, *, base_dir: Path | str | None = None) -> str:
    """A command line without the ``<base>/`` in front of its paths.

    Only where a path begins: at the start, or after a blank, a quote, ``=``, ``:`` and the like. The
    base standing alone is kept (``cd /repo && ls``).
    """
    base = _base(base_dir)
    if base is None or base == "/" or base + "/" not in value:
        return value
    return _in_command(base).sub("", value)


def _base(base_dir: Path | str | None) -> str | None:
    """The absolute base directory without a final slash; None if the process's own is gone."""
    if base_dir is None:
        base_dir = _run_base_dir.get()
    if type(base_dir) is str and base_dir.startswith("/"):
        return _normal(base_dir)
    try:
        return os.path.abspath(base_dir) if base_dir is not None else os.getcwd()
    except FileNotFoundError:
        return None


@lru_cache(maxsize=64)
def _normal(base: str) -> str:
    return os.path.abspath(base)


@lru_cache(maxsize=64)
def _in_command(base: str) -> re.Pattern[str]:
    # The base comes first, what must not stand before it after it: so the search is for plain text.
    found = re.escape(base)
    return re.compile(
        rf"{found}(?<![^{_BEFORE}]{found})(?<![^{_BEFORE_QUOTE}][\"']{found})/+(?![{_NOTHING_FOLLOWS}]|\Z)"
    )
