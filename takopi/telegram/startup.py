"""What the bot says when it begins: engines with versions, projects, and what was missed meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from takopi.bridge.markdown import code_span
from takopi.bridge.runtime import TransportRuntime
from takopi.config import TelegramSettings, load_config
from takopi.engines.probe import ask_version
from takopi.engines.registry import EngineEntry, build_entries, load_registry
from takopi.errors import TakopiError
from takopi.logs import get_logger
from takopi.model import EngineId

_VERSIONS_S = 5.0  # the message does not wait longer for CLIs to say theirs

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """What happened since the last takopi: messages thrown away, and runs that it left behind."""

    skipped: int = 0
    interrupted: int = 0


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a startup message is made of; ``versions`` of the engines that told theirs."""

    runtime: TransportRuntime
    settings: TelegramSettings
    folder: Path
    versions: Mapping[EngineId, str] = field(default_factory=dict)
    meanwhile: Meanwhile = Meanwhile()


def startup_text(greeting: Greeting) -> str:
    """The startup message, as Markdown."""
    runtime, settings = greeting.runtime, greeting.settings
    aliases = sorted(runtime.project_aliases(), key=str.lower)
    rows = {
        "default": runtime.default_engine,
        "engines": _engines(runtime, greeting.versions),
        "projects": ", ".join(aliases) or "none",
        "mode": settings.session_mode,
        "topics": "disabled",
        "resume lines": "shown" if shows_resume_lines(settings) else "hidden",
        "working in": str(greeting.folder),
    }
    lines = [f"{label}: {code_span(value)}" for label, value in rows.items()]
    chats = open_groups(settings, runtime.project_chat_ids())
    if chats:
        lines.append(f"access: anyone in `{', '.join(map(str, chats))}`")
    missing = not_there_yet(settings)
    if missing:
        lines.append(f"enabled, but not there yet: `{', '.join(missing)}`")
    if greeting.meanwhile.skipped:
        count = greeting.meanwhile.skipped
        lines.append(f"skipped: `{count} message{_s(count)} received while offline`")
    if greeting.meanwhile.interrupted:
        count = greeting.meanwhile.interrupted
        lines.append(f"interrupted: `{count} run{_s(count)} when takopi ended`")
    return "\n".join(["🐙 **takopi is ready**", "", *lines])


def shows_resume_lines(settings: TelegramSettings) -> bool:
    """Whether messages carry resume lines; without stored sessions there is nothing else."""
    return settings.show_resume_line or settings.session_mode == "stateless"


def open_groups(settings: TelegramSettings, project_chats: Iterable[int | str]) -> list[int]:
    """The groups in which everybody may run engines on this computer."""
    if settings.allowed_user_ids:
        return []
    chats = [settings.chat_id, *(chat for chat in project_chats if isinstance(chat, int))]
    return [chat for chat in chats if chat < 0]


def not_there_yet(settings: TelegramSettings) -> list[str]:
    """What is switched on and cannot be had."""
    switches = {
        "topics": settings.topics.enabled,
        "files": settings.files.enabled,
        "voice_transcription": settings.voice_transcription,
    }
    return [name for name, enabled in switches.items() if enabled]


async def engine_versions(config_path: Path) -> dict[EngineId, str]:
    """The versions of the engines whose CLI tells one in time. Never raises."""
    found: dict[EngineId, str] = {}

    async def ask(entry: EngineEntry, args: list[str]) -> None:
        try:
            version = await ask_version(entry.executable or "", args, os.environ)
        except TakopiError:
            return
        if version:
            found[entry.engine] = version

    try:
        asked = await anyio.to_thread.run_sync(_version_args, config_path)
        with anyio.move_on_after(_VERSIONS_S):
            async with anyio.create_task_group() as tasks:
                for entry, args in asked:
                    tasks.start_soon(ask, entry, args)
    except Exception:
        logger.exception("startup.versions_failed")
    return found


def _version_args(config_path: Path) -> list[tuple[EngineEntry, list[str]]]:
    """The engines that can run, each with what makes its CLI tell its version."""
    registry = load_registry(load_config(config_path))
    return [
        (entry, list(registry.catalog.adapter(entry.engine).spec.version_args))
        for entry in build_entries(registry)
        if entry.status == "ok" and entry.executable and entry.source.file is not None
    ]


def _engines(runtime: TransportRuntime, versions: Mapping[EngineId, str]) -> str:
    available = [
        f"{engine} {versions[engine]}" if engine in versions else engine
        for engine in runtime.available_engine_ids()
    ]
    groups = {
        "not installed": runtime.missing_engine_ids(),
        "misconfigured": runtime.engine_ids_with_status("bad_config"),
        "failed to load": runtime.engine_ids_with_status("load_error"),
    }
    said = "; ".join(f"{what}: {', '.join(ids)}" for what, ids in groups.items() if ids)
    return (", ".join(available) or "none") + (f" ({said})" if said else "")


def _s(count: int) -> str:
    return "" if count == 1 else "s"
