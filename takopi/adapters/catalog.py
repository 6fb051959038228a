"""Which adapters there are: sources, precedence, shadowing, and loading on demand.

1. ``adapters.paths`` of takopi.toml (files or folders), in their order
2. ``~/.takopi/adapters/``
3. installed packages of adapters (entry points ``takopi.adapters``), unless ``plugins.enabled``
   leaves them out
4. built in

A higher source wins for an id, visibly. A broken file disables only its own engine. Adapters are
never loaded from a project's folder: a cloned repository must not define what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from takopi.adapters.cache import Parent, Verdict, VerdictCache, user_cache
from takopi.bundled import bundled
from takopi.config import Config
from takopi.diagnostics import Diagnostic, Span, did_you_mean, in_file_order
from takopi.errors import ConfigError, SpecError, TakopiError
from takopi.ids import RESERVED_ENGINE_IDS
from takopi.plugins import list_adapter_files, normalize_allowlist

if TYPE_CHECKING:
    # Imported where they are used: a list of engines whose files are known must not wait for YAML,
    # schema and expressions.
    from takopi.adapters.adapter import Adapter
    from takopi.adapters.compile import Compiled
    from takopi.adapters.source import Source

Origin = Literal["config", "user", "package", "built-in", "file"]
_RANK: dict[Origin, int] = {"config": 0, "user": 1, "package": 2, "built-in": 3, "file": 0}
_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Entry:
    """One adapter file. ``id`` is its stem: the file need not be read to know it.

    ``distribution`` is what installed it, for a package of adapters.
    """

    id: str
    path: Path
    origin: Origin
    distribution: str | None = None

    @property
    def shown(self) -> str:
        """The path as messages show it: short where a person would write it short."""
        return display_path(self.path)


@dataclass(slots=True)
class Catalog:
    """All adapter files found. Each is read and compiled when it is first asked for."""

    entries: dict[str, list[Entry]] = field(
        default_factory=dict
    )  # by id, the one that counts first
    problems: list[Diagnostic] = field(default_factory=list)
    cache: VerdictCache = field(default_factory=lambda: VerdictCache(None))
    _compiled: dict[Path, Compiled] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """All engine ids, sorted."""
        return sorted(self.entries)

    def entry(self, engine: str) -> Entry:
        """The file that counts for an id. Raises `TakopiError` for an unknown one."""
        found = self.entries.get(engine)
        if not found:
            advice = did_you_mean(engine, self.ids)
            raise TakopiError(
                f"unknown engine `{engine}`"
                + (f"; {advice}" if advice else "; see `takopi adapters list`")
            )
        return found[0]

    def compiled(self, entry: Entry) -> Compiled:
        """The compiled file and its problems, those it has with other adapters left out."""
        if entry.path not in self._compiled:
            self._compiled[entry.path] = self._compile(entry)
        return self._compiled[entry.path]

    def adapter(self, engine: str) -> Adapter:
        """The adapter of an engine. Raises `SpecError` with its diagnostics when it is broken."""
        entry = self.entry(engine)
        compiled = self.compiled(entry)
        if compiled.adapter is None:
            raise SpecError(f"engine `{engine}` is broken: {entry.shown}", compiled.diagnostics)
        return compiled.adapter

    def verdict(self, entry: Entry) -> Verdict:
        """What a listing shows of a file; compiled only if it was not before, as it is now."""
        parent = self._parent_paths(entry)
        try:
            text = _read(entry.path)
            known = self.cache.load(entry.path, text, lambda engine: _text(parent(engine)))
        except SpecError:  # said by the diagnostics
            return Verdict(errors=1)
        if known is not None:
            return known
        used: list[Parent] = []
        compiled = self._compiled[entry.path] = self._compile(entry, used)
        verdict = _verdict(compiled)
        self.cache.save(entry.path, text, used, verdict)
        return verdict

    def validate(self, entry: Entry) -> list[Diagnostic]:
        """Every problem of a file, those with the other adapters in use included."""
        from takopi.adapters.checks import resume_overlap
        from takopi.adapters.source import Source, parse

        compiled = self.compiled(entry)
        found = list(compiled.diagnostics)
        if compiled.adapter is not None:
            others = [self.compiled(e).adapter for e in self._higher(entry)]
            root, _ = parse(Source(entry.shown, _read(entry.path)))
            node = root.get("resume") if root is not None else None
            found += resume_overlap(compiled.adapter, node, [a for a in others if a is not None])
        found += [d for d in self.problems if d.span is not None and d.span.file == entry.shown]
        return in_file_order(found)

    def _higher(self, entry: Entry) -> Iterable[Entry]:
        """The adapters in use that stand above ``entry`` (of its own source: those before it)."""
        for other in (self.entries[engine][0] for engine in self.ids):
            if other.id == entry.id:
                continue
            above = (_RANK[other.origin], other.id) < (_RANK[entry.origin], entry.id)
            if above:
                yield other

    def _compile(self, entry: Entry, used: list[Parent] | None = None) -> Compiled:
        """Compile a file; ``used`` is told the texts that ``extends`` meant."""
        from takopi.adapters.compile import Compiled, compile_adapter
        from takopi.adapters.source import Source

        parent_path = self._parent_paths(entry)

        def parent(engine: str) -> Source | None:
            path = parent_path(engine)
            text = _text(path)
            if used is not None:
                used.append((engine, text))
            return Source(display_path(path), text) if path and text is not None else None

        try:
            text = _read(entry.path)
        except SpecError as error:
            return Compiled(None, error.diagnostics)
        return compile_adapter(Source(entry.shown, text), stem=entry.path.stem, parents=parent)

    def _parent_paths(self, entry: Entry) -> Callable[[str], Path | None]:
        """What ``extends`` means in ``entry``: its own id, or one met before, is the file shadowed."""
        used = {entry.path}

        def parent(engine: str) -> Path | None:
            found = self.entries.get(engine, [])
            if not found:
                return None
            path = next((e.path for e in found if e.path not in used), found[-1].path)
            used.add(path)
            return path

        return parent


def _verdict(compiled: Compiled) -> Verdict:
    adapter = compiled.adapter
    if adapter is None:
        return Verdict(errors=sum(d.severity == "error" for d in compiled.diagnostics))
    spec, command = adapter.spec, adapter.command
    return Verdict(
        errors=0,
        name=adapter.name,
        command=spec.command if command.constant else None,
        install=spec.install,
        tested=spec.tested,
        version_args=tuple(spec.version_args),
    )


def _text(path: Path | None) -> str | None:
    return _read(path) if path is not None else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        message = f"the file is not UTF-8: {error.reason} at byte {error.start}"
        raise SpecError(message, [_file_problem(path, message)]) from error
    except OSError as error:
        message = f"cannot read the file: {error.strerror}"
        raise SpecError(message, [_file_problem(path, message)]) from error


def _file_problem(path: Path, message: str) -> Diagnostic:
    return Diagnostic("syntax", message, None, display_path(path))


def display_path(path: Path) -> str:
    """Relative to the working directory, or with ``~`` for the home directory, where possible."""
    for base, prefix in ((Path.cwd, ""), (Path.home, "~/")):
        # A working directory that is gone must not cost the message either.
        with suppress(ValueError, OSError, RuntimeError):
            return prefix + str(path.relative_to(base()))
    return str(path)


def user_folder(config: Config) -> Path:
    """Where a user drops adapters: ``adapters/`` beside the configuration file."""
    return config.path.parent / "adapters"


def enabled_plugins(config: Config) -> set[str] | None:
    """``plugins.enabled`` as names that compare, None for all. Raises `ConfigError` for a bad one."""
    table = config.data.get("plugins", {})
    names = table.get("enabled", []) if isinstance(table, Mapping) else None
    if not isinstance(names, list) or not all(isinstance(n, str) and n.strip() for n in names):
        raise ConfigError(
            f"Invalid `plugins.enabled` in {config.path}; expected a list of names of packages."
        )
    return normalize_allowlist(names)


def load_catalog(config: Config, *, allowlist: Iterable[str] | None = None) -> Catalog:
    """Find all adapter files. ``allowlist`` stands in for the configuration's ``plugins.enabled``.

    Raises `ConfigError` for a bad ``adapters.paths`` or ``plugins.enabled``.
    """
    enabled = enabled_plugins(config) if allowlist is None else normalize_allowlist(allowlist)
    catalog = Catalog(cache=user_cache())
    for path in config.adapter_paths():
        found = _files(catalog, path)
        if found is None:
            message = f"`adapters.paths` in {config.path} names {path}, which does not exist"
            catalog.problems.append(Diagnostic("schema", message, severity="warning"))
        _add(catalog, found or [], "config")
    _add(catalog, _files(catalog, user_folder(config)) or [], "user")
    for file in list_adapter_files(allowlist=enabled, reserved_ids=RESERVED_ENGINE_IDS):
        _add(catalog, [file.path], "package", file.distribution)
    _add(catalog, _files(catalog, bundled("adapters")) or [], "built-in")
    return catalog


def _files(catalog: Catalog, path: Path) -> list[Path] | None:
    """The file itself, or the adapters of a folder; None if there is nothing."""
    try:
        if path.is_file():
            return [path]
        if path.is_dir():
            names = (p for p in path.iterdir() if not p.name.startswith("."))  # editors' files
            return sorted(p for p in names if p.suffix in _SUFFIXES and p.is_file())
    except OSError as error:  # no permission: the others must work all the same
        message = f"cannot look for adapters in {display_path(path)}: {error.strerror}"
        catalog.problems.append(Diagnostic("schema", message, severity="warning"))
        return []
    return None


def _add(
    catalog: Catalog, paths: Iterable[Path], origin: Origin, distribution: str | None = None
) -> None:
    for path in paths:
        entry = Entry(path.stem, path, origin, distribution)
        known = catalog.entries.setdefault(entry.id, [])
        if any(e.path == path for e in known):
            continue
        twin = next((e for e in known if e.origin == origin and e.path.parent == path.parent), None)
        if twin is not None:
            message = f"`{twin.path.name}` in the same folder has the same id"
            advice = "delete or rename one of the two"
            found = Diagnostic("duplicate-id", message, _id_span(entry), "id", advice)
            catalog.problems.append(found)
        known.append(entry)


def _id_span(entry: Entry) -> Span:
    """Where a file says its id, its beginning if it does not."""
    from takopi.adapters.source import Source, parse

    try:
        source = Source(entry.shown, _read(entry.path))
    except SpecError:
        source = Source(entry.shown, "")
    root, _ = parse(source)
    node = root.get("id") if root is not None else None
    return node.span if node is not None else source.span(0, 1)


def file_entry(path: Path) -> Entry:
    """An entry for a file that is named on the command line."""
    return Entry(path.stem, path, "file")
