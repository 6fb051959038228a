"""Where the configuration file is. State and lock files lie beside it."""

from __future__ import annotations

import os
from pathlib import Path

from takopi.errors import ConfigError

CONFIG_VARIABLE = "TAKOPI_CONFIG"


def home_config_path() -> Path:
    """``~/.takopi/takopi.toml``. Raises `ConfigError` when there is no telling where home is."""
    try:
        return Path.home() / ".takopi" / "takopi.toml"
    except RuntimeError as error:
        message = "cannot tell where the home directory is; set the environment variable HOME"
        raise ConfigError(message) from error


def config_path(explicit: Path | str | None = None) -> Path:
    """The configuration file to use: ``explicit``, else ``TAKOPI_CONFIG``, else the home one.

    Absolute, with ``~`` expanded; links are not followed.
    """
    chosen = explicit if explicit is not None else os.environ.get(CONFIG_VARIABLE, "").strip()
    if not chosen:
        return home_config_path()
    return Path(os.path.abspath(os.path.expanduser(chosen)))


def display_path(path: Path) -> str:
    """The path as messages of the command line show it: ``~/…`` below the home directory."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)
