"""Whom a message is for: commands with a bot's name, mentions, replies, and the trigger mode.

Mentions are looked for in the text. Telegram makes an entity of ``@name`` exactly where no letter,
digit or underscore touches it, so the entities would say the same.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from takopi.telegram.updates import InboundMessage

TriggerMode: TypeAlias = Literal["all", "mentions"]

# An alias may hold more than Telegram allows in commands, but no slash: `/usr/bin` is a path.
_COMMAND = re.compile(r"\s*/([^\s/@]+)(?:@(\S*))?(?!\S)")
_USERNAME = re.compile(r"[a-z][a-z0-9_]{3,31}")


@dataclass(frozen=True, slots=True)
class BotIdentity:
    """Who we are; what is not known is None. ``username`` has no ``@``."""

    id: int | None = None
    username: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """``/name@addressee rest``; names are in lower case, ``rest`` is as it was written."""

    name: str
    addressee: str | None = None
    rest: str = ""


def parse_command(text: str) -> Command | None:
    """The command a message begins with, known or not."""
    found = _COMMAND.match(text)
    if found is None:
        return None
    name, addressee = found.groups()
    return Command(name.lower(), (addressee or "").lower() or None, text[found.end() :].strip())


def is_for_another_bot(text: str, bot: BotIdentity) -> bool:
    """Whether a message begins with a command that is addressed to somebody else.

    As long as our own name is not known, none is.
    """
    command = parse_command(text)
    if command is None or command.addressee is None or bot.username is None:
        return False
    if _USERNAME.fullmatch(command.addressee) is None:
        return False  # `/package@1.2 is broken`
    return command.addressee != bot.username.lower()


def effective_mode(topic: TriggerMode | None, chat: TriggerMode | None) -> TriggerMode:
    """The mode of a topic, else of its chat, else ``all``; a topic's ``all`` overrides its chat."""
    return topic or chat or "all"


def invokes(message: InboundMessage, bot: BotIdentity, words: Container[str]) -> bool:
    """Whether a message asks for this bot, which in ``mentions`` mode it must.

    ``words``, in lower case: what a message may begin with after its ``/``, that is built-in and
    plugin commands, engines that are available, and projects.
    """
    if is_for_another_bot(message.text, bot):
        return False
    command = parse_command(message.text)
    if command is not None and (command.name in words or _is_us(command.addressee, bot)):
        return True
    return is_mentioned(message.text, bot) or replies_to_us(message, bot)


def is_mentioned(text: str, bot: BotIdentity) -> bool:
    """Whether ``@<our name>`` stands in a text, in any letter case."""
    return bot.username is not None and _mention(bot.username).search(text) is not None


def without_mention(text: str, bot: BotIdentity) -> str:
    """A text without our name, which at its beginning would be taken for a branch."""
    if bot.username is None or not is_mentioned(text, bot):
        return text
    mention = _mention(bot.username)
    rest = mention.sub(_close_gap, text).strip()
    # `@bot, do this` and `@bot: do this`
    return rest.lstrip(",:").lstrip() if mention.match(text.lstrip()) else rest


def _close_gap(found: re.Match[str]) -> str:
    """What is left between the words around a mention: one of the two blanks, or none."""
    before, after = found.group("before"), found.group("after")
    return before if before and after else ""


def _is_us(name: str | None, bot: BotIdentity) -> bool:
    return name is not None and bot.username is not None and name.lower() == bot.username.lower()


def replies_to_us(message: InboundMessage, bot: BotIdentity) -> bool:
    """Whether a message replies to one of this bot's."""
    reply = message.reply_to
    if reply is None:
        return False
    if bot.id is not None and reply.sender_id is not None:
        return reply.sender_id == bot.id
    if bot.username is not None:
        return _is_us(reply.sender_username, bot)
    return reply.sender_is_bot  # nobody told us who we are: better an answer too many


@lru_cache(maxsize=4)
def _mention(username: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?P<before>[ \t]?)(?<!\w)@{re.escape(username)}(?!\w)(?P<after>[ \t]?)", re.IGNORECASE
    )
