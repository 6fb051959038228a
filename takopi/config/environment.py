"""Settings from environment variables: ``TAKOPI__TRANSPORTS__TELEGRAM__BOT_TOKEN``."""

from __future__ import annotations

import json
import logging
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from takopi.config.text import is_deep
from takopi.errors import ConfigError

if TYPE_CHECKING:
    from takopi.config.positions import KeyPath

logger = logging.getLogger("takopi.config")

PREFIX = "TAKOPI__"
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,30}\s*\Z")


class Variable(NamedTuple):
    """One variable that sets something; ``keys`` are lower-case."""

    name: str
    keys: tuple[str, ...]
    text: str


def read_variables(environ: Mapping[str, str] | None = None) -> list[Variable]:
    """The variables that set something, those of outer tables first."""
    found = []
    for name, text in (os.environ if environ is None else environ).items():
        if not name.upper().startswith(PREFIX):
            continue
        keys = tuple(name[len(PREFIX) :].lower().split("__"))
        if all(keys):
            found.append(Variable(name, keys, text))
        else:
            logger.warning("the environment variable %s is passed over: a key is empty", name)
    return sorted(found, key=lambda v: (len(v.keys), v.keys, v.name))


def overlay(
    data: dict[str, Any], variables: Sequence[Variable], path: Path, *, override: bool
) -> dict[KeyPath, str]:
    """Put the variables into ``data``, which is changed; tells which keys they set.

    ``override``: they replace values, else they only fill in what is absent. Raises `ConfigError`.
    """
    layer = _Layer(path, override)
    for variable in variables:
        layer.add(data, variable)
    return layer.origins


@dataclass
class _Layer:
    path: Path
    override: bool
    origins: dict[KeyPath, str] = field(default_factory=dict)

    def add(self, data: dict[str, Any], variable: Variable) -> None:
        target: KeyPath = ()
        table = data
        for part in variable.keys[:-1]:
            key = _same_key(table, part)
            target = (*target, key)
            inner = table.setdefault(key, {})
            if not isinstance(inner, dict):
                raise ConfigError(
                    f"Invalid `{'.'.join(map(str, target))}` in {self.path}; expected a table, "
                    f"of which the environment variable {variable.name} sets a key"
                )
            table = inner
        self._put(table, (*target, variable.keys[-1]), _value(variable), variable.name)

    def _put(self, table: dict[str, Any], path: KeyPath, value: Any, name: str) -> None:
        key = _same_key(table, str(path[-1]))
        here: KeyPath = (*path[:-1], key)
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            for inner, item in value.items():
                self._put(table[key], (*here, inner), item, name)
        elif self.override or key not in table:
            table[key] = value
            self.origins[here] = name


def _same_key(table: Mapping[str, Any], part: str) -> str:
    """The key of the table that ``part`` means: the same one, else one that differs in case."""
    if part in table:
        return part
    return next((key for key in table if key.lower() == part.lower()), part)


def _value(variable: Variable) -> Any:
    """The variable's text as the schema's type; an engine's value as TOML, if it is that."""
    from takopi.config.settings import Settings, kind_at

    kind, text = kind_at(variable.keys), variable.text
    if kind == "table" or kind == "list":
        value = _json(text)
        if not isinstance(value, dict if kind == "table" else list):
            raise ConfigError(
                f"invalid value of the environment variable {variable.name}; "
                f"expected a {kind} as JSON"
            )
        return value
    if kind == "integer":
        return int(text) if _INTEGER.match(text) else text
    if kind == "text":
        return text
    if variable.keys[0] not in Settings.model_fields:
        try:
            table = tomllib.loads(f"value = {text}")
        except (ValueError, RecursionError):
            table = {}
        if table.keys() == {"value"} and not is_deep(table):
            return table["value"]
    # Tables of plugins and other chats: only what cannot be meant as a text is something else.
    value = _json(text) if text.lstrip()[:1] in ("[", "{") else None
    return text if value is None else value


def _json(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return None if is_deep(value) else value
