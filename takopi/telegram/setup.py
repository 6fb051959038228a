"""The small set-up in a terminal: a token, a chat, and who may write there.

Ctrl-C, and the end of the input, break it off; until the last step nothing is written.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import anyio

from takopi.config import (
    display_path,
    ensure_table,
    load_config,
    load_or_init_config,
    validate_settings_data,
    write_config,
)
from takopi.config.settings import MAIN_TRANSPORT
from takopi.config.store import exists
from takopi.errors import ConfigError
from takopi.lockfile import lock_holder
from takopi.telegram.client import DEFAULT_API_URL, BotClient
from takopi.telegram.polling import Poller, poller_of
from takopi.telegram.updates import InboundMessage, parse_update
from takopi.telegram.wire import BotUser, Ok, Result

_ASK_S = 15.0


def set_up(path: Path, *, force: bool) -> bool:
    """Ask for what is missing and write it; False if that was broken off. Raises `ConfigError`."""
    if not force and exists(path) and _is_complete(path):
        print(f"config already exists at {display_path(path)}. use --onboard to reconfigure.")
        return True
    load_or_init_config(path)  # before anything is asked: a file that cannot be read is not written
    try:
        return _ask_all(path)
    except (EOFError, KeyboardInterrupt):
        print()
        return False


def ask_token(api_url: str) -> str | None:
    """A token that the Bot API accepts; None if the user gives up."""
    print("  message @BotFather and send /newbot; the token looks like 123456789:ABCdef...")
    while True:
        token = getpass.getpass("paste your bot token: ").strip()
        if not token:
            print("  token cannot be empty")
            continue
        print("  validating...")
        me = anyio.run(_get_me, token, api_url)
        if isinstance(me, Ok):
            name = f"@{me.result.username}" if me.result.username else me.result.first_name
            print(f"  connected to {name or 'your bot'}")
            return token
        print("  failed to connect, check the token and try again")
        if not _confirm("try again?", default=True):
            return None


def capture_chat(token: str, api_url: str, config_path: Path) -> InboundMessage:
    """A message from the chat that the user wants, who is asked about everybody's who writes.

    Raises `ConfigError` while takopi runs, which would get the message, and for a webhook.
    """
    _refuse_while_running(token, config_path)
    print("  open a chat with the bot, or a group that it is in, and send /start")
    print("  waiting for message...")
    while True:
        for message in anyio.run(_next_messages, token, api_url):
            print(f"  got chat_id {message.chat_id} for {_describe_chat(message)}")
            if _confirm(f"  written by {_describe_sender(message)}; use this chat?", default=True):
                return message
        print("  waiting for another message...")


def _refuse_while_running(token: str, config_path: Path) -> None:
    """Two who fetch a bot's messages take them from each other, whatever file each was started with."""
    try:
        holder = lock_holder(config_path) or poller_of(token)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise ConfigError(
            f"cannot tell whether takopi is running and takes the messages: {error.strerror}{where}"
        ) from error
    if holder is not None:
        raise ConfigError(
            f"takopi is running (process {holder}) and takes the messages; end it first"
        )


def _allow(table: MutableMapping[str, Any], user_id: int) -> None:
    """Let somebody use the bot, and nobody who was not listed before."""
    allowed = table.setdefault("allowed_user_ids", [])
    # What is no list is left as it is: the check of the settings says so.
    if isinstance(allowed, list) and user_id not in allowed:
        allowed.append(user_id)


def configured_api_url(path: Path) -> str:
    """The server to ask, also while the other settings are not complete."""
    try:
        data = load_config(path).data
    except ConfigError:
        return DEFAULT_API_URL
    url = _table(_table(data, "transports"), MAIN_TRANSPORT).get("api_url", DEFAULT_API_URL)
    return url.strip() if isinstance(url, str) else DEFAULT_API_URL


# -- the steps -------------------------------------------------------------------------------------


