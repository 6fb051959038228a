"""`takopi plugins`: what is installed, what of it is enabled, and whether it works."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TypeAlias

from takopi.adapters.catalog import enabled_plugins
from takopi.bridge.commands import get_command
from takopi.bridge.transport import get_transport
from takopi.config import load_config
from takopi.engines.registry import Registry, load_registry
from takopi.errors import EXIT_FAILURE, EXIT_OK, ConfigError, TakopiError
from takopi.ids import RESERVED_COMMAND_IDS
from takopi.logs import show_warnings
from takopi.plugins import (
    ADAPTERS_GROUP,
    COMMAND_GROUP,
    ENGINE_GROUP,
    KINDS,
    TRANSPORT_GROUP,
    entrypoint_distribution_name,
    get_load_errors,
    list_disabled,
    list_entrypoints,
)

_Row: TypeAlias = tuple[str, str | None, bool]
"""Id, where it comes from, whether it is enabled."""
_RESERVED = {TRANSPORT_GROUP: frozenset[str](), COMMAND_GROUP: RESERVED_COMMAND_IDS}


def plugins_command(load: bool, strict: bool) -> int:
    """List every engine, transport and command; with ``strict``, 1 if one has an error.

    ``load`` imports those that are enabled to find out.
    """
    show_warnings()
    config = load_config()
    allowlist = enabled_plugins(config)
    registry = load_registry(config)
    _print_section("engine", _engine_rows(registry, allowlist), allowlist, registry)
    for group in (TRANSPORT_GROUP, COMMAND_GROUP):
        points = list_entrypoints(group, allowlist=allowlist, reserved_ids=_RESERVED[group])
        rows = [(p.name, entrypoint_distribution_name(p), True) for p in points]
        _print_section(KINDS[group], [*rows, *_hidden(group, allowlist)], allowlist)
    errors = [*_broken_files(registry), *load_errors(registry)] if load else _recorded()
    if errors:
        print("errors:")
        for error in errors:
            print(f"  {error}")
    return EXIT_FAILURE if strict and errors else EXIT_OK


def _engine_rows(registry: Registry, allowlist: set[str] | None) -> list[_Row]:
    rows = [(engine, registry.sources[engine][0].shown, True) for engine in registry.ids]
    return [*rows, *_hidden(ENGINE_GROUP, allowlist), *_hidden(ADAPTERS_GROUP, allowlist)]


def _hidden(group: str, allowlist: set[str] | None) -> list[_Row]:
    return [(name, where, False) for name, where in list_disabled(group, allowlist=allowlist)]


def _print_section(
    kind: str, rows: Iterable[_Row], allowlist: set[str] | None, registry: Registry | None = None
) -> None:
    print(f"{kind} backends:")
    rows = sorted(rows, key=lambda row: (row[0], not row[2], row[1] or ""))
    for name, where, enabled in rows:
        mark = "" if allowlist is None else " enabled" if enabled else " disabled"
        print(f"  {name} ({where or 'unknown'}){mark}")
        if registry is not None and enabled:
            for shadowed in registry.sources[name][1:]:
                print(f"    shadows {shadowed.shown}")
    if not rows:
        print("  (none)")


def load_errors(registry: Registry) -> list[str]:
    """Load every plugin that is enabled; a line for each one that cannot be used."""
    for engine in registry.ids:
        for source in registry.sources[engine]:
            if source.file is None:
                with suppress(TakopiError):  # recorded, as are those below
                    registry.load(source)
    allowlist = registry.allowlist
    for get, group in ((get_transport, TRANSPORT_GROUP), (get_command, COMMAND_GROUP)):
        for point in list_entrypoints(group, allowlist=allowlist, reserved_ids=_RESERVED[group]):
            with suppress(ConfigError):
                get(point.name, allowlist=allowlist)
    return _recorded()


def _broken_files(registry: Registry) -> list[str]:
    broken = []
    for engine in registry.ids:
        for source in registry.sources[engine]:
            try:
                if source.file is not None:
                    registry.load(source)
            except TakopiError as error:
                broken.append(f"engine {engine} ({source.shown}): {error}")
    return broken


def _recorded() -> list[str]:
    order = list(KINDS.values())
    errors = sorted(
        get_load_errors(),
        key=lambda e: (order.index(KINDS[e.group]), e.distribution or "", e.name),
    )
    return [f"{KINDS[e.group]} {e.name} ({e.distribution or 'unknown'}): {e.error}" for e in errors]
