"""The command menu that clients show. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from takopi.bridge.runtime import RuntimeSpec
from takopi.ids import is_valid_id
from takopi.telegram.commands import COMMANDS

MAX_COMMANDS = 100  # setMyCommands takes no more, and no menu at all with a longer description
MAX_DESCRIPTION = 256

Entry = tuple[str, str]
"""A command and its description."""


def menu(spec: RuntimeSpec, plugins: Iterable[Entry]) -> list[Entry]:
    """The menu: engines that can run, projects, plugins' commands, and at the end our own."""
    entries: dict[str, str] = {}
    for entry in spec.router.available_entries:
        entries.setdefault(entry.engine.lower(), f"use engine: {entry.engine}")
    for key, project in spec.projects.projects.items():
        if is_valid_id(key):  # others work when they are typed
            entries.setdefault(key, f"work on: {project.alias}")
    for command, description in plugins:
        text = " ".join(str(description or "").split())[:MAX_DESCRIPTION]
        entries.setdefault(command, text or f"command: {command}")
    entries = {**entries, **COMMANDS}
    last = ("cancel", entries.pop("cancel"))
    # Whatever is left out, runs can be ended.
    return [*list(entries.items())[: MAX_COMMANDS - 1], last]
