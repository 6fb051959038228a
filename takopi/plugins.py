"""Plugins: what installed distributions offer, which of it is enabled, and loading one on demand.

Listing never imports a plugin's code: `takopi --help` stays fast, and a broken plugin stops nobody.
What cannot be used is recorded, see `get_load_errors`, and the others work.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from takopi.errors import ConfigError, PluginError, TakopiError
from takopi.ids import ID_PATTERN, is_valid_id

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

logger = logging.getLogger(__name__)

ENGINE_GROUP = "takopi.engine_backends"
TRANSPORT_GROUP = "takopi.transport_backends"
COMMAND_GROUP = "takopi.command_backends"
ADAPTERS_GROUP = "takopi.adapters"  # the value is a package whose folder holds YAML files

KINDS = {
    ENGINE_GROUP: "engine",
    TRANSPORT_GROUP: "transport",
    COMMAND_GROUP: "command",
    ADAPTERS_GROUP: "engine",
}
OWN_DISTRIBUTION = "takopi"  # its plugins are the built-in ones, which no allowlist hides
_UNKNOWN = "<unknown>"

Validator: TypeAlias = "Callable[[Any, EntryPoint], None]"
"""Raises `PluginError` for a loaded object that is not what its group asks for."""


@dataclass(frozen=True, slots=True)
class LoadError:
    """Why something that a distribution offers cannot be used.

    ``exception`` and ``traceback`` are there when its own code raised.
    """

    group: str
    name: str
    value: str
    distribution: str | None
    error: str
    exception: str | None = field(default=None, compare=False)
    traceback: str | None = field(default=None, compare=False, repr=False)


class PluginNotFoundError(PluginError):
    """No enabled plugin of the group has the id."""


class PluginLoadError(PluginError):
    """A plugin that cannot be loaded; ``record`` says why."""

    def __init__(self, record: LoadError) -> None:
        super().__init__(record.error)
        self.record = record


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """An adapter file that a distribution's package holds. ``id`` is the file's stem."""

    id: str
    path: Path
    package: str
    distribution: str | None


@dataclass(frozen=True, slots=True)
class _Offer:
    """One thing a distribution offers: an entry point, or a file of an adapter package."""

    group: str
    name: str
    value: str
    distribution: str | None
    entry_point: EntryPoint | None = None
    path: Path | None = None
    problem: str | None = None  # it cannot be used at all


@dataclass(slots=True)
class _State:
    """What this process knows: reading metadata takes a while, and nothing is imported twice."""

    offers: tuple[_Offer, ...] | None = None
    loaded: dict[tuple[str, str, str, str | None], Any] = field(default_factory=dict)
    errors: dict[LoadError, LoadError] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)  # a plugin may load another one


# Module state, because plugins and their tests know these functions without an object to hold it.
_state = _State()


# -- the allowlist ---------------------------------------------------------------------------------


def _canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution.strip().lower())


def normalize_allowlist(names: Iterable[str] | None) -> set[str] | None:
    """``plugins.enabled`` as names that compare; None when everything is allowed."""
    return {name for name in map(_canonical, names or ()) if name} or None


def entrypoint_distribution_name(entry_point: EntryPoint) -> str | None:
    """The name of the distribution that declares an entry point, None if there is no telling."""
    return _name_of(getattr(entry_point, "dist", None))


def is_entrypoint_allowed(entry_point: EntryPoint, allowlist: Set[str] | None) -> bool:
    """Whether an allowlist from `normalize_allowlist` shows an entry point."""
    return _is_allowed(entrypoint_distribution_name(entry_point), allowlist)


def _is_allowed(distribution: str | None, allowlist: Set[str] | None) -> bool:
    if not allowlist:
        return True
    if distribution is None:
        return False
    name = _canonical(distribution)
    return name == OWN_DISTRIBUTION or name in allowlist


# -- listing ---------------------------------------------------------------------------------------


def list_entrypoints(
    group: str,
    *,
    allowlist: Iterable[str] | None = None,
    reserved_ids: Iterable[str] | None = None,
) -> list[EntryPoint]:
    """The usable entry points of a group by id. The others are recorded, see `get_load_errors`."""
    found = _accept(group, allowlist, reserved_ids)
    return [o.entry_point for o in found if o.group == group and o.entry_point is not None]


def list_ids(
    group: str,
    *,
    allowlist: Iterable[str] | None = None,
    reserved_ids: Iterable[str] | None = None,
) -> list[str]:
    """The ids of a group, sorted."""
    found = list_entrypoints(group, allowlist=allowlist, reserved_ids=reserved_ids)
    return [entry_point.name for entry_point in found]


def list_adapter_files(
    *, allowlist: Iterable[str] | None = None, reserved_ids: Iterable[str] | None = None
) -> list[AdapterFile]:
    """The usable files of adapter packages by id; one id with an engine plugin is a duplicate."""
    found = _accept(ADAPTERS_GROUP, allowlist, reserved_ids)
    return [AdapterFile(o.name, o.path, o.value, o.distribution) for o in found if o.path]


def list_disabled(group: str, *, allowlist: Iterable[str] | None) -> list[tuple[str, str | None]]:
    """What the allowlist hides of a group: id and distribution, sorted."""
    allowed = normalize_allowlist(allowlist)
    hidden = [o for o in _offers() if o.group == group and not _is_allowed(o.distribution, allowed)]
    return [(offer.name, offer.distribution) for offer in hidden]


def _accept(
    group: str, allowlist: Iterable[str] | None, reserved_ids: Iterable[str] | None
) -> list[_Offer]:
    accepted, refused = _sort_out(group, allowlist, reserved_ids)
    for offer, reason in refused:
        _record(_error(offer, reason))
    return accepted


def _sort_out(
    group: str, allowlist: Iterable[str] | None, reserved_ids: Iterable[str] | None
) -> tuple[list[_Offer], list[tuple[_Offer, str]]]:
    """What of a group can be used, and what cannot with the reason. Engines are one group."""
    kind = KINDS.get(group, group)
    allowed = normalize_allowlist(allowlist)
    reserved = {word.lower() for word in reserved_ids or ()}
    valid: list[_Offer] = []
    refused: list[tuple[_Offer, str]] = []
    for offer in _offers():
        if KINDS[offer.group] != kind or not _is_allowed(offer.distribution, allowed):
            continue
        if offer.problem is not None:
            refused.append((offer, offer.problem))
        elif not is_valid_id(offer.name):
            refused.append((offer, f"invalid plugin id '{offer.name}'; must match {ID_PATTERN}"))
        elif offer.name.lower() in reserved:
            refused.append((offer, f"reserved plugin id '{offer.name}' is not allowed"))
        else:
            valid.append(offer)
    holders = Counter(offer.name for offer in valid)
    for offer in valid:
        if holders[offer.name] > 1:
            names = {o.distribution or _UNKNOWN for o in valid if o.name == offer.name}
            where = ", ".join(sorted(names))
            refused.append((offer, f"duplicate plugin id '{offer.name}' from {where}"))
    return [offer for offer in valid if holders[offer.name] == 1], refused


# -- metadata --------------------------------------------------------------------------------------


def refresh() -> None:
    """Look again at what is installed, with the next question. What is loaded stays loaded."""
    importlib.invalidate_caches()
    _state.offers = None
    _state.errors.clear()


def plugin_signature() -> frozenset[tuple[str, int]]:
    """A value that changes when a distribution comes, goes or changes; reads no metadata.

    Pairs of a metadata folder's path and its modification time in ns.
    """
    found: set[tuple[str, int]] = set()
    for folder in dict.fromkeys(sys.path):
        with suppress(OSError), os.scandir(folder or ".") as entries:
            for entry in entries:
                if entry.name.endswith((".dist-info", ".egg-info")):
                    with suppress(OSError):  # gone meanwhile
                        found.add((entry.path, entry.stat().st_mtime_ns))
    return frozenset(found)


def own_scripts() -> frozenset[str]:
    """The names of the programs that come with takopi itself; none when it is not installed."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = distribution(OWN_DISTRIBUTION).entry_points
    except PackageNotFoundError:
        return frozenset()
    return frozenset(script.name for script in found if script.group == "console_scripts")


