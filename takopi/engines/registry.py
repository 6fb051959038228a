"""Engines by id, whatever they are written in: adapters in YAML and plugins in Python.

For one id a user's adapter file wins, then a plugin (an entry point or a package of adapters; two of
them are duplicates, and neither counts), then the built-in adapter. What is shadowed is listed.

The default engine, where none is set: the first by id whose executable is found. Programs that come
with takopi itself are there for everybody and say nothing about what the user wants: such an engine is
the default only where no other is installed.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from takopi.adapters.catalog import Catalog, Entry, enabled_plugins, load_catalog
from takopi.config import Config, load_config
from takopi.engines.backend import EngineBackend, EngineConfig
from takopi.engines.base import Runner
from takopi.engines.redact import redactor
from takopi.errors import ConfigError, PluginError, SpecError, TakopiError
from takopi.ids import RESERVED_ENGINE_IDS, is_valid_id
from takopi.plugins import (
    ENGINE_GROUP,
    OWN_DISTRIBUTION,
    backend_validator,
    describe,
    entrypoint_distribution_name,
    list_entrypoints,
    load_entrypoint,
    own_scripts,
    unknown_id,
)

if TYPE_CHECKING:
    # Imported where they are used: listing ids must not wait for expressions and processes.
    from takopi.adapters.adapter import Adapter
    from takopi.adapters.options import EngineOptions
    from takopi.adapters.request import CommandLine

logger = logging.getLogger(__name__)

Origin: TypeAlias = Literal["config", "user", "plugin", "package", "built-in", "file"]
Status: TypeAlias = Literal["ok", "missing_cli", "bad_config", "load_error"]

_USERS = ("config", "user")
_VALIDATOR = backend_validator(EngineBackend, "an")


@dataclass(frozen=True, slots=True)
class EngineSource:
    """One definition of an engine, known without loading it.

    ``place`` is a file as messages show it, or an entry point's value; ``file`` is None for Python.
    """

    id: str
    origin: Origin
    place: str
    distribution: str | None = None
    file: Entry | None = None

    @property
    def shown(self) -> str:
        """Who defines it: a distribution's name, or ``user`` or ``config`` and the file."""
        if self.origin in _USERS:
            return f"{self.origin} {self.place}"
        return self.distribution or "unknown"


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """An engine, ready or not. ``issue`` says why it is not ``ok``.

    ``bad_config`` runs all the same, without its table; ``load_error`` has no runner.
    """

    engine: str
    runner: Runner | None
    status: Status
    issue: str | None
    source: EngineSource
    backend: EngineBackend | None = None
    executable: str | None = None


@dataclass(frozen=True, slots=True)
class Engines:
    """All engines by id, and the one for messages that name none."""

    entries: tuple[EngineEntry, ...]
    default: str
    warnings: tuple[str, ...] = ()

    def entry(self, engine: str) -> EngineEntry | None:
        """The entry of an id."""
        return next((entry for entry in self.entries if entry.engine == engine), None)


@dataclass(slots=True)
class Registry:
    """Which engines there are. Nothing is loaded, compiled or imported before it is asked for."""

    config: Config
    catalog: Catalog
    allowlist: Iterable[str] | None
    sources: dict[str, tuple[EngineSource, ...]] = field(default_factory=dict)  # what counts first

    @property
    def ids(self) -> list[str]:
        """All engine ids, sorted."""
        return sorted(self.sources)

    def source(self, engine: str) -> EngineSource:
        """The definition that counts. Raises `ConfigError` for a reserved or unknown id."""
        if engine.lower() in RESERVED_ENGINE_IDS:
            raise ConfigError(f"Engine id '{engine}' is reserved.")
        if engine not in self.sources:
            raise unknown_id("engine", engine, self.ids)
        return self.sources[engine][0]

    def load(self, source: EngineSource) -> EngineBackend:
        """The backend of a definition. Raises `PluginError`, or `SpecError` with diagnostics."""
        if source.file is None:
            return _python_backend(source.id, self.allowlist)
        return _adapter_backend(self.config, self.catalog, source.file)

    def backend(self, engine: str) -> EngineBackend:
        """The backend that counts for an id. Raises `ConfigError`."""
        source = self.source(engine)
        try:
            return self.load(source)
        except TakopiError as error:
            diagnostics = getattr(error, "diagnostics", ())
            message = f"Failed to load engine '{engine}': {error}"
            raise ConfigError(message, diagnostics) from error


