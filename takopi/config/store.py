"""The configuration file itself: read whole, written atomically, comments and layout kept."""

from __future__ import annotations

import logging
import os
import stat
import tomllib
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from takopi.config.location import config_path as resolve_path
from takopi.config.text import document, is_deep, same
from takopi.errors import ConfigError

if TYPE_CHECKING:
    # Imported where a file is changed: reading one must not wait for it.
    from tomlkit import TOMLDocument

logger = logging.getLogger("takopi.config")


def read_config(path: Path) -> dict[str, Any]:
    """The file's tables as plain dicts. Raises `ConfigError`; a missing file is an error, too."""
    return parse(_read_text(path), path)


def load_or_init_config(path: Path | str | None = None) -> tuple[dict[str, Any], Path]:
    """The file's tables, ``{}`` when there is no file, and its path. Raises `ConfigError`."""
    found = resolve_path(path)
    return (read_config(found) if exists(found) else {}), found


def exists(path: Path) -> bool:
    """Whether there is something to read. A link that leads nowhere counts: it is a mistake."""
    try:
        return path.exists() or path.is_symlink()
    except OSError as error:  # a folder that may not be entered
        raise ConfigError(f"Failed to read config file {path}: {error.strerror}") from error


def open_document(path: Path) -> TOMLDocument:
    """The file for changing it with its comments; `write_config` takes it. Raises `ConfigError`."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    text = _read_text(path)
    parse(text, path)  # whose errors say where
    try:
        return tomlkit.parse(text)
    except (TOMLKitError, RecursionError) as error:
        raise ConfigError(f"Malformed TOML in {path}: {error}") from error


def parse(text: str, path: Path) -> dict[str, Any]:
    """The tables of a file's text. Raises `ConfigError` with the line that is wrong."""
    try:
        data = tomllib.loads(text)
        if is_deep(data):
            raise RecursionError
    except ValueError as error:  # besides its own: a number too long for an int
        from takopi.config.report import malformed

        raise malformed(path, text, error) from error
    except RecursionError as error:
        raise ConfigError(f"Malformed TOML in {path}: nested too deeply") from error
    return data


def _read_text(path: Path) -> str:
    try:
        if not exists(path):
            raise ConfigError(f"Missing config file {path}.")
        if path.exists() and not path.is_file():
            raise ConfigError(f"Config path {path} exists but is not a file.")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"Failed to read config file {path}: it is not UTF-8 (byte {error.start}); "
            "save it as UTF-8"
        ) from error
    except OSError as error:
        why = error.strerror
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            why = f"it is a link to {os.readlink(path)}, which does not exist"
        raise ConfigError(f"Failed to read config file {path}: {why}") from error


def ensure_table(
    data: MutableMapping[str, Any], key: str, *, config_path: Path, label: str | None = None
) -> MutableMapping[str, Any]:
    """The table ``data[key]``, made if absent. Raises `ConfigError` for a value that is no table."""
    table = data.get(key)
    if table is None:
        data[key] = {}
        table = data[key]
    if not isinstance(table, MutableMapping):
        raise ConfigError(f"Invalid `{label or key}` in {config_path}; expected a table.")
    return cast("MutableMapping[str, Any]", table)


def dump_toml(data: Mapping[str, Any]) -> str:
    """The text of a new file. Raises `ConfigError` for what TOML cannot hold."""
    plain = data.unwrap() if hasattr(data, "unwrap") else data
    try:
        if is_deep(plain):
            raise RecursionError
        text = document(plain)
        if not same(tomllib.loads(text), plain):
            raise TypeError("it does not come back as it was")
    except (TypeError, ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ConfigError(f"Unsupported config value: {reason}") from error
    return text


def write_config(data: Mapping[str, Any], path: Path) -> None:
    """Make the file hold ``data``. What stays the same keeps its comments and its layout.

    Replaces the file in one step, with mode 0600; a link stays, its target is written. ``data`` may
    be a document from `open_document`. A file that is no TOML is kept as ``.bak``. Raises
    `ConfigError`.
    """
    plain: Mapping[str, Any] = data.unwrap() if hasattr(data, "unwrap") else data
    fresh = dump_toml(plain)
    if hasattr(data, "as_string"):
        text = cast("TOMLDocument", data).as_string()
        if not _holds(text, plain):
            raise ConfigError(f"Failed to write config file {path}: the document is not TOML")
    else:
        text = _updated(path, plain) or fresh
    _replace(path, text, keep_old=_is_broken(path))


def _is_broken(path: Path) -> bool:
    """Whether there is a file that cannot be read: its content is not among what is written."""
    try:
        parse(path.read_bytes().decode("utf-8-sig"), path)
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError, ConfigError):
        return True
    return False


def _updated(path: Path, wanted: Mapping[str, Any]) -> str | None:
    """The present file's text changed to hold ``wanted``; None when there is none to keep."""
    import tomlkit

    try:
        text = _read_text(path)
        old = parse(text, path)
    except ConfigError:
        return None
    changed = [key for key in {**old, **wanted} if not same(old.get(key), wanted.get(key))]
    for change in (_merge, _exchange):
        # Its documents have corners that it does not get right: so what it wrote is read again.
        with suppress(Exception):
            made = tomlkit.parse(text)
            change(made, old, wanted)
            result = made.as_string().rstrip() + "\n"
            if _holds(result, wanted):
                return result
    logger.warning("%s: comments are lost, `%s` cannot be changed in place", path, changed)
    return None


def _merge(
    table: MutableMapping[str, Any], old: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    """Change only the values that differ."""
    for key in old:
        if key not in wanted:
            del table[key]
    for key, value in wanted.items():
        before = old.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            _merge(table[key], before, value)
        elif key not in old or not same(before, value):
            table[key] = value


def _exchange(made: TOMLDocument, old: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Write those of the top's values that differ anew, as wholes."""
    for key in {**old, **wanted}:
        if same(old.get(key), wanted.get(key)):
            continue
        if key in old:
            del made[key]
        if key in wanted:
            made[key] = wanted[key]


def _holds(text: str, wanted: Mapping[str, Any]) -> bool:
    try:
        return same(tomllib.loads(text), wanted)
    except (ValueError, RecursionError):
        return False


def _replace(path: Path, text: str, *, keep_old: bool) -> None:
    """Put ``text`` into the file a path leads to, at once and so that it outlives a power cut."""
    import tempfile

    temporary: str | None = None
    try:
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(path.stat().st_mode):
                raise ConfigError(f"Config path {path} exists but is not a file.")
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        # Nobody else may read it from the beginning: mkstemp makes files of mode 0600.
        handle, temporary = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".tmp", dir=target.parent
        )
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        if keep_old:
            os.replace(target, f"{target}.bak")
            logger.warning("%s could not be read; it is now %s.bak", path, target)
        os.replace(temporary, target)
        temporary = None
        _sync_folder(target.parent)
    except OSError as error:
        raise ConfigError(f"Failed to write config file {path}: {error.strerror}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some file systems cannot; the file is complete all the same.
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