def _offers() -> tuple[_Offer, ...]:
    """Everything that is offered, sorted; read once."""
    found = _state.offers
    if found is None:
        order = sorted(_scan(), key=lambda o: (o.name, o.distribution or "", o.value))
        found = _state.offers = tuple(order)
    return found


def _scan() -> Iterator[_Offer]:
    from importlib.metadata import distributions

    seen: set[str] = set()
    for found in distributions():
        try:
            text = found.read_text("entry_points.txt") or ""
        except (OSError, UnicodeDecodeError) as error:
            logger.debug("plugins.metadata.unreadable error=%s", error)
            continue
        if not any(group in text for group in KINDS):
            continue  # most of what is installed
        name = _name_of(found)
        if name is not None:
            if _canonical(name) in seen:
                continue
            seen.add(_canonical(name))
        yield from _offers_of(_imported(name, found), name)


def _imported(name: str | None, found: Distribution) -> Distribution:
    """The distribution of that name that imports find: another copy may stand before ``found``."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return distribution(name) if name else found
    except PackageNotFoundError:
        return found


def _offers_of(found: Distribution, name: str | None) -> Iterator[_Offer]:
    try:
        entry_points = [e for e in found.entry_points if e.group in KINDS]
    except Exception as error:  # written by hand; the parser raises whatever it stumbles over
        text = found.read_text("entry_points.txt") or ""
        problem = f"its entry points cannot be read: {describe(error)}"
        for group in (g for g in KINDS if f"[{g}]" in text):
            yield _Offer(group, name or _UNKNOWN, "entry_points.txt", name, problem=problem)
        return
    for entry in entry_points:
        if entry.group == ADAPTERS_GROUP:
            yield from _adapters_of(entry, name)
        else:
            yield _Offer(entry.group, entry.name, entry.value, name, entry)


def _adapters_of(entry: EntryPoint, distribution: str | None) -> Iterator[_Offer]:
    try:
        files = _adapter_files(entry.value)
    except Exception as error:  # finders of other packages may raise anything
        yield _Offer(ADAPTERS_GROUP, entry.name, entry.value, distribution, problem=describe(error))
        return
    for file in files:
        yield _Offer(ADAPTERS_GROUP, file.stem, entry.value, distribution, path=file)


def _adapter_files(package: str) -> list[Path]:
    """The YAML files in a package's folder, found without importing anything of it."""
    from importlib.util import find_spec

    parts = package.split(".")
    if not all(part.isidentifier() for part in parts):
        raise PluginError(f"'{package}' is not the name of a package")
    spec = find_spec(parts[0])
    if spec is None:
        raise PluginError(f"there is no package '{parts[0]}'")
    # Not by asking for the inner package's spec: that would import the outer one.
    folders = [Path(base, *parts[1:]) for base in spec.submodule_search_locations or ()]
    names = (file for folder in folders if folder.is_dir() for file in folder.iterdir())
    files = [f for f in names if f.suffix in (".yaml", ".yml") and not f.name.startswith(".")]
    if not files:
        raise PluginError(f"the package '{package}' holds no adapters (*.yaml)")
    return sorted(files)