def _ask_all(path: Path) -> bool:
    api_url = configured_api_url(path)
    print("step 1: bot token")
    token = ask_token(api_url)
    if token is None:
        return False
    print("step 2: connect chat")
    chat_id = _ask_chat_id()
    user_id = chat_id  # a private chat has the number of its user
    if chat_id is None:
        message = capture_chat(token, api_url, path)
        chat_id, user_id = message.chat_id, message.sender_id
    print("step 3: save config")
    if not _confirm(f"save config to {display_path(path)}?", default=True):
        return False
    data, _ = load_or_init_config(path)
    transports = ensure_table(data, "transports", config_path=path)
    table = ensure_table(
        transports, MAIN_TRANSPORT, config_path=path, label=f"transports.{MAIN_TRANSPORT}"
    )
    data["transport"] = MAIN_TRANSPORT
    table["bot_token"] = token
    table["chat_id"] = chat_id
    if user_id is not None and user_id > 0:
        _allow(table, user_id)
    validate_settings_data(data, config_path=path)
    write_config(data, path)
    if not table.get("allowed_user_ids"):
        print(f"  anyone in {chat_id} can run engines on this computer: list those who may in")
        print(f"  transports.{MAIN_TRANSPORT}.allowed_user_ids")
    print("✓ setup complete. starting takopi...")
    return True


def _ask_chat_id() -> int | None:
    """A chat's number; None to wait for a message from it."""
    while True:
        answer = input("chat id, or Enter to wait for a message from the chat: ").strip()
        if not answer:
            return None
        try:
            return int(answer)
        except ValueError:
            print("  a chat id is a number, of a group with a - in front")


def _is_complete(path: Path) -> bool:
    try:
        load_config(path).settings.transport_config(MAIN_TRANSPORT, config_path=path)
    except ConfigError:
        return False
    return True


def _confirm(question: str, *, default: bool) -> bool:
    choices = "Y/n" if default else "y/N"
    answer = input(f"{question} [{choices}] ").strip().lower()
    return answer in ("y", "yes") if answer else default


def _table(of: Any, key: str) -> dict[str, Any]:
    value = of.get(key)
    return value if isinstance(value, dict) else {}


# -- the bot ---------------------------------------------------------------------------------------


async def _get_me(token: str, api_url: str) -> Result[BotUser]:
    async with BotClient(token, api_url=api_url, timeout_s=_ASK_S) as bot:
        return await bot.get_me()


async def _next_messages(token: str, api_url: str) -> list[InboundMessage]:
    """The next messages that people send: a whole batch, for the first need not be the right one."""
    found: list[InboundMessage] = []
    async with BotClient(token, api_url=api_url) as bot:
        poller = Poller(bot)
        await poller.drain(lambda raw: False)
        with anyio.CancelScope() as scope:

            async def take(raw: object) -> None:
                message = parse_update(raw)
                if isinstance(message, InboundMessage) and not _is_by_bot(message):
                    found.append(message)
                    scope.cancel()  # takes effect where the poller waits: after the batch

            await poller.run(take)
        with anyio.move_on_after(_ASK_S):
            await poller.drain(lambda raw: False)  # or the next start would count them as missed
    return list(_one_per_chat_and_sender(found))


def _one_per_chat_and_sender(messages: list[InboundMessage]) -> Iterator[InboundMessage]:
    seen = set()
    for message in messages:
        key = (message.chat_id, message.sender_id)
        if key not in seen:
            seen.add(key)
            yield message


def _is_by_bot(message: InboundMessage) -> bool:
    return _table(message.raw, "from").get("is_bot") is True


def _describe_chat(message: InboundMessage) -> str:
    if message.is_private:
        return "a private chat"
    kind = message.chat_type or "group"
    title = _shown(_table(message.raw, "chat").get("title"))
    return f'{kind} "{title}"' if title else kind


def _describe_sender(message: InboundMessage) -> str:
    sender = _table(message.raw, "from")
    names = [_shown(sender.get("first_name")), _shown(sender.get("last_name"))]
    parts = [" ".join(name for name in names if name)]
    if message.sender_username:
        parts.append(f"@{_shown(message.sender_username)}")
    if message.sender_id is not None:
        parts.append(f"id {message.sender_id}")
    return ", ".join(part for part in parts if part) or "somebody unknown"


def _shown(name: object) -> str:
    """A name that cannot move or turn what else is in the line: anybody can have any."""
    return "".join(c for c in name if c.isprintable()) if isinstance(name, str) else ""
