"""`takopi doctor`: everything that can be wrong before the first message, and what to do about it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import anyio

from takopi.adapters.catalog import Catalog
from takopi.bridge.transport import get_transport, list_transports, needs_config
from takopi.cli.plugins import load_errors
from takopi.config import (
    Config,
    config_path,
    display_path,
    load_config,
    unknown_tables,
    unreachable_aliases,
)
from takopi.diagnostics import Diagnostic, render_text
from takopi.engines.probe import ask_login, ask_version
from takopi.engines.registry import EngineEntry, Registry, build_entries, default_engine_id
from takopi.engines.registry import load_registry as engines_of
from takopi.errors import EXIT_FAILURE, EXIT_OK, ConfigError, TakopiError
from takopi.git import git_is_worktree, git_stdout, resolve_default_base
from takopi.ids import RESERVED_CHAT_IDS
from takopi.lockfile import lock_holder
from takopi.logs import setup_logging

State: TypeAlias = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line. ``advice`` says what to do, where there is something to do."""

    label: str
    state: State
    detail: str
    advice: str | None = None


def doctor_command(*, as_json: bool) -> int:
    """Print every check; 1 if one of them is an error."""
    setup_logging()
    checks = list(_checks())
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=2, ensure_ascii=False))
    else:
        print("takopi doctor")
        for check in checks:
            print(f"- {check.label}: {check.state} ({check.detail})")
            for line in (check.advice or "").splitlines():
                print(f"    {line}" if line else "")
    return EXIT_FAILURE if any(check.state == "error" for check in checks) else EXIT_OK


def _checks() -> Iterator[Check]:
    path = config_path()
    try:
        config = load_config(path)
        _ = config.settings  # which is checked when it is first asked for
    except ConfigError as error:
        yield _broken_config(path, error)
        config, valid = Config(path), False  # engines and plugins can be checked all the same
    else:
        valid = True
        yield from _config(config)
    try:
        registry = engines_of(config)
    except ConfigError as error:
        yield Check("engines", "error", _first_line(error), _rendered(error.diagnostics))
        return
    yield from _engines(config, registry)
    yield from _adapters(registry.catalog)
    yield from _plugins(registry)
    yield _lock(config)
    yield _state_folder(config)
    if valid:
        yield from _projects(config, registry)
        yield from _transport(config, registry)


def _broken_config(path: Path, error: ConfigError) -> Check:
    problems = len(error.diagnostics)
    if not problems:
        return Check("config", "error", _first_line(error))
    detail = f"{display_path(path)} has {problems} error{'s' if problems > 1 else ''}"
    return Check("config", "error", detail, _rendered(error.diagnostics))


def _config(config: Config) -> Iterator[Check]:
    shown = display_path(config.path)
    if not config.exists:
        advice = "`takopi init` in a repository creates it; `takopi run ENGINE PROMPT` needs none"
        yield Check("config", "warning", f"no {shown}", advice)
        return
    warnings = [
        *unknown_tables(config.settings, engines_of(config).ids, config_path=config.path),
        *unreachable_aliases(config.settings, config_path=config.path),
    ]
    if warnings:
        yield Check("config", "warning", shown, _rendered(warnings))
    else:
        yield Check("config", "ok", shown)


# -- engines ---------------------------------------------------------------------------------------


def _engines(config: Config, registry: Registry) -> Iterator[Check]:
    try:
        default = default_engine_id(registry)
    except ConfigError as error:
        yield Check("default engine", "error", str(error), "set `default_engine` to one of these")
        default = ""
    entries = build_entries(registry)
    # What nobody asked for need not be installed.
    wanted = {default, *config.data}
    wanted |= {p.default_engine for p in config.settings.projects.values() if p.default_engine}
    absent = [e.engine for e in entries if e.status == "missing_cli" and e.engine not in wanted]
    shown = [entry for entry in entries if entry.engine not in absent]
    yield from anyio.run(_ask_all, shown, registry, default)
    if absent:
        advice = "`takopi adapters list` says how to install one"
        yield Check("other engines", "ok", f"not installed: {', '.join(absent)}", advice)


async def _ask_all(entries: list[EngineEntry], registry: Registry, default: str) -> list[Check]:
    found: dict[str, Check] = {}

    async def ask(entry: EngineEntry) -> None:
        check = await _engine(entry, registry.catalog)
        if entry.engine == default:
            state: State = "error" if entry.status != "ok" else check.state
            check = Check(check.label, state, f"{check.detail}, default", check.advice)
        found[entry.engine] = check

    async with anyio.create_task_group() as tasks:
        for entry in entries:
            tasks.start_soon(ask, entry)
    return [found[entry.engine] for entry in entries]


async def _engine(entry: EngineEntry, catalog: Catalog) -> Check:
    label, backend = f"engine {entry.engine}", entry.backend
    if entry.status == "missing_cli":
        install = backend.install_cmd if backend is not None else None
        how = f"install it: {install}" if install else "install it"
        return Check(label, "warning", entry.issue or "not found", how)
    if entry.status != "ok":
        file = entry.source.file
        see = f"takopi adapters validate {entry.engine}" if file else "takopi plugins --load"
        return Check(label, "warning", _first_line(entry.issue), f"see `{see}`, or takopi.toml")
    executable = entry.executable or ""
    if entry.source.file is None:
        return Check(label, "ok", executable)
    spec = catalog.adapter(entry.engine).spec
    try:
        version = await ask_version(executable, spec.version_args, os.environ)
        logged_in = await ask_login(executable, spec.login.args, os.environ) if spec.login else None
    except TakopiError as error:
        return Check(label, "warning", _first_line(error))
    detail = f"{version or 'version unknown'}, {display_path(Path(executable))}"
    if spec.login and logged_in is False:
        return Check(label, "warning", f"{detail}, not logged in", spec.login.say)
    if version and spec.tested and _older(version, spec.tested):
        advice = f"takopi was tested with {spec.tested}; if something is missing, update the CLI"
        return Check(label, "warning", detail, advice)
    tested = f", tested with {spec.tested}" if spec.tested and spec.tested != version else ""
    return Check(label, "ok", detail + tested)


