"""Older shapes of the configuration, brought into today's. Each step can be run again."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, TypeAlias

from takopi.config.store import ensure_table, open_document, write_config
from takopi.config.text import same
from takopi.errors import ConfigError

logger = logging.getLogger("takopi.config")

Table: TypeAlias = MutableMapping[str, Any]
"""Plain dicts, or a document with its comments."""

_SCOPES = {"multi_project_chat": "main", "per_project_chat": "projects"}


def migrate(data: Table, path: Path) -> list[str]:
    """Bring ``data`` into today's shape in place; the ids of what was done. Raises `ConfigError`."""
    return [name for name, step in _STEPS.items() if step(data, path)]


def migrate_file(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """The data of the file in today's shape; the file is rewritten if that changes anything.

    A file that cannot be written is warned about, and stays. Raises `ConfigError` for its content.
    """
    migrated = copy.deepcopy(data)
    done = migrate(migrated, path)
    if not done:
        return migrated
    try:
        _rewrite(migrated, path)
    except ConfigError as error:
        logger.warning("config.migrated only in memory (%s): %s", ", ".join(done), error)
        return migrated
    for name in done:
        logger.info("config.migrated %s in %s", name, path)
    return migrated


def _rewrite(migrated: dict[str, Any], path: Path) -> None:
    """Move the values with their comments if the library manages it, else without."""
    try:
        made = open_document(path)
        migrate(made, path)
        good = same(made.unwrap(), migrated)
    except Exception:
        good = False
    write_config(made if good else migrated, path)


def _legacy_telegram(data: Table, path: Path) -> bool:
    legacy = [key for key in ("bot_token", "chat_id") if key in data]
    if not legacy:
        return False
    transports = ensure_table(data, "transports", config_path=path)
    telegram = ensure_table(transports, "telegram", config_path=path, label="transports.telegram")
    for key in legacy:
        value = data.pop(key)
        if key not in telegram:
            telegram[key] = value
    if "transport" not in data:
        data["transport"] = "telegram"
    return True


def _topics_scope(data: Table, path: Path) -> bool:
    table: Any = data
    label = ""
    for key in ("transports", "telegram", "topics"):
        label = f"{label}.{key}" if label else key
        table = table.get(key)
        if table is None:
            return False
        if not isinstance(table, MutableMapping):
            raise ConfigError(f"Invalid `{label}` in {path}; expected a table.")
    if "mode" not in table:
        return False
    mode = table["mode"]
    if not isinstance(mode, str):
        raise ConfigError(f"Invalid `{label}.mode` in {path}; expected a string.")
    if mode.strip() not in _SCOPES:
        raise ConfigError(
            f"Invalid `{label}.mode` in {path}; "
            "expected 'multi_project_chat' or 'per_project_chat'."
        )
    del table["mode"]
    table.setdefault("scope", _SCOPES[mode.strip()])
    return True


_STEPS: dict[str, Callable[[Table, Path], bool]] = {
    "legacy-telegram": _legacy_telegram,
    "topics-scope": _topics_scope,
}
