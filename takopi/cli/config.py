"""`takopi config …`: the configuration file's values by dotted key."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from takopi.config import (
    Config,
    ConfigError,
    config_path,
    display_path,
    load_config,
    unknown_tables,
)
from takopi.config.keys import (
    get_value,
    list_values,
    missing_keys,
    parse_key_path,
    set_value,
    unset_value,
)
from takopi.config.store import exists
from takopi.diagnostics import did_you_mean, render_text
from takopi.engines.registry import load_registry
from takopi.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, TakopiError


def path_command(path: Path | None) -> int:
    """Print where the file is, or would be."""
    print(display_path(config_path(path)))
    return EXIT_OK


def list_command(path: Path | None, *, show_secrets: bool) -> int:
    """Print every value; 1 without a file, 2 for one that cannot be read."""
    file = config_path(path)
    if not exists(file):
        return _fail(f"missing takopi config at {display_path(file)}", EXIT_FAILURE)

    def show() -> int:
        for key, value in list_values(file, show_secrets=show_secrets):
            print(f"{key} = {value}")
        return EXIT_OK

    return _try(show)


def get_command(key: str, path: Path | None, *, show_secrets: bool) -> int:
    """Print one value; 1 if it is absent, 2 for a table, a bad key or a bad file."""

    def show() -> int:
        value = get_value(config_path(path), key, show_secrets=show_secrets)
        if value is None:
            return EXIT_FAILURE
        print(value)
        return EXIT_OK

    return _try(show)


def set_command(key: str, value: str, path: Path | None) -> int:
    """Set one value, in a new file if there is none; 2 if it cannot be."""
    file = config_path(path)

    def change() -> int:
        stored = set_value(file, key, value, check_engine=_check_engine(file))
        print(f"updated {'.'.join(parse_key_path(key))} = {stored}")
        _warn(file)
        return EXIT_OK

    return _try(change)


def unset_command(key: str, path: Path | None) -> int:
    """Remove one value; 1 if it is absent, 2 if the rest would be invalid."""
    file = config_path(path)

    def change() -> int:
        removed = unset_value(file, key, check_engine=_check_engine(file))
        return EXIT_OK if removed else EXIT_FAILURE

    return _try(change)


def _check_engine(path: Path) -> Callable[[str, Mapping[str, Any]], list[str]]:
    def problems(engine: str, table: Mapping[str, Any]) -> list[str]:
        """What the engine itself says about its table; nothing for one that cannot be loaded."""
        try:
            registry = load_registry(Config(path))
            backend = registry.load(registry.sources[engine][0])
        except (KeyError, TakopiError):
            return []
        try:
            backend.build_runner(dict(table), path)
        except ConfigError as error:
            return [str(error)]
        return []

    return problems


def _warn(path: Path) -> None:
    """Say what is valid now but surely not meant."""
    config = load_config(path)
    try:
        _ = config.settings  # which is checked when it is first asked for
    except ConfigError as error:
        print(f"still missing: {', '.join(missing_keys(error))}", file=sys.stderr)
        return
    engines = load_registry(config).ids
    for warning in unknown_tables(config.settings, engines, config_path=path):
        print(render_text(warning), file=sys.stderr)
    wanted = config.settings.default_engine
    if wanted is not None and wanted not in engines:
        advice = did_you_mean(wanted, engines) or "see `takopi adapters list`"
        print(
            f"warning: `default_engine`: there is no engine `{wanted}`; {advice}", file=sys.stderr
        )


def _try(work: Callable[[], int]) -> int:
    try:
        return work()
    except ConfigError as error:
        shown = "\n".join([str(error), *("\n" + render_text(d) for d in error.diagnostics)])
        return _fail(shown, EXIT_USAGE)


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
