"""What every method of the fake Bot API gets, and the table they are entered in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tests.fake_telegram.clock import Clock
from tests.fake_telegram.params import ApiError, Params, bad_request
from tests.fake_telegram.state import Chat, State
from tests.fake_telegram.updates import UpdateQueue

MIB = 1024 * 1024


@dataclass
class Options:
    """Switches for what is uncertain, and limits that a test may want to reach sooner."""

    poll_loser: Literal["waiting", "new"] = "waiting"  # who gets the 409 when two polls meet
    same_topic_name_fails: bool = True
    strict_code: bool = False  # refuse a `code` over exactly the range of a `pre`
    strict_text: bool = False  # what Telegram would change without a word is a violation
    strict_reply: bool = False  # refuse the old reply_to_message_id
    implicit_topic_reply: bool = False  # topic messages reply to the topic's root
    legacy_forward_fields: bool = False
    privacy: bool = False  # a group's bot only sees what is meant for it
    upload_limit_bytes: int = 50 * MIB
    download_limit_bytes: int = 20 * MIB
    callback_lifetime_s: float = 15
    file_path_lifetime_s: float = 3600
    delete_age_limit_s: float | None = None  # 48 h in the real API


@dataclass
class Call:
    """One request as it came in, and what became of it. Times are monotonic seconds."""

    seq: int
    arrived: float
    method: str
    params: Params
    alive: Callable[[], bool]
    replied: float | None = None
    status: int | None = (
        None  # HTTP status; None while it runs, and when the connection was dropped
    )
    effect: str | None = None  # what it changed
    error: str | None = None
    fault: str | None = None
    authorization: str | None = None  # of a transcription

    @property
    def chat(self) -> int | None:
        value = str(self.params.values.get("chat_id", ""))
        return int(value) if re.fullmatch(r"-?\d+", value) else None

    def __str__(self) -> str:
        values = json.dumps(self.params.values, ensure_ascii=False, default=repr)
        outcome = self.error or self.effect or ("" if self.status else "no answer")
        fault = f" [{self.fault}]" if self.fault else ""
        return (
            f"#{self.seq} {self.method} {values[:200]} -> {self.status}{fault} {outcome}".rstrip()
        )


@dataclass
class Context:
    """What methods work on; ``violate`` reports what no client should ever do."""

    state: State
    queue: UpdateQueue
    clock: Clock
    options: Options
    violate: Callable[[str], None]


@dataclass(frozen=True)
class Method:
    """``counted`` ones fall under the rate limits."""

    run: Callable[[Context, Call], Any]
    parameters: frozenset[str]
    counted: bool = False


METHODS: dict[str, Method] = {}
Run = Callable[[Context, Call], Any]


def method(name: str, parameters: str = "", *, counted: bool = False) -> Callable[[Run], Run]:
    def register(run: Run) -> Run:
        METHODS[name] = Method(run, frozenset(parameters.split()), counted)
        return run

    return register


def open_chat(context: Context, params: Params) -> Chat:
    """The chat that a call is about, if the bot may act there."""
    raw = params.values.get("chat_id")
    if raw is None or raw == "":
        raise bad_request("chat_id is empty")
    named = isinstance(raw, str) and raw.startswith("@")
    chat = None if named else context.state.chats.get(params.integer("chat_id") or 0)
    if chat is None:
        raise bad_request("chat not found")
    if chat.migrated_to is not None:
        what = "group chat was upgraded to a supergroup chat"
        raise bad_request(what, migrate_to_chat_id=chat.migrated_to)
    if chat.bot_blocked:
        raise ApiError(403, "Forbidden: bot was blocked by the user")
    status = "member" if chat.kind == "private" else chat.member(context.state.bot.id).status
    if status == "kicked":
        raise ApiError(403, f"Forbidden: bot was kicked from the {chat.kind} chat")
    if status == "left":
        raise ApiError(403, f"Forbidden: bot is not a member of the {chat.kind} chat")
    return chat
