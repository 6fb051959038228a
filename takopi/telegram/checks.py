"""What `takopi doctor` says about Telegram."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import anyio

from takopi.config import TelegramSettings, display_path, load_config
from takopi.errors import ConfigError
from takopi.lockfile import lock_holder
from takopi.telegram.client import BotClient
from takopi.telegram.open_runs import FILE_NAME as OPEN_RUNS
from takopi.telegram.polling import DELETE_WEBHOOK, poller_of
from takopi.telegram.sessions import FILE_NAME as SESSIONS
from takopi.telegram.startup import not_there_yet, open_groups
from takopi.telegram.wire import (
    BotUser,
    ChatInfo,
    Failure,
    Ok,
    RateLimited,
    Result,
    Transient,
    Unauthorized,
)

Row: TypeAlias = tuple[str, Literal["ok", "warning", "error"], str, str | None]
"""Label, state, detail, advice."""

_ASK_S = 10.0
_SKIPPED = "skipped (token invalid)"
_FEATURES = {
    "topics": "topics",
    "file transfer": "files",
    "voice transcription": "voice_transcription",
}
"""What is switched on and off, by the label of its row."""


@dataclass(slots=True)
class _Answers:
    """What the Bot API says; of a token that it does not accept only that."""

    me: Result[BotUser]
    webhook: Result[str] | None = None
    chats: list[tuple[str, int, Result[ChatInfo]]] = field(default_factory=list)


def checks(settings: TelegramSettings, config_path: Path) -> Iterator[Row]:
    """The bot, its chats, who may use it, and the files it keeps."""
    try:
        project_chats = _project_chats(config_path)
        answers = anyio.run(_ask, settings, {"chat_id": settings.chat_id, **project_chats})
    except ConfigError as error:  # an address that is none
        yield "telegram", "error", str(error), None
        return
    yield _token(answers.me)
    if answers.webhook is not None:
        yield _webhook(answers.webhook)
    for label, chat_id, chat in answers.chats:
        yield _chat(label, chat_id, chat)
    valid = isinstance(answers.me, Ok)
    if not valid:
        yield "chat_id", "error", _SKIPPED, None
    yield _access(settings, project_chats.values())
    yield from _lock(settings, config_path)
    yield from _features(settings, token_valid=valid)
    yield from _state_files(config_path)


async def _ask(settings: TelegramSettings, chats: dict[str, int]) -> _Answers:
    async with BotClient(settings.bot_token, api_url=settings.api_url, timeout_s=_ASK_S) as bot:
        answers = _Answers(await bot.get_me())
        if isinstance(answers.me, Ok):
            answers.webhook = await bot.get_webhook_info()
            for label, chat_id in chats.items():
                answers.chats.append((label, chat_id, await bot.get_chat(chat_id)))
        return answers


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
        advice = f"the server says: {_said(me)}"
    return "telegram token", "error", detail, advice


def _webhook(webhook: Result[str]) -> Row:
    if not isinstance(webhook, Ok):
        detail = f"cannot be asked for: {_said(webhook)}"
        return (
            "webhook",
            "warning",
            detail,
            "try again later: while one is set, nothing is received",
        )
    if not webhook.result:
        return "webhook", "ok", "none", None
    try:
        host = urlsplit(webhook.result).hostname  # only that: the rest may hold the token
    except ValueError:
        host = None
    detail = f"messages go to {host or 'a server'}, so takopi gets none"
    return "webhook", "error", detail, DELETE_WEBHOOK


def _chat(label: str, chat_id: int, chat: Result[ChatInfo]) -> Row:
    if isinstance(chat, Ok) and chat.result.id != chat_id:
        advice = f"takopi config set {_key(label)} {chat.result.id}"
        return label, "error", f"the chat {chat_id} is now {chat.result.id}", advice
    if isinstance(chat, Ok):
        return label, "ok", f"{chat.result.type} ({chat_id})", None
    if isinstance(chat, Transient | RateLimited):
        advice = f"try again later: {_said(chat)}"
    else:
        advice = (
            "write to the bot there, or add it to the group; `takopi chat-id` shows a chat's number"
        )
    return label, "error", f"unreachable ({chat_id})", advice


def _key(label: str) -> str:
    return f"transports.telegram.{label}" if label == "chat_id" else label


def _said(failure: Failure) -> str:
    return getattr(failure, "description", "") or type(failure).__name__


def _access(settings: TelegramSettings, project_chats: Iterable[int]) -> Row:
    groups = open_groups(settings, project_chats)
    if groups:
        detail = f"anyone in {', '.join(map(str, groups))} can run engines on this computer"
        advice = "list the ids of those who may: transports.telegram.allowed_user_ids"
        return "access", "warning", detail, advice
    if settings.allowed_user_ids:
        return "access", "ok", f"restricted to {len(settings.allowed_user_ids)} user id(s)", None
    chats = len({settings.chat_id, *project_chats})
    return "access", "ok", "one private chat" if chats == 1 else f"{chats} private chats", None


def _lock(settings: TelegramSettings, config_path: Path) -> Iterator[Row]:
    """Who else has the bot; doctor itself looks at the lock of the configuration."""
    label = "telegram lock"
    try:
        holder = poller_of(settings.bot_token)
        if holder is not None and holder != lock_holder(config_path):
            detail = f"process {holder} uses this bot, with another configuration"
            yield label, "warning", detail, "end it before takopi is started with this one"
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        yield label, "error", f"{error.strerror}{where}", "make it readable"


def _features(settings: TelegramSettings, *, token_valid: bool) -> Iterator[Row]:
    missing = not_there_yet(settings)
    for label, name in _FEATURES.items():
        if label == "topics" and not token_valid:
            yield label, "error", _SKIPPED, None
        elif name in missing:
            yield label, "warning", "not there yet", "switch it off until then"
        else:
            yield label, "ok", "disabled", None


def _state_files(config_path: Path) -> Iterator[Row]:
    label, problems = "telegram state", False
    for name in (OPEN_RUNS, SESSIONS):
        path = config_path.with_name(name)
        shown = display_path(path)
        try:
            understood = isinstance(json.loads(path.read_bytes()), dict)
        except FileNotFoundError:
            continue
        except OSError as error:
            detail = f"{shown} cannot be read: {error.strerror}"
            yield label, "error", detail, "make it readable, or move it away"
            problems = True
            continue
        except (ValueError, RecursionError):
            understood = False
        if not understood:
            advice = f"nothing to do: it will be kept as {name}.bad-<time>, and a new one begun"
            yield label, "warning", f"{shown} is damaged", advice
            problems = True
    if not problems:
        yield label, "ok", "its files can be read", None