def _name_of(found: Distribution | None) -> str | None:
    if found is None:
        return None
    try:
        # Without a METADATA file there is no name, whatever the types say.
        return (found.metadata["Name"] or "").strip() or None
    except Exception:  # and newer Pythons raise
        return None


# -- loading ---------------------------------------------------------------------------------------


def load_entrypoint(
    group: str,
    name: str,
    *,
    allowlist: Iterable[str] | None = None,
    validator: Validator | None = None,
) -> Any:
    """The plugin's object, imported once per process.

    Raises `PluginNotFoundError`, and `PluginLoadError` for whatever its code raises.
    """
    with _state.lock:
        accepted, refused = _sort_out(group, allowlist, None)
        for offer, reason in refused:
            if (offer.group, offer.name) == (group, name):
                raise PluginLoadError(_record(_error(offer, reason)))
        for offer in accepted:
            if (offer.group, offer.name) == (group, name):
                return _load(offer, validator)
    raise PluginNotFoundError(f"there is no {KINDS.get(group, group)} plugin '{name}'")


def load_backend(
    group: str,
    name: str,
    *,
    allowlist: Iterable[str] | None,
    validator: Validator,
    reserved_ids: Iterable[str] | None = None,
) -> Any:
    """Like `load_entrypoint`, with `ConfigError` instead, in the words users get."""
    try:
        return load_entrypoint(group, name, allowlist=allowlist, validator=validator)
    except PluginLoadError as error:
        raise ConfigError(f"Failed to load {KINDS[group]} '{name}': {error}") from error
    except PluginNotFoundError:
        known = list_ids(group, allowlist=allowlist, reserved_ids=reserved_ids)
        raise unknown_id(KINDS[group], name, known) from None