def load_registry(
    config: Config, *, catalog: Catalog | None = None, allowlist: Iterable[str] | None = None
) -> Registry:
    """Find all engines. Raises `ConfigError` for a bad ``adapters.paths`` or ``plugins.enabled``.

    ``allowlist`` stands in for the configuration's ``plugins.enabled``.
    """
    allowed = set(allowlist) if allowlist is not None else enabled_plugins(config)
    catalog = catalog or load_catalog(config, allowlist=allowed)
    found: dict[str, list[EngineSource]] = {}
    for entries in catalog.entries.values():
        for entry in entries:
            # A word of takopi's own in a chat or on the command line stays one, whatever files say.
            if is_valid_id(entry.id) and entry.id not in RESERVED_ENGINE_IDS:
                owner = OWN_DISTRIBUTION if entry.origin == "built-in" else entry.distribution
                source = EngineSource(entry.id, entry.origin, entry.shown, owner, entry)
                found.setdefault(entry.id, []).append(source)
    for point in list_entrypoints(
        ENGINE_GROUP, allowlist=allowed, reserved_ids=RESERVED_ENGINE_IDS
    ):
        distribution = entrypoint_distribution_name(point)
        known = found.setdefault(point.name, [])
        users = sum(source.origin in _USERS for source in known)
        known.insert(users, EngineSource(point.name, "plugin", point.value, distribution))
    return Registry(config, catalog, allowed, {i: tuple(s) for i, s in sorted(found.items())})


# -- lookups by id ---------------------------------------------------------------------------------


def list_backend_ids(*, allowlist: Iterable[str] | None = None) -> list[str]:
    """All engine ids, sorted; no plugin is imported. Raises `ConfigError` for a bad configuration.

    Here and below, None means what the configuration enables.
    """
    return load_registry(load_config(), allowlist=allowlist).ids


def get_backend(engine_id: str, *, allowlist: Iterable[str] | None = None) -> EngineBackend:
    """The backend of an engine. Raises `ConfigError`."""
    return load_registry(load_config(), allowlist=allowlist).backend(engine_id)


def list_backends(*, allowlist: Iterable[str] | None = None) -> list[EngineBackend]:
    """All backends that load, by id. Raises `ConfigError` when there is none."""
    registry = load_registry(load_config(), allowlist=allowlist)
    found = []
    for engine in registry.ids:
        try:
            found.append(registry.backend(engine))
        except ConfigError:  # a plugin's is recorded, a file's is listed as broken
            continue
    if not found:
        raise ConfigError("No engine backends are available.")
    return found


def _python_backend(engine: str, allowlist: Iterable[str] | None) -> EngineBackend:
    loaded = load_entrypoint(ENGINE_GROUP, engine, allowlist=allowlist, validator=_VALIDATOR)
    assert isinstance(loaded, EngineBackend)  # as the validator saw
    return loaded


def _adapter_backend(config: Config, catalog: Catalog, entry: Entry) -> EngineBackend:
    verdict = catalog.verdict(entry)
    if verdict.errors:
        raise _broken(catalog, entry)

    def build(table: EngineConfig, config_path: Path) -> Runner:
        from takopi.engines.jsonl import AdapterRunner

        adapter = catalog.compiled(entry).adapter
        if adapter is None:  # the verdict was remembered, and the file has changed since
            raise _broken(catalog, entry)
        return AdapterRunner(adapter, _options(adapter, table, config_path))

    table = config.data.get(entry.id)
    command = table.get("command") if isinstance(table, Mapping) else None
    if not (isinstance(command, str) and command):
        command = verdict.command
    adapter = catalog.compiled(entry).adapter if command is None else None
    if adapter is not None:  # an expression says it
        with suppress(TakopiError):
            command = _command_line(adapter, _options(adapter, {}, config.path)).command
    return EngineBackend(entry.id, build, command, verdict.install)


