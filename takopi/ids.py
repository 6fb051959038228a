"""Ids of engines, plugins and commands: what they may look like and which words are taken."""

from __future__ import annotations

import re

ID_PATTERN = r"^[a-z0-9_]{1,32}$"
_ID = re.compile(r"[a-z0-9_]{1,32}\Z")

# Words of the chat's own commands; no project's alias can be one of them either.
RESERVED_CHAT_IDS = frozenset(
    ["cancel", "file", "new", "agent", "model", "reasoning", "trigger", "topic", "ctx"]
)
RESERVED_CHAT_COMMANDS = RESERVED_CHAT_IDS  # as published plugins call it
# What a plugin's command or an engine cannot be called.
RESERVED_COMMAND_IDS = RESERVED_CHAT_IDS | {"config", "doctor", "init", "plugins"}
# Words of the command line: `takopi <engine>` must not mean two things.
RESERVED_CLI_IDS = frozenset(
    ["adapters", "chat", "chat_id", "help", "onboarding_paths", "run", "service", "start", "why"]
)
# Engine tables stand beside these at the top of takopi.toml, or stood there once.
RESERVED_CONFIG_KEYS = frozenset(
    [
        "adapters",
        "bot_token",
        "chat_id",
        "default_engine",
        "default_project",
        "plugins",
        "projects",
        "transport",
        "transports",
        "watch_config",
    ]
)
RESERVED_ENGINE_IDS = RESERVED_COMMAND_IDS | RESERVED_CLI_IDS | RESERVED_CONFIG_KEYS


def is_valid_id(text: str) -> bool:
    """Whether ``text`` can be an id: 1 to 32 of ``a-z``, ``0-9`` and ``_``."""
    return _ID.match(text) is not None