def unknown_id(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for an id that no engine, transport or command has."""
    names = ", ".join(sorted(known))
    return ConfigError(f"Unknown {kind} '{name}'." + (f" Available: {names}." if names else ""))


def backend_validator(type_: type, article: str) -> Validator:
    """A validator that wants a ``type_`` whose ``id`` is the entry point's name."""

    def validate(loaded: Any, entry_point: EntryPoint) -> None:
        if not isinstance(loaded, type_):
            raise PluginError(f"{entry_point.value} is not {article} {type_.__name__}")
        name = getattr(loaded, "id", None)
        if name != entry_point.name:
            raise PluginError(
                f"{entry_point.value} {KINDS[entry_point.group]} id '{name}' "
                f"does not match entrypoint '{entry_point.name}'"
            )

    return validate


def _load(offer: _Offer, validator: Validator | None) -> Any:
    key = (offer.group, offer.name, offer.value, offer.distribution)
    if key in _state.loaded:
        return _state.loaded[key]
    entry_point = offer.entry_point
    assert entry_point is not None  # adapter packages are a group that is never loaded
    try:
        loaded = entry_point.load()
        if validator is not None:
            validator(loaded, entry_point)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may call sys.exit(), too
        record = _record(_error(offer, describe(error), error))
        logger.debug("plugin.load.failed %s %s\n%s", offer.group, offer.name, record.traceback)
        raise PluginLoadError(record) from error
    _state.loaded[key] = loaded
    clear_load_errors(group=offer.group, name=offer.name)
    return loaded


# -- errors ----------------------------------------------------------------------------------------


def describe(error: BaseException) -> str:
    """An exception in one text: takopi's own speak for themselves, others need their type."""
    text = str(error).strip()
    if isinstance(error, TakopiError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def get_load_errors() -> list[LoadError]:
    """What went wrong so far, each once."""
    return list(_state.errors.values())


def clear_load_errors(*, group: str | None = None, name: str | None = None) -> None:
    """Forget errors: all of them, those of a group, those of an id."""
    for error in get_load_errors():
        if group in (None, error.group) and name in (None, error.name):
            _state.errors.pop(error, None)


def reset_plugin_state() -> None:
    """Forget errors, loaded plugins and metadata; for tests."""
    refresh()
    _state.loaded.clear()


def _error(offer: _Offer, reason: str, error: BaseException | None = None) -> LoadError:
    return LoadError(
        offer.group,
        offer.name,
        offer.value,
        offer.distribution,
        reason,
        None if error is None else type(error).__name__,
        None if error is None else "".join(traceback.format_exception(error)),
    )


def _record(error: LoadError) -> LoadError:
    _state.errors.pop(error, None)
    _state.errors[error] = error
    return error