def _broken(catalog: Catalog, entry: Entry) -> SpecError:
    problems = catalog.compiled(entry).diagnostics
    errors = [d for d in problems if d.severity == "error"]
    if not errors:
        return SpecError(f"{entry.shown} is broken", problems)
    span = errors[0].span
    place = f"{span.file}:{span.line}" if span is not None else entry.shown
    more = f"; for all {len(errors)}: `takopi adapters validate {entry.id}`"
    return SpecError(f"{place}: {errors[0].message}" + (more if errors[1:] else ""), problems)


def _options(adapter: Adapter, table: Mapping[str, Any], config_path: Path) -> EngineOptions:
    from takopi.adapters.options import resolve_options

    spec = adapter.spec
    return resolve_options(adapter.id, spec.options, adapter.options_read, table, str(config_path))


def _command_line(adapter: Adapter, options: EngineOptions) -> CommandLine:
    from takopi.adapters.request import RunRequest, build_command

    return build_command(adapter, RunRequest(prompt="hello"), options, os.environ)


# -- runners ---------------------------------------------------------------------------------------


def load_engines(
    config: Config,
    *,
    default_engine: str | None = None,
    allowlist: Iterable[str] | None = None,
    registry: Registry | None = None,
) -> Engines:
    """A runner for every engine that can have one, and the default engine, which must work.

    ``default_engine`` overrides the configuration's. An engine that cannot be used stays listed, with
    its issue. Raises `ConfigError`.
    """
    registry = registry or load_registry(config, allowlist=allowlist)
    wanted = _wanted_default(registry, default_engine)
    built = [_build(registry, engine) for engine in registry.ids]
    if not any(entry.runner for entry, _ in built) and wanted is None:
        raise ConfigError("No engine backends are available.")
    default = wanted or _first_installed(entry for entry, _ in built)
    for entry, error in built:
        if entry.engine == default and entry.status != "ok":
            raise _fatal(entry, error, "Default engine")
    entries = tuple(entry for entry, _ in built)
    return Engines(entries, default, tuple(_warnings(config, entries)))


def build_entries(registry: Registry) -> list[EngineEntry]:
    """Every engine in whatever state it is, by id. Raises nothing."""
    return [_build(registry, engine)[0] for engine in registry.ids]


def default_engine_id(registry: Registry, override: str | None = None) -> str:
    """The engine for messages that name none, working or not. Raises `ConfigError`."""
    wanted = _wanted_default(registry, override)
    if wanted is None and not registry.sources:
        raise ConfigError("No engine backends are available.")
    return wanted or _first_installed(build_entries(registry))


def engine_entry(
    config: Config,
    engine: str,
    *,
    catalog: Catalog | None = None,
    allowlist: Iterable[str] | None = None,
) -> EngineEntry:
    """One engine, built as it is configured; its executable may be missing.

    Raises `ConfigError`, with diagnostics where there are any, for everything else.
    """
    registry = load_registry(config, catalog=catalog, allowlist=allowlist)
    registry.source(engine)
    entry, error = _build(registry, engine)
    if error is not None:
        raise _fatal(entry, error, "engine")
    return entry


def engine_options(catalog: Catalog, config: Config, engine: str) -> EngineOptions:
    """The ``[engine]`` table checked against the adapter. Raises `ConfigError` or `SpecError`."""
    return _options(catalog.adapter(engine), config.engine_table(engine), config.path)


def _wanted_default(registry: Registry, override: str | None) -> str | None:
    """The default engine that is asked for, None if none is."""
    config = registry.config
    wanted = override if override is not None else config.data.get("default_engine")
    if wanted is None:
        return None
    if not isinstance(wanted, str) or not wanted.strip():
        raise ConfigError(
            f"Invalid `default_engine` in {config.path}; expected a non-empty string."
        )
    wanted = wanted.strip()
    if wanted not in registry.sources:
        raise unknown_id("default engine", wanted, registry.ids)
    return wanted


