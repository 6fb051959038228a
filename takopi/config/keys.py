"""Single values of the configuration file by dotted key: list, get, set, unset."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from takopi.config.load import validate_settings_data
from takopi.config.location import display_path
from takopi.config.migrations import migrate, migrate_file
from takopi.config.positions import KeyPath
from takopi.config.report import dotted
from takopi.config.store import dump_toml, ensure_table, exists, read_config, write_config
from takopi.config.text import literal
from takopi.diagnostics import suggest
from takopi.errors import ConfigError

if TYPE_CHECKING:
    from takopi.config.settings import Settings

CheckEngine: TypeAlias = Callable[[str, Mapping[str, Any]], list[str]]
"""What is wrong with an engine's table, by its adapter."""

_SEGMENT = re.compile(r"[A-Za-z0-9_-]+\Z")
_ABSENT = object()


def parse_key_path(key: str) -> tuple[str, ...]:
    """``("projects", "app", "path")`` of ``projects.app.path``. Raises `ConfigError`."""
    if not key.strip():
        raise ConfigError("Invalid key path; expected a non-empty value.")
    segments = tuple(key.strip().split("."))
    for segment in segments:
        if not segment:
            raise ConfigError(f"Invalid key path '{key}'; empty segment.")
        if not _SEGMENT.match(segment):
            raise ConfigError(
                f"Invalid key segment '{segment}' in '{key}'; "
                "use only letters, numbers, '_' or '-'."
            )
    return segments


def parse_value(text: str) -> Any:
    """``text`` as a TOML value; what is none is a string."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text if text.strip() else ""
    return table["value"] if table.keys() == {"value"} else text


def leaves(data: Mapping[str, Any], *, show_secrets: bool = False) -> list[tuple[str, str]]:
    """Every value with its dotted key, keys sorted level by level; secrets are masked."""
    return [
        (dotted(path), literal(value, path, show_secrets=show_secrets))
        for path, value in _walk(data, ())
    ]


def _walk(table: Mapping[str, Any], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    for key in sorted(table):
        value, here = table[key], (*path, key)
        if isinstance(value, Mapping):
            yield from _walk(value, here)
        else:
            yield here, value


def list_values(path: Path, *, show_secrets: bool = False) -> list[tuple[str, str]]:
    """The file's `leaves`. Raises `ConfigError`."""
    return leaves(_read(path), show_secrets=show_secrets)


def get_value(path: Path, key: str, *, show_secrets: bool = False) -> str | None:
    """A value of the file as TOML, None if it is absent. Raises `ConfigError`, also for a table."""
    segments = parse_key_path(key)
    value = _find(_read(path), segments, path)
    if value is _ABSENT:
        return None
    if isinstance(value, Mapping):
        raise ConfigError(f"'{key}' is a table; pick a leaf node.")
    return literal(value, segments, show_secrets=show_secrets)


def set_value(
    path: Path,
    key: str,
    text: str,
    *,
    check_engine: CheckEngine | None = None,
    show_secrets: bool = False,
) -> str:
    """Set a value of the file, or of a new one; what was stored, as TOML.

    The result may lack what a chat needs besides: its keys can be set one by one. Raises
    `ConfigError` for anything else that is wrong with it, and then leaves the file as it was.
    """
    segments = parse_key_path(key)
    data = _read_migrated(path) if exists(path) else {}
    value = parse_value(text)
    _table_of(data, segments, path)[segments[-1]] = value
    try:
        settings = _validated(data, segments, path, check_engine)
    except ConfigError as error:
        if not missing_keys(error):
            raise
    else:
        value = _normalised(value, _find_in(settings.model_dump(exclude_unset=True), segments))
        _table_of(data, segments, path)[segments[-1]] = value
    _write(data, path)
    return literal(value, segments, show_secrets=show_secrets)


def missing_keys(error: ConfigError) -> list[str]:
    """The keys of a chat whose absence is all that is wrong; none if something else is."""
    keys = [(problem.code, problem.path or "") for problem in error.diagnostics]
    if all(code == "missing-key" and key.startswith("transports.") for code, key in keys):
        return [key for _, key in keys]
    return []


def unset_value(path: Path, key: str, *, check_engine: CheckEngine | None = None) -> bool:
    """Remove a value, or a table, and the tables that it leaves empty; False if it is absent.

    Raises `ConfigError`; an error leaves the file as it was.
    """
    segments = parse_key_path(key)
    data = _read_migrated(path)
    if _find(data, segments, path) is _ABSENT:
        return False
    for length in range(len(segments), 0, -1):
        table = _table_of(data, segments[:length], path)
        if length == len(segments) or not table[segments[length - 1]]:
            del table[segments[length - 1]]
    _validated(data, segments, path, check_engine)
    _write(data, path)
    return True


def _read(path: Path) -> dict[str, Any]:
    if not exists(path):
        raise ConfigError(f"missing takopi config at {display_path(path)}")
    return read_config(path)


def _read_migrated(path: Path) -> dict[str, Any]:
    data = _read(path)
    migrate(data, path)
    return data


def _write(data: dict[str, Any], path: Path) -> None:
    dump_toml(data)  # raises before the file is touched
    if exists(path):
        migrate_file(_read(path), path)  # a step of its own: it takes the comments along
    write_config(data, path)


def _validated(
    data: Mapping[str, Any],
    segments: tuple[str, ...],
    path: Path,
    check_engine: CheckEngine | None,
) -> Settings:
    from takopi.config.settings import Settings

    settings = validate_settings_data(data, config_path=path)
    engine = segments[0]
    if engine in Settings.model_fields or engine not in data:
        return settings
    if not isinstance(data[engine], Mapping):
        meant = suggest(engine, Settings.model_fields)
        advice = f"; did you mean `{meant}`?" if meant else ""
        raise ConfigError(f"Invalid `{engine}` config in {path}; expected a table{advice or '.'}")
    wrong = check_engine(engine, data[engine]) if check_engine is not None else []
    if wrong:
        raise ConfigError("\n".join(wrong))
    return settings


def _normalised(value: Any, checked: Any) -> Any:
    """``value`` as the schema understood it, without what the environment or a default added."""
    if checked is _ABSENT:
        return value
    if isinstance(value, dict) and isinstance(checked, Mapping):
        return {key: _normalised(item, checked.get(key, _ABSENT)) for key, item in value.items()}
    return copy.deepcopy(checked)


def _find_in(data: Any, segments: tuple[str, ...]) -> Any:
    for segment in segments:
        if not isinstance(data, Mapping) or segment not in data:
            return _ABSENT
        data = data[segment]
    return data


def _find(data: Mapping[str, Any], segments: tuple[str, ...], path: Path) -> Any:
    """The value at a key path. Raises `ConfigError` where the path leads through a value."""
    found: Any = data
    for index, segment in enumerate(segments):
        if not isinstance(found, Mapping):
            prefix = ".".join(segments[:index])
            raise ConfigError(f"Invalid `{prefix}` in {path}; expected a table.")
        if segment not in found:
            return _ABSENT
        found = found[segment]
    return found


def _table_of(data: dict[str, Any], segments: tuple[str, ...], path: Path) -> dict[str, Any]:
    """The table that holds the last segment, made as needed."""
    table: Any = data
    for index, segment in enumerate(segments[:-1], 1):
        table = ensure_table(table, segment, config_path=path, label=".".join(segments[:index]))
    found: dict[str, Any] = table
    return found
