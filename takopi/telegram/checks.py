"""What `takopi doctor` says about Telegram."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import anyio

from takopi.config import TelegramSettings, load_config
from takopi.errors import ConfigError
from takopi.telegram.client import BotClient
from takopi.telegram.open_runs import FILE_NAME as OPEN_RUNS
from takopi.telegram.sessions import FILE_NAME as SESSIONS
from takopi.telegram.startup import not_there_yet, open_groups
from takopi.telegram.wire import BotUser, ChatInfo, Ok, Result, Transient, Unauthorized

Row: TypeAlias = tuple[str, Literal["ok", "warning", "error"], str, str | None]
"""Label, state, detail, advice."""

_ASK_S = 10.0


def checks(settings: TelegramSettings, config_path: Path) -> Iterator[Row]:
    """The bot, its chats, who may use it, and the files it keeps."""
    try:
        me, chats = anyio.run(_ask, settings, _project_chats(config_path))
    except ConfigError as error:  # an address that is none
        yield "telegram", "error", str(error), None
        return
    yield _token(me)
    for label, chat_id, chat in chats:
        yield _chat(label, chat_id, chat)
    if not chats:
        yield "chat_id", "error", "skipped (token invalid)", None
    yield from _access(settings, config_path)
    missing = not_there_yet(settings)
    if missing:
        advice = "switch it off until then"
        yield "telegram features", "warning", f"not there yet: {', '.join(missing)}", advice
    yield from _state_files(config_path)


_Chats: TypeAlias = list[tuple[str, int, Result[ChatInfo]]]


async def _ask(
    settings: TelegramSettings, project_chats: dict[str, int]
) -> tuple[Result[BotUser], _Chats]:
    wanted = {"chat_id": settings.chat_id, **project_chats}
    async with BotClient(settings.bot_token, api_url=settings.api_url, timeout_s=_ASK_S) as bot:
        me = await bot.get_me()
        if not isinstance(me, Ok):
            return me, []
        return me, [(label, chat, await bot.get_chat(chat)) for label, chat in wanted.items()]


def _project_chats(config_path: Path) -> dict[str, int]:
    """The chats that projects are bound to, by the name of the setting."""
    projects = load_config(config_path).settings.projects
    return {
        f"projects.{alias}.chat_id": project.chat_id
        for alias, project in projects.items()
        if isinstance(project.chat_id, int)
    }


def _token(me: Result[BotUser]) -> Row:
    if isinstance(me, Ok):
        detail = f"@{me.result.username}" if me.result.username else f"id={me.result.id}"
        return "telegram token", "ok", detail, None
    detail = "failed to fetch bot info"
    if isinstance(me, Unauthorized):
        advice = "ask @BotFather for the token; takopi config set transports.telegram.bot_token"
    elif isinstance(me, Transient):
        advice = f"{me.description}; see whether the network and `api_url` are right"
    else:
        advice = f"the server says: {getattr(me, 'description', '') or type(me).__name__}"
    return "telegram token", "error", detail, advice


def _chat(label: str, chat_id: int, chat: Result[ChatInfo]) -> Row:
    if isinstance(chat, Ok):
        return label, "ok", f"{chat.result.type} ({chat_id})", None
    advice = (
        "write to the bot there, or add it to the group; `takopi chat-id` shows a chat's number"
    )
    return label, "error", f"unreachable ({chat_id})", advice


def _access(settings: TelegramSettings, config_path: Path) -> Iterator[Row]:
    groups = open_groups(settings, _project_chats(config_path).values())
    if groups:
        detail = f"anyone in {', '.join(map(str, groups))} can run engines on this computer"
        advice = "list the ids of those who may: transports.telegram.allowed_user_ids"
        yield "access", "warning", detail, advice
    elif settings.allowed_user_ids:
        yield "access", "ok", f"restricted to {len(settings.allowed_user_ids)} user id(s)", None
    else:
        yield "access", "ok", "one private chat", None


def _state_files(config_path: Path) -> Iterator[Row]:
    for name in (OPEN_RUNS, SESSIONS):
        path = config_path.with_name(name)
        try:
            path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            detail = f"{path} cannot be read: {error.strerror}"
            yield "telegram state", "error", detail, "make it readable, or move it away"
