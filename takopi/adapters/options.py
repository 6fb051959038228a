"""Options: what ``[<engine>]`` in takopi.toml may hold, checked and filled with defaults."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from takopi.adapters.model import OptionSpec
from takopi.config.environment import PREFIX
from takopi.diagnostics import did_you_mean
from takopi.errors import ConfigError

logger = logging.getLogger(__name__)

# Every engine accepts these beside its own.
COMMON_OPTIONS: dict[str, OptionSpec] = {
    "command": OptionSpec(type="string", description="executable to use instead of the adapter's"),
    "env": OptionSpec(type="table", description="extra environment variables"),
    "extra_args": OptionSpec(type="list", items="string", description="extra arguments"),
    "timeout": OptionSpec(type="number", description="seconds a whole run may take"),
}

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "list": (list,),
    "table": (dict,),
}
_NAMES = {
    "string": "a string",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "list": "a list",
    "table": "a table",
}


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """One engine's options, ready for expressions, and the settings the runner itself reads."""

    values: dict[str, Any] = field(default_factory=dict)
    command: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    timeout_s: float | None = None


def check_value(spec: OptionSpec, value: Any) -> str | None:
    """What was expected instead of ``value``, or None if it is good."""
    if not _is(spec.type, value):
        return _expected(spec)
    if spec.type == "list":
        item_type = spec.items or "string"
        if not all(_is(item_type, item) for item in value):
            return _expected(spec)
    members = value if spec.type == "list" else [value]
    if spec.choices is not None and any(m not in spec.choices for m in members):
        return "one of " + ", ".join(f"`{c}`" for c in spec.choices)
    refused = [m for m in members if _forbidden(spec, m)]
    if refused:
        return f"something other than `{refused[0]}`, which the adapter sets itself"
    return None


def item_spec(spec: OptionSpec) -> OptionSpec:
    """What one value of ``choices`` must be: an item of a list, else the option's type."""
    return OptionSpec(type=spec.items or "string" if spec.type == "list" else spec.type)


def _is(type_name: str, value: Any) -> bool:
    if isinstance(value, bool) and type_name != "boolean":
        return False
    return isinstance(value, _TYPES[type_name])


def _expected(spec: OptionSpec) -> str:
    if spec.type != "list":
        return _NAMES[spec.type]
    return {
        "string": "a list of strings",
        "boolean": "a list of true or false",
        "integer": "a list of integers",
        "number": "a list of numbers",
    }[spec.items or "string"]


def _forbidden(spec: OptionSpec, value: Any) -> bool:
    if not isinstance(value, str):
        return False
    return any(
        value.startswith(f[:-1]) if f.endswith("*") else value == f for f in spec.forbid or ()
    )


def resolve_options(
    engine: str,
    declared: Mapping[str, OptionSpec],
    read: frozenset[str],
    table: Mapping[str, Any],
    where: str,
) -> EngineOptions:
    """Check the ``[engine]`` table of the file ``where`` and fill in defaults.

    ``read`` are the options the adapter's expressions read. Raises `ConfigError`; keys that nobody
    declared are warned about and passed over.
    """
    # What a child declares is read by it; what it only inherits may have lost its reader.
    ours = {name: declared[name] for name in declared if name in read or name in COMMON_OPTIONS}
    known = {**COMMON_OPTIONS, **ours}
    values = {name: spec.default for name, spec in known.items() if spec.default is not None}
    for key, value in table.items():
        spec = known.get(key)
        if spec is None:
            advice = did_you_mean(key, known)
            logger.warning(
                "%s: [%s] has no option `%s`%s",
                where,
                engine,
                key,
                f" ({advice})" if advice else "",
            )
            continue
        expected = check_value(spec, value)
        if expected is not None:
            raise ConfigError(f"Invalid `{engine}.{key}` in {where}; expected {expected}.")
        if key == "extra_args" and value and key not in read:
            raise ConfigError(
                f"Invalid `{engine}.extra_args` in {where}; this engine takes no extra arguments."
            )
        if key == "command" and "\0" in value:
            raise ConfigError(f"Invalid `{engine}.command` in {where}; expected a program's name.")
        values[key] = value
    timeout = values.get("timeout")
    if timeout is not None and not timeout > 0:  # nan is not
        raise ConfigError(f"Invalid `{engine}.timeout` in {where}; expected a number above 0.")
    return EngineOptions(
        values=values,
        command=values.get("command") or None,
        env=_environment(engine, values.get("env") or {}, where),
        timeout_s=float(timeout) if timeout is not None else None,
    )


def _environment(engine: str, table: Mapping[str, Any], where: str) -> dict[str, str]:
    for name, value in table.items():
        if not name or "=" in name or "\0" in name:
            raise ConfigError(
                f"Invalid `{engine}.env` in {where}; expected names without `=`, not {name!r}."
            )
        if not isinstance(value, str):
            raise ConfigError(f"Invalid `{engine}.env.{name}` in {where}; expected a string.")
        if name.upper().startswith(PREFIX):
            raise ConfigError(
                f"Invalid `{engine}.env.{name}` in {where}; takopi's own settings reach no engine."
            )
        if "\0" in value:
            raise ConfigError(
                f"Invalid `{engine}.env.{name}` in {where}; expected a string without NUL."
            )
    return dict(table)
