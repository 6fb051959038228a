"""What a transport asks takopi: which engine, session, project and directory a message is for.

Precedence is in `choose_context` and `choose_engine`, which are pure; `TransportRuntime` gives them
what is configured at the moment.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from takopi.bridge.context import format_context_line, parse_context_line
from takopi.bridge.directives import ParsedDirectives, parse_directives
from takopi.bridge.router import AutoRouter, EngineStatus
from takopi.config.projects import ProjectsConfig
from takopi.engines.base import Runner
from takopi.errors import ConfigError
from takopi.model import EngineId, ResumeToken, RunContext
from takopi.plugins import normalize_allowlist

ContextSource: TypeAlias = Literal["reply_ctx", "directives", "ambient", "default_project", "none"]
EngineSource: TypeAlias = Literal["resume", "directive", "topic", "chat", "project", "global"]

_NUMBER = re.compile(r"-?[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class ResolvedMessage:
    """A message understood. ``engine_override`` is its directive; a token's engine beats it."""

    prompt: str
    resume_token: ResumeToken | None
    engine_override: EngineId | None
    context: RunContext | None
    context_source: ContextSource = "none"


@dataclass(frozen=True, slots=True)
class ResolvedRunner:
    """An engine's runner. If it is not ``available``, ``issue`` says why and runs of it fail."""

    engine: EngineId
    runner: Runner
    available: bool
    issue: str | None = None


class ContextChoice(NamedTuple):
    """Where a run works, and what said so."""

    context: RunContext | None
    source: ContextSource


class EngineChoice(NamedTuple):
    """Which engine runs, and what said so."""

    engine: EngineId
    source: EngineSource


def choose_context(
    *,
    reply: RunContext | None,
    directives: ParsedDirectives,
    ambient: RunContext | None,
    default_project: str | None,
) -> ContextChoice:
    """The context of a message: of the reply > directives > ambient > default project."""
    if reply is not None:
        return ContextChoice(reply, "reply_ctx")
    around = ambient or RunContext()
    if directives.project or directives.branch:
        project = directives.project or around.project or default_project
        same = around.branch if project == around.project else None
        return ContextChoice(RunContext(project, directives.branch or same), "directives")
    if around.project:
        return ContextChoice(around, "ambient")
    if default_project is not None:
        return ContextChoice(RunContext(default_project), "default_project")
    return ContextChoice(None, "none")


def choose_engine(
    *,
    default: EngineId,
    resume: ResumeToken | None = None,
    directive: EngineId | None = None,
    topic: EngineId | None = None,
    chat: EngineId | None = None,
    project: EngineId | None = None,
) -> EngineChoice:
    """The engine of a message: of the token > directive > topic > chat > project > default."""
    choices: tuple[tuple[EngineId | None, EngineSource], ...] = (
        (resume.engine if resume is not None else None, "resume"),
        (directive, "directive"),
        (topic, "topic"),
        (chat, "chat"),
        (project, "project"),
    )
    for engine, source in choices:
        if engine is not None:
            return EngineChoice(engine, source)
    return EngineChoice(default, "global")


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """What a configuration comes to: everything about a runtime that a reload replaces.

    ``allowlist`` names distributions, in any spelling; ``plugin_configs`` has the ``[plugins.<id>]``
    tables by id, unchecked. ``sources`` is what all this was made of, a value that a watcher
    compares with what is there now, and ``adapter_paths`` are the files and folders to look at.
    """

    router: AutoRouter
    projects: ProjectsConfig
    allowlist: Collection[str] | None = None
    plugin_configs: Mapping[str, Any] | None = None
    watch_config: bool = False
    sources: object = None
    adapter_paths: tuple[Path, ...] = ()

    def to_runtime(self, *, config_path: Path | None) -> TransportRuntime:
        """A runtime of this configuration."""
        runtime = TransportRuntime(router=self.router, projects=self.projects)
        self.apply(runtime, config_path=config_path)
        return runtime

    def apply(self, runtime: TransportRuntime, *, config_path: Path | None) -> None:
        """Give a runtime this configuration in place of its own."""
        runtime._current = (self, config_path)


