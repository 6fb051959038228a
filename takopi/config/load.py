"""The configuration in effect: the file in today's shape, under what the environment says."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from takopi.config.environment import overlay, read_variables
from takopi.config.location import config_path
from takopi.config.migrations import migrate_file
from takopi.config.store import exists, read_config
from takopi.config.text import is_deep
from takopi.errors import ConfigError

if TYPE_CHECKING:
    # The schema is imported when it is first asked for: a list of engines does not need it.
    from takopi.config.positions import KeyPath
    from takopi.config.report import Source
    from takopi.config.settings import Settings

logger = logging.getLogger("takopi.config")


@dataclass(frozen=True)
class Config:
    """A configuration. ``data`` is the file's content with the environment's on top, as written.

    ``settings`` is the same checked by the schema; asking for it raises `ConfigError`.
    ``exists``: whether there is a file. ``variables``: which keys the environment set.
    """

    path: Path
    data: Mapping[str, Any] = field(default_factory=dict)
    exists: bool = False
    variables: Mapping[KeyPath, str] = field(default_factory=dict)

    @cached_property
    def settings(self) -> Settings:
        from takopi.config.report import read_source

        return _validated(self.data, read_source(self.path, self.variables))

    def engine_table(self, engine: str) -> dict[str, Any]:
        """The ``[engine]`` table, ``{}`` if absent. Raises `ConfigError` when it is no table."""
        table = self.data.get(engine, {})
        if not isinstance(table, dict):
            raise ConfigError(f"Invalid `{engine}` config in {self.path}; expected a table.")
        return table

    def adapter_paths(self) -> list[Path]:
        """``adapters.paths``: files or folders, relative to the configuration file's folder."""
        table = self.data.get("adapters", {})
        paths = table.get("paths", []) if isinstance(table, dict) else None
        for key in table if isinstance(table, dict) else ():
            if key != "paths":
                logger.warning("%s: [adapters] has no key `%s` (known: `paths`)", self.path, key)
        if not isinstance(paths, list) or not all(isinstance(p, str) and p for p in paths):
            raise ConfigError(
                f"Invalid `adapters.paths` in {self.path}; expected a list of strings."
            )
        return [self.path.parent / os.path.expanduser(p) for p in paths]


def load_config(path: Path | str | None = None) -> Config:
    """The configuration; without a file the defaults, under what the environment says.

    Older shapes of the file are rewritten. Values are checked when ``settings`` is asked for.
    Raises `ConfigError` for a file that cannot be read or parsed.
    """
    found = config_path(path)
    there = exists(found)
    data = migrate_file(read_config(found), found) if there else {}
    variables = read_variables()
    origins = overlay(data, variables, found, override=True) if variables else {}
    return Config(found, data, there, origins)


def load_settings(path: Path | str | None = None) -> tuple[Settings, Path]:
    """The checked settings and the file's path. Raises `ConfigError`, also when there is no file."""
    config = load_config(path)
    if not config.exists:
        raise ConfigError(f"Missing config file {config.path}.")
    return config.settings, config.path


def load_settings_if_exists(path: Path | str | None = None) -> tuple[Settings, Path] | None:
    """Like `load_settings`, but None when there is no file."""
    config = load_config(path)
    return (config.settings, config.path) if config.exists else None


def validate_settings_data(data: Mapping[str, Any], *, config_path: Path) -> Settings:
    """Settings of tables that are not, or not yet, in the file; the environment adds absent keys.

    ``data`` stays as it is. Raises `ConfigError`.
    """
    from takopi.config.report import Source

    plain = data.unwrap() if hasattr(data, "unwrap") else data
    if is_deep(plain):
        raise ConfigError(f"Invalid config in {config_path}: nested too deeply")
    complete = copy.deepcopy(dict(plain))
    origins = overlay(complete, read_variables(), config_path, override=False)
    return _validated(complete, Source(config_path, "", origins))


def require_telegram(settings: Settings, path: Path) -> tuple[str, int]:
    """The bot's token and the main chat. Raises `ConfigError` for another chat, or none."""
    if settings.transport != "telegram":
        raise ConfigError(
            f"Unsupported transport '{settings.transport}' in {path} (telegram only for now)."
        )
    telegram = settings.transports.telegram
    if telegram is None:
        raise ConfigError(f"Missing [transports.telegram] in {path}.")
    return telegram.bot_token, telegram.chat_id


def _validated(data: Mapping[str, Any], source: Source) -> Settings:
    from pydantic import ValidationError

    from takopi.config.report import schema_error
    from takopi.config.settings import MAIN_TRANSPORT, Settings, model_at

    transport = data.get("transport", MAIN_TRANSPORT)
    named_chats = isinstance(transport, str) and transport.strip() != MAIN_TRANSPORT
    try:
        return Settings.model_validate(dict(data), context={"named_chats": named_chats})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        models = {path: model_at(path) for path in (tuple(e["loc"][:-1]) for e in found)}
        known = {path: list(m.model_fields) for path, m in models.items() if m is not None}
        raise schema_error(found, source, known) from None
