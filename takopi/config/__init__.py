"""Reads ``~/.takopi/takopi.toml``: engine tables and where adapters are found. None is needed."""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from takopi.errors import ConfigError

logger = logging.getLogger(__name__)


def home_config_path() -> Path:
    """``~/.takopi/takopi.toml``. Raises `ConfigError` when there is no telling where home is."""
    try:
        return Path.home() / ".takopi" / "takopi.toml"
    except RuntimeError as error:
        message = "cannot tell where the home directory is; set the environment variable HOME"
        raise ConfigError(message) from error


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration file's content; empty when there is no file."""

    path: Path
    data: Mapping[str, Any] = field(default_factory=dict)

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


def load_config(path: Path | None = None) -> Config:
    """Read the configuration. Raises `ConfigError` for a file that cannot be read or parsed."""
    path = path or home_config_path()
    try:
        # A link that leads nowhere is a mistake, and not the same as no file.
        if not path.exists() and not path.is_symlink():
            return Config(path)
        if path.exists() and not path.is_file():
            raise ConfigError(f"Config path {path} exists but is not a file.")
        return Config(path, tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"Malformed TOML in {path}: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"Failed to read config file {path}: it is not UTF-8 (byte {error.start}); "
            "save it as UTF-8"
        ) from error
    except OSError as error:
        why = error.strerror
        if isinstance(error, FileNotFoundError):
            why = f"it is a link to {os.readlink(path)}, which does not exist"
        raise ConfigError(f"Failed to read config file {path}: {why}") from error