class TransportRuntime:
    """Engines and projects as configured now. Keep none of its answers beyond a message."""

    def __init__(
        self,
        *,
        router: AutoRouter,
        projects: ProjectsConfig,
        allowlist: Collection[str] | None = None,
        config_path: Path | None = None,
        plugin_configs: Mapping[str, Any] | None = None,
        watch_config: bool = False,
    ) -> None:
        spec = RuntimeSpec(router, projects, allowlist, plugin_configs, watch_config)
        # One value, so that a reload replaces all at once: nobody sees half of each.
        self._current: tuple[RuntimeSpec, Path | None] = (spec, config_path)

    def update(
        self,
        *,
        router: AutoRouter,
        projects: ProjectsConfig,
        allowlist: Collection[str] | None = None,
        config_path: Path | None = None,
        plugin_configs: Mapping[str, Any] | None = None,
        watch_config: bool = False,
    ) -> None:
        """Replace everything; what is not given is not kept."""
        spec = RuntimeSpec(router, projects, allowlist, plugin_configs, watch_config)
        self._current = (spec, config_path)

    @property
    def spec(self) -> RuntimeSpec:
        """All that is configured now."""
        return self._current[0]

    # Published plugins read these two.

    @property
    def _router(self) -> AutoRouter:
        return self.spec.router

    @property
    def _projects(self) -> ProjectsConfig:
        return self.spec.projects

    # -- engines -----------------------------------------------------------------------------

    @property
    def default_engine(self) -> EngineId:
        """The engine of messages that nothing else gives one."""
        return self._router.default_engine

    @property
    def engine_ids(self) -> tuple[EngineId, ...]:
        """All engines, unavailable ones included."""
        return self._router.engine_ids

    def available_engine_ids(self) -> tuple[EngineId, ...]:
        """Those that can run."""
        return tuple(entry.engine for entry in self._router.available_entries)

    def engine_ids_with_status(self, status: EngineStatus) -> tuple[EngineId, ...]:
        """Those of one status."""
        return tuple(entry.engine for entry in self._router.entries if entry.status == status)

    def missing_engine_ids(self) -> tuple[EngineId, ...]:
        """Those whose program is not installed."""
        return self.engine_ids_with_status("missing_cli")

    def resolve_engine(
        self, *, engine_override: EngineId | None, context: RunContext | None
    ) -> EngineId:
        """The engine of a message without a token: the override, the project's or the default."""
        spec = self.spec
        return choose_engine(
            directive=engine_override,
            project=_project_engine(spec, context),
            default=spec.router.default_engine,
        ).engine

    def project_default_engine(self, context: RunContext | None) -> EngineId | None:
        """The engine that the context's project sets."""
        return _project_engine(self.spec, context)

    def resolve_runner(
        self, *, resume_token: ResumeToken | None, engine_override: EngineId | None
    ) -> ResolvedRunner:
        """The runner of the token's engine, else of the override, else of the default one.

        Raises `RunnerUnavailableError` for an unknown engine only: see `ResolvedRunner.available`.
        """
        engine = resume_token.engine if resume_token is not None else engine_override
        entry = self._router.entry_for_engine(engine)
        return ResolvedRunner(entry.engine, entry.runner, entry.available, entry.issue)

    def is_resume_line(self, line: str) -> bool:
        """Whether the whole line is any engine's resume command."""
        return self._router.is_resume_line(line)

    # -- messages ----------------------------------------------------------------------------

    def resolve_message(
        self,
        *,
        text: str,
        reply_text: str | None,
        ambient_context: RunContext | None = None,
        chat_id: int | str | None = None,
        reply_from_bot: bool = True,
    ) -> ResolvedMessage:
        """What a message asks for, given where it was written and what it replies to.

        Tell with ``reply_from_bot`` if ``reply_text`` is somebody else's: then it has no footer.
        Raises `DirectiveError`.
        """
        spec = self.spec
        reply = None
        if reply_from_bot:
            reply = parse_context_line(
                reply_text, projects=spec.projects, is_resume_line=spec.router.is_resume_line
            )
        default_project = _default_project(spec.projects, chat_id)
        ambient_project = ambient_context.project if ambient_context is not None else None
        directives = parse_directives(
            text,
            engine_ids=spec.router.engine_ids,
            projects=spec.projects,
            branch_applies=bool(reply or ambient_project or default_project),
        )
        context, source = choose_context(
            reply=reply,
            directives=directives,
            ambient=ambient_context,
            default_project=default_project,
        )
        token = spec.router.resolve_resume(
            directives.prompt, reply_text, reply_from_bot=reply_from_bot
        )
        return ResolvedMessage(directives.prompt, token, directives.engine, context, source)

    def format_context_line(self, context: RunContext | None) -> str | None:
        """The footer's line for a context; None without a project."""
        return format_context_line(context, projects=self._projects)

    # -- projects ----------------------------------------------------------------------------

    @property
    def default_project(self) -> str | None:
        """The key of the project of messages that nothing else gives one."""
        return self._projects.default_project

    def project_aliases(self) -> tuple[str, ...]:
        """The aliases as configured."""
        return tuple(project.alias for project in self._projects.projects.values())

    def normalize_project_key(self, value: str) -> str | None:
        """The key of an alias in any case; None for one that is not configured."""
        key = value.lower()
        return key if key in self._projects.projects else None

    def project_alias_for_key(self, key: str) -> str:
        """The alias as configured; the key itself if there is no such project."""
        project = self._projects.projects.get(key)
        return project.alias if project is not None else key

    def default_context_for_chat(self, chat_id: int | str | None) -> RunContext | None:
        """The context of the project that a chat is bound to."""
        key = _chat_project(self._projects, chat_id)
        return RunContext(key) if key is not None else None

    def project_chat_ids(self) -> tuple[int | str, ...]:
        """The chats that are bound to a project."""
        return self._projects.project_chat_ids()

    def resolve_run_cwd(self, context: RunContext | None) -> Path | None:
        """The directory of a context, None for takopi's own. Blocks: it may run git.

        Raises `ConfigError` for an unknown project and a branch that cannot be had.
        """
        from takopi.bridge.workspace import resolve_run_cwd

        return resolve_run_cwd(self._projects, context)

    async def resolve_run_cwd_async(self, context: RunContext | None) -> Path | None:
        """The same without blocking the event loop."""
        from takopi.bridge.workspace import resolve_run_cwd_async

        return await resolve_run_cwd_async(self._projects, context)

    # -- configuration -----------------------------------------------------------------------

    @property
    def allowlist(self) -> set[str] | None:
        """The distributions whose plugins may load, as names that compare; None for all."""
        return normalize_allowlist(self.spec.allowlist)

    @property
    def config_path(self) -> Path | None:
        """The active configuration file."""
        return self._current[1]

    @property
    def watch_config(self) -> bool:
        """Whether the transport shall watch the configuration file."""
        return self.spec.watch_config

    def plugin_config(self, plugin_id: str) -> dict[str, Any]:
        """A copy of ``[plugins.<id>]``, ``{}`` if absent. Raises `ConfigError` for no table."""
        spec, path = self._current
        table = (spec.plugin_configs or {}).get(plugin_id, {})
        if not isinstance(table, Mapping):
            where = path if path is not None else "<config>"
            raise ConfigError(f"Invalid `plugins.{plugin_id}` in {where}; expected a table.")
        return copy.deepcopy(dict(table))


def _project_engine(spec: RuntimeSpec, context: RunContext | None) -> EngineId | None:
    if context is None or context.project is None:
        return None
    project = spec.projects.projects.get(context.project)
    return project.default_engine if project is not None else None


def _default_project(projects: ProjectsConfig, chat_id: int | str | None) -> str | None:
    return _chat_project(projects, chat_id) or projects.default_project


def _chat_project(projects: ProjectsConfig, chat_id: int | str | None) -> str | None:
    """The key of a chat's project. The configuration turns numeric ids into numbers: so do we."""
    key = projects.project_for_chat(chat_id)
    if key is None and isinstance(chat_id, str) and _NUMBER.fullmatch(chat_id):
        key = projects.project_for_chat(int(chat_id))
    return key
