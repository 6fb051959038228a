"""takopi.toml: where it is, what may stand in it, how it is read and changed.

Names are imported when they are asked for: the command line's help must feel instant, and most
commands need neither the schema nor what writes the file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from takopi.config.load import Config as Config
from takopi.config.load import load_config as load_config
from takopi.config.load import load_settings as load_settings
from takopi.config.load import load_settings_if_exists as load_settings_if_exists
from takopi.config.load import require_telegram as require_telegram
from takopi.config.load import validate_settings_data as validate_settings_data
from takopi.config.location import CONFIG_VARIABLE as CONFIG_VARIABLE
from takopi.config.location import config_path as config_path
from takopi.config.location import display_path as display_path
from takopi.config.location import home_config_path as home_config_path
from takopi.config.store import dump_toml as dump_toml
from takopi.config.store import ensure_table as ensure_table
from takopi.config.store import load_or_init_config as load_or_init_config
from takopi.config.store import open_document as open_document
from takopi.config.store import read_config as read_config
from takopi.config.store import write_config as write_config
from takopi.errors import ConfigError as ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from takopi.config.checks import unknown_tables as unknown_tables
    from takopi.config.checks import unreachable_aliases as unreachable_aliases
    from takopi.config.projects import ProjectConfig as ProjectConfig
    from takopi.config.projects import ProjectsConfig as ProjectsConfig
    from takopi.config.settings import Settings as Settings
    from takopi.config.settings import TelegramSettings as TelegramSettings

    HOME_CONFIG_PATH: Path

_LATER = {
    "ProjectConfig": "projects",
    "ProjectsConfig": "projects",
    "Settings": "settings",
    "TelegramSettings": "settings",
    "unknown_tables": "checks",
    "unreachable_aliases": "checks",
}


def __getattr__(name: str) -> Any:
    if name == "HOME_CONFIG_PATH":
        return home_config_path()
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
