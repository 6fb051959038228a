"""What the Bot API is told and what it answers, as values. Pure: `client` does the talking.

Every call ends in one `Result`. Source: Bot API reference, "Making requests"; the wordings by which
errors are told apart are those commonly seen, as the reference lists none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeAlias, TypeVar

from takopi.telegram.entities import fit, utf16_len

T = TypeVar("T")

ChatId: TypeAlias = int | str
Json: TypeAlias = dict[str, Any]

DEFAULT_RETRY_AFTER_S = 5.0
_SHORT = 500  # characters that no server can find too long
MAX_TEXT = 4096
"""UTF-16 units that a message may have."""

NO_PREVIEW: Json = {"is_disabled": True}


# -- results -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ok(Generic[T]):
    """It was done."""

    result: T


@dataclass(frozen=True, slots=True)
class RateLimited:
    """Too many requests: nothing was done, try again after ``seconds``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Unchanged:
    """An edit that changes nothing: as good as done."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The message to edit or delete is not there, or not ours."""


@dataclass(frozen=True, slots=True)
class ReplyTargetGone:
    """The message to reply to is not there."""


@dataclass(frozen=True, slots=True)
class ThreadGone:
    """The topic is not there."""


@dataclass(frozen=True, slots=True)
class TopicUnchanged:
    """A topic has that name already: as good as done."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """The group became a supergroup with a new id."""

    chat_id: int


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """There is no bot with this token."""

    description: str = ""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Somebody else polls with this token, or a webhook is set."""

    description: str = ""


@dataclass(frozen=True, slots=True)
class Forbidden:
    """The bot may not do that: it was blocked, or removed from the chat."""

    description: str = ""


@dataclass(frozen=True, slots=True)
class BadRequest:
    """The request cannot be fulfilled, now or later."""

    description: str = ""


@dataclass(frozen=True, slots=True)
class Transient:
    """Network or server trouble. With ``maybe_done`` the request may have had its effect."""

    description: str = ""
    maybe_done: bool = False


Failure: TypeAlias = (
    RateLimited
    | Unchanged
    | Gone
    | ReplyTargetGone
    | ThreadGone
    | TopicUnchanged
    | Migrated
    | Unauthorized
    | Conflict
    | Forbidden
    | BadRequest
    | Transient
)
Result: TypeAlias = Ok[T] | Failure

_SAYING: tuple[tuple[str, Failure], ...] = (
    ("message is not modified", Unchanged()),
    ("message to edit not found", Gone()),
    ("message to delete not found", Gone()),
    ("message can't be edited", Gone()),
    ("message to be replied not found", ReplyTargetGone()),
    ("replied message not found", ReplyTargetGone()),
    ("message thread not found", ThreadGone()),
    ("topic_deleted", ThreadGone()),
    ("topic_id_invalid", ThreadGone()),
    ("topic_not_modified", TopicUnchanged()),
)


def decode(status: int, body: bytes, read: Callable[[Any], T]) -> Result[T]:
    """The result of an answer with this HTTP status; ``read`` raises `ValueError` for a wrong shape."""
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError):
        envelope = None
    if not isinstance(envelope, dict) or not isinstance(envelope.get("ok"), bool):
        return _decode_stranger(status)
    if not envelope["ok"]:
        return _decode_error(status, envelope)
    if not 200 <= status < 300:
        return _decode_stranger(status)
    try:
        return Ok(read(envelope.get("result")))
    except ValueError as error:
        return Transient(f"unexpected result: {error}", maybe_done=True)


def _decode_stranger(status: int) -> Failure:
    """What an answer means that does not come from the Bot API, but from a proxy in front of it."""
    if status == 429:
        return RateLimited(DEFAULT_RETRY_AFTER_S)
    if status == 413:
        return BadRequest("the request is too large (HTTP 413)")
    # A proxy that waited in vain, or garbled the answer, had passed the request on.
    return Transient(f"HTTP {status}", maybe_done=status == 504 or 200 <= status < 300)


def _decode_error(status: int, envelope: Json) -> Failure:
    found = envelope.get("error_code")
    code = found if isinstance(found, int) else status
    said = envelope.get("description")
    description = said if isinstance(said, str) else f"error {code}"
    given = envelope.get("parameters")
    parameters: Json = given if isinstance(given, dict) else {}
    if code == 429 or status == 429:
        return RateLimited(_retry_after(parameters.get("retry_after")))
    if (new_id := _integer(parameters.get("migrate_to_chat_id"))) is not None:
        return Migrated(new_id)
    match code:
        case 400:
            words = description.lower()
            return next((f for text, f in _SAYING if text in words), BadRequest(description))
        case 401 | 404:  # 404: a token that cannot be one, or no Bot API at this address
            return Unauthorized(description)
        case 403:
            return Forbidden(description)
        case 409:
            return Conflict(description)
        case _ if 400 <= code < 500:
            return BadRequest(description)
    return Transient(description, maybe_done=code == 504)