def _older(version: str, tested: str) -> bool:
    """Whether a version is before the one that the fixtures were recorded with."""
    numbers = [
        [int(n) for n in re.findall(r"\d+", text.partition("-")[0])] for text in (version, tested)
    ]
    return all(numbers) and numbers[0] < numbers[1]


# -- the rest --------------------------------------------------------------------------------------


def _adapters(catalog: Catalog) -> Iterator[Check]:
    own = [entries[0] for entries in catalog.entries.values() if entries[0].origin != "built-in"]
    broken = sorted(entry.id for entry in own if catalog.verdict(entry).errors)
    problems = _rendered(catalog.problems) if catalog.problems else None
    if broken:
        see = f"takopi adapters validate {' '.join(broken)}"
        yield Check("adapters", "error", f"broken: {', '.join(broken)}", f"see `{see}`")
    elif problems:
        yield Check("adapters", "warning", "some files are not used", problems)
    else:
        builtin = len(catalog.entries) - len(own)
        yield Check("adapters", "ok", f"{builtin} built in, {len(own)} of your own")


def _plugins(registry: Registry) -> Iterator[Check]:
    errors = load_errors(registry)
    if errors:
        advice = "\n".join(
            [*errors, "update or uninstall the package, or leave it out of plugins.enabled"]
        )
        yield Check("plugins", "error", f"{len(errors)} cannot be loaded", advice)
    else:
        yield Check("plugins", "ok", "no errors")


def _projects(config: Config, registry: Registry) -> Iterator[Check]:
    if not config.settings.projects:
        yield Check("projects", "ok", "none; `takopi init` in a repository adds it")
        return
    try:
        found = config.settings.to_projects_config(
            config_path=config.path, engine_ids=registry.ids, reserved=RESERVED_CHAT_IDS
        )
    except ConfigError as error:
        yield Check("projects", "error", _first_line(error), _rendered(error.diagnostics))
        return
    for project in found.projects.values():
        label, shown = f"project {project.alias}", display_path(project.path)
        if not project.path.is_dir():
            advice = f"correct it: takopi config set projects.{project.alias}.path DIR"
            yield Check(label, "error", f"project path not found: {shown}", advice)
        elif git_stdout(["--version"], project.path) is None:
            yield Check(label, "warning", "git not available on PATH", "install git for @branch")
        elif not git_is_worktree(project.path) and not _inside_repository(project.path):
            yield Check(label, "ok", f"{shown}, no git repository: no @branch")
        elif project.worktree_base is None and resolve_default_base(project.path) is None:
            advice = f"takopi config set projects.{project.alias}.worktree_base BRANCH"
            yield Check(label, "warning", f"{shown}, no base for new branches", advice)
        else:
            yield Check(label, "ok", shown)


def _inside_repository(path: Path) -> bool:
    return git_stdout(["rev-parse", "--is-inside-work-tree"], path) == "true"


def _lock(config: Config) -> Check:
    try:
        holder = lock_holder(config.path)
    except OSError as error:
        return Check("lock", "error", f"{error.strerror}: {error.filename}", "make it readable")
    if holder is None:
        return Check("lock", "ok", "free")
    return Check("lock", "ok", f"takopi is running, process {holder}")


def _state_folder(config: Config) -> Check:
    folder = config.path.parent
    shown = display_path(folder)
    if not folder.exists():
        return Check("state", "ok", f"{shown} will be created")
    if os.access(folder, os.W_OK | os.X_OK):
        return Check("state", "ok", f"{shown} can be written to")
    return Check("state", "error", f"{shown} cannot be written to", f"chown or chmod {shown}")


def _transport(config: Config, registry: Registry) -> Iterator[Check]:
    wanted = config.settings.transport
    if wanted not in list_transports(allowlist=registry.allowlist):
        known = ", ".join(list_transports(allowlist=registry.allowlist)) or "none"
        yield Check("transport", "warning", f"'{wanted}' is not installed", f"installed: {known}")
        return
    try:
        transport = get_transport(wanted, allowlist=registry.allowlist)
        result = transport.check_setup(registry.backend(default_engine_id(registry)))
    except TakopiError as error:
        yield Check(wanted, "error", _first_line(error))
        return
    missing = [issue for issue in result.issues if needs_config(issue, wanted)]
    for issue in missing:
        # Whoever has no file yet may want no chat: engines run without one.
        state: State = "error" if config.exists else "warning"
        yield Check(wanted, state, issue.title, "`takopi --onboard` asks for what it needs")
    if missing:
        return  # there is nothing to look at yet
    own = getattr(transport, "doctor_checks", None)
    if own is not None:
        table = config.settings.transport_config(wanted, config_path=config.path)
        yield from (Check(*row) for row in own(transport_config=table, config_path=config.path))
    elif result.ok:
        yield Check(wanted, "ok", "configured")


def _first_line(text: object) -> str:
    return str(text).partition("\n")[0]


def _rendered(diagnostics: Iterable[Diagnostic]) -> str | None:
    return "\n\n".join(render_text(d) for d in diagnostics) or None
