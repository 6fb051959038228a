"""Ids of engines, plugins and commands: what they may look like and which words are taken."""

from __future__ import annotations

import re

ID_PATTERN = r"^[a-z0-9_]{1,32}$"
_ID = re.compile(r"[a-z0-9_]{1,32}\Z")

# Words of the chat's own commands; a plugin's command or an engine cannot have one of them.
RESERVED_COMMAND_IDS = frozenset(
    [
        "config",
        "doctor",
        "init",
        "plugins",
        "cancel",
        "file",
        "new",
        "agent",
        "model",
        "reasoning",
        "trigger",
        "topic",
        "ctx",
    ]
)
# Words of the command line: `takopi <engine>` must not mean two things.
RESERVED_CLI_IDS = frozenset(["adapters", "chat", "chat_id", "help", "onboarding_paths", "run"])
RESERVED_ENGINE_IDS = RESERVED_COMMAND_IDS | RESERVED_CLI_IDS


def is_valid_id(text: str) -> bool:
    """Whether ``text`` can be an id: 1 to 32 of ``a-z``, ``0-9`` and ``_``."""
    return _ID.match(text) is not None