def _retry_after(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return DEFAULT_RETRY_AFTER_S
    try:
        seconds = float(value)
    except OverflowError:
        return DEFAULT_RETRY_AFTER_S
    return max(0.0, seconds) if math.isfinite(seconds) else DEFAULT_RETRY_AFTER_S


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# -- what is asked -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A message to send. ``thread_id`` is that of a topic; other threads have none for us.

    ``markup`` is a ``reply_markup``; None leaves it out, which for an edit removes the buttons.
    """

    chat_id: ChatId
    text: str
    entities: Sequence[Mapping[str, Any]] = ()
    markup: Mapping[str, Any] | None = None
    reply_to: int | None = None
    thread_id: int | None = None
    silent: bool = False

    def to_send(self) -> Json:
        """Parameters of ``sendMessage``."""
        return without_none(
            chat_id=self.chat_id,
            text=self.text,
            disable_notification=self.silent,
            link_preview_options=NO_PREVIEW,
            reply_parameters=reply_parameters(self.reply_to),
            message_thread_id=self.thread_id,
            entities=list(self.entities) or None,
            reply_markup=self.markup,
        )

    def to_edit(self, message_id: int) -> Json:
        """Parameters of ``editMessageText``."""
        return without_none(
            chat_id=self.chat_id,
            message_id=message_id,
            text=self.text,
            link_preview_options=NO_PREVIEW,
            entities=list(self.entities) or None,
            reply_markup=self.markup,
        )


def reply_parameters(reply_to: int | None) -> Json | None:
    """The message is sent also if the one it replies to is gone."""
    if reply_to is None:
        return None
    return {"message_id": reply_to, "allow_sending_without_reply": True}


def without_none(**parameters: Any) -> Json:
    """The parameters that are there: the Bot API wants the others left out."""
    return {name: value for name, value in parameters.items() if value is not None}


def adapt(post: Post, refused: Failure) -> Post | None:
    """The message in the next simpler form that may be accepted; None if there is none.

    A lost reply, topic, formatting, button or half is better than a lost text.
    """
    simpler = post
    match refused:
        case BadRequest(said) if "too long" in said.lower() and len(post.text) > _SHORT:
            half = post.text[: fit(post.text, 0, utf16_len(post.text) // 2)]
            simpler = replace(post, text=half + "…", entities=())
        case ReplyTargetGone():
            simpler = replace(post, reply_to=None)
        case ThreadGone():
            simpler = replace(post, thread_id=None)
        case BadRequest() if post.entities:
            simpler = replace(post, entities=())
        case BadRequest():
            simpler = replace(post, markup=None, reply_to=None)
    return simpler if simpler != post else None


# -- what is answered --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message of ours in its chat; ``thread_id`` only if that is a topic."""

    chat_id: int
    message_id: int
    thread_id: int | None = None


@dataclass(frozen=True, slots=True)
class BotUser:
    """The bot itself."""

    id: int
    username: str | None
    first_name: str | None
    can_read_all_group_messages: bool = False


@dataclass(frozen=True, slots=True)
class ChatInfo:
    """A chat; ``type`` is ``private``, ``group``, ``supergroup`` or ``channel``."""

    id: int
    type: str
    title: str | None = None
    username: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    is_forum: bool = False


@dataclass(frozen=True, slots=True)
class Membership:
    """Somebody's place in a chat; ``status`` is ``creator``, ``administrator``, ``left`` …"""

    status: str
    can_manage_topics: bool = False


def read_sent(value: Any) -> SentMessage:
    """A ``Message`` of ours."""
    message = _object(value, "a message")
    thread_id = _integer(message.get("message_thread_id"))
    return SentMessage(
        chat_id=_number(_object(message.get("chat"), "a chat"), "id"),
        message_id=_number(message, "message_id"),
        thread_id=thread_id if message.get("is_topic_message") is True else None,
    )


def read_bot(value: Any) -> BotUser:
    """A ``User``."""
    user = _object(value, "a user")
    reads_all = user.get("can_read_all_group_messages") is True
    return BotUser(
        _number(user, "id"), _text(user, "username"), _text(user, "first_name"), reads_all
    )


def read_chat(value: Any) -> ChatInfo:
    """A ``Chat``."""
    chat = _object(value, "a chat")
    return ChatInfo(
        id=_number(chat, "id"),
        type=_text(chat, "type") or "",
        title=_text(chat, "title"),
        username=_text(chat, "username"),
        first_name=_text(chat, "first_name"),
        last_name=_text(chat, "last_name"),
        is_forum=chat.get("is_forum") is True,
    )


def read_membership(value: Any) -> Membership:
    """A ``ChatMember``."""
    member = _object(value, "a chat member")
    status = _text(member, "status")
    if status is None:
        raise ValueError("a chat member without `status`")
    return Membership(status, member.get("can_manage_topics") is True)


def read_topic(value: Any) -> int:
    """The thread id of a ``ForumTopic``."""
    return _number(_object(value, "a topic"), "message_thread_id")


def read_file_path(value: Any) -> str:
    """The path of a ``File``."""
    path = _text(_object(value, "a file"), "file_path")
    if not path:
        raise ValueError("a file without `file_path`")
    return path


def read_webhook(value: Any) -> str:
    """The address in a ``WebhookInfo``; empty if none is set."""
    return _text(_object(value, "a webhook"), "url") or ""


def read_updates(value: Any) -> list[Any]:
    """Updates as they came: each is decoded by itself later, so that one cannot spoil the others."""
    if not isinstance(value, list):
        raise ValueError("updates that are no list")
    return value


def read_true(value: Any) -> bool:
    """``True``, or anything else that the server says when it is done."""
    return bool(value)


def _object(value: Any, what: str) -> Json:
    if not isinstance(value, dict):
        raise ValueError(f"{what} that is no object")
    return value


def _number(found: Json, key: str) -> int:
    number = _integer(found.get(key))
    if number is None:
        raise ValueError(f"no number in `{key}`")
    return number


def _text(found: Json, key: str) -> str | None:
    value = found.get(key)
    return value if isinstance(value, str) else None
