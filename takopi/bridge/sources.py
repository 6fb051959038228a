"""What a running takopi was made of, as a value to compare: files as seen, packages as installed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Literal, TypeAlias

from takopi.plugins import plugin_signature

Seen: TypeAlias = tuple[int, int, int]
"""Modification time in ns, size, inode: a file replaced within a clock tick is another file."""

ConfigStatus: TypeAlias = Literal["ok", "missing", "invalid"]


def config_status(path: Path) -> tuple[ConfigStatus, Seen | None]:
    """Whether there is a regular file, and what it looked like. Links are followed."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return "missing", None
    if not stat.S_ISREG(facts.st_mode):
        return "invalid", None
    return "ok", (facts.st_mtime_ns, facts.st_size, facts.st_ino)


def sources(config_path: Path, adapter_paths: tuple[Path, ...]) -> object:
    """What a runtime is made of, to be compared: files as seen, and the installed packages."""
    files: list[tuple[str, Seen | None]] = [(str(config_path), config_status(config_path)[1])]
    for path in adapter_paths:
        files += _adapter_files(path)
    return (tuple(files), plugin_signature())


def _adapter_files(path: Path) -> list[tuple[str, Seen | None]]:
    try:
        if not path.is_dir():
            return [(str(path), config_status(path)[1])]
        found = sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml"))
    except OSError:
        return [(str(path), None)]
    return [(str(file), config_status(file)[1]) for file in found]
