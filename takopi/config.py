"""Reads ``~/.takopi/takopi.toml``: engine tables and where adapters are found. None is needed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from takopi.errors import ConfigError


def home_config_path() -> Path:
    """``~/.takopi/takopi.toml``."""
    return Path.home() / ".takopi" / "takopi.toml"


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
        if not isinstance(paths, list) or not all(isinstance(p, str) and p for p in paths):
            raise ConfigError(
                f"Invalid `adapters.paths` in {self.path}; expected a list of strings."
            )
        return [self.path.parent / Path(p).expanduser() for p in paths]


def load_config(path: Path | None = None) -> Config:
    """Read the configuration. Raises `ConfigError` for a file that cannot be read or parsed."""
    path = path or home_config_path()
    if not path.exists():
        return Config(path)
    if not path.is_file():
        raise ConfigError(f"Config path {path} exists but is not a file.")
    try:
        return Config(path, tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"Malformed TOML in {path}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Failed to read config file {path}: {error}") from error