def _first_installed(entries: Iterable[EngineEntry]) -> str:
    """See the module's text. Where nothing is installed, the first that could be."""
    own = own_scripts()

    def rank(entry: EngineEntry) -> tuple[bool | str, ...]:
        ships = entry.executable is not None and Path(entry.executable).name in own
        missing = entry.executable is None
        return (missing, ships, entry.status != "ok", entry.runner is None, entry.engine)

    return min(entries, key=rank).engine


def _build(registry: Registry, engine: str) -> tuple[EngineEntry, BaseException | None]:
    """The entry of an engine, and what went wrong if its own table cannot be used."""
    config = registry.config
    source = registry.sources[engine][0]
    try:
        backend = registry.load(source)
    except TakopiError as error:
        return EngineEntry(engine, None, "load_error", describe(error), source), error
    problem: BaseException | None = None
    table: EngineConfig = {}
    try:
        table = config.engine_table(engine)
    except ConfigError as error:
        problem = error
    runner, failure = _call_builder(backend, table, config.path)
    if runner is None and table:
        runner, _ = _call_builder(backend, {}, config.path)
    problem = failure if runner is None else problem or failure
    issue = None if problem is None else _redacted(describe(problem), table)
    if runner is None:
        return EngineEntry(engine, None, "load_error", issue, source, backend), problem
    status: Status = "ok" if problem is None else "bad_config"
    command, executable = _find(backend, runner)
    if executable is None:
        missing = f"{command} not found on PATH"
        status, issue = "missing_cli", f"{issue}; {missing}" if issue else missing
    return EngineEntry(engine, runner, status, issue, source, backend, executable), problem


def _call_builder(
    backend: EngineBackend, table: EngineConfig, config_path: Path
) -> tuple[Runner | None, BaseException | None]:
    try:
        # A copy: what a plugin does to its table must not change the configuration.
        runner = backend.build_runner(copy.deepcopy(table), config_path)
        if not callable(getattr(runner, "run", None)):
            raise PluginError(f"build_runner gave {type(runner).__name__}, which cannot run")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # code of others: one engine's must not stop the rest
        logger.debug("engine.build.failed engine=%s", backend.id, exc_info=error)
        return None, error
    return runner, None


def _find(backend: EngineBackend, runner: Runner) -> tuple[str, str | None]:
    """The name of an engine's program, and the file if it was found."""
    from takopi.engines.executables import find_executable
    from takopi.engines.jsonl import AdapterRunner

    if isinstance(runner, AdapterRunner):
        with suppress(TakopiError):  # a run will say it
            line = _command_line(runner.adapter, runner.options)
            return line.command, find_executable(line.command, line.env)
    command = backend.cli_cmd or backend.id
    return command, find_executable(command, os.environ)


def _redacted(text: str, table: Mapping[str, Any]) -> str:
    env = table.get("env")
    return redactor(table, env if isinstance(env, Mapping) else {})(text)


def _fatal(entry: EngineEntry, error: BaseException | None, what: str) -> ConfigError:
    """What to raise where an engine must work and does not."""
    engine, diagnostics = entry.engine, getattr(error, "diagnostics", ())
    if isinstance(error, ConfigError):
        return error
    if entry.backend is None:
        fatal = ConfigError(f"Failed to load engine '{engine}': {entry.issue}", diagnostics)
    else:
        fatal = ConfigError(f"{what} '{engine}' unavailable: {entry.issue}", diagnostics)
    fatal.__cause__ = error
    return fatal


def _warnings(config: Config, entries: Iterable[EngineEntry]) -> Iterator[str]:
    """What somebody should know. That a built-in engine is not installed is nothing special."""
    for entry in entries:
        expected = entry.source.origin == "built-in" and entry.engine not in config.data
        if entry.status != "ok" and not (expected and entry.status == "missing_cli"):
            yield f"{entry.engine}: {entry.issue}"
