"""Updates: what the Bot API reports, read into what takopi handles.

Reading is lenient. A field of the wrong type is a missing field; only an update whose ids cannot be
read is of no use, and it never takes others with it.
Source: https://core.telegram.org/bots/api#update
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from takopi.logs import get_logger

ALLOWED_UPDATES = ("message", "callback_query")

Reason: TypeAlias = Literal[
    "undecodable",  # an id is missing or of the wrong type
    "unsupported",  # neither a message nor a button
    "empty",  # a service message, a sticker alone: nothing to work with
    "detached",  # the button of a message that is gone
    "chat",  # not one of our chats
    "sender",  # not one of our users
    "duplicate",
]

# Any of these says that somebody else wrote it; servers before Bot API 7.0 send only the old ones.
_FORWARD_FIELDS = (
    "forward_origin",
    "forward_from",
    "forward_from_chat",
    "forward_from_message_id",
    "forward_signature",
    "forward_sender_name",
    "forward_date",
    "is_automatic_forward",
)
_REMEMBERED_UPDATES = 4096
_REMEMBERED_MESSAGES = 2048

logger = get_logger(__name__)
_Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to upload. Photos and stickers have neither name nor MIME type."""

    file_id: str
    kind: Literal["document", "video", "photo", "sticker"]
    file_name: str | None = None
    mime_type: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice note."""

    file_id: str
    mime_type: str | None = None
    size_bytes: int | None = None
    duration_s: int | None = None


@dataclass(frozen=True, slots=True)
class RepliedTo:
    """The message that a message replies to."""

    message_id: int
    text: str | None = None
    sender_id: int | None = None
    sender_is_bot: bool = False
    sender_username: str | None = None
    attachment: Attachment | None = None


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A message with something to work with. ``text`` may be its caption.

    ``thread_id`` is that of a topic only: replies in ordinary groups carry a thread as well, which
    nothing can be sent to. ``date`` is Unix time.
    """

    chat_id: int
    message_id: int
    text: str = ""
    update_id: int | None = None
    chat_type: str | None = None
    is_forum: bool = False
    thread_id: int | None = None
    sender_id: int | None = None
    sender_username: str | None = None
    date: int | None = None
    reply_to: RepliedTo | None = None
    attachment: Attachment | None = None
    voice: Voice | None = None
    album_id: str | None = None
    is_forward: bool = False
    raw: _Json = field(default_factory=dict, compare=False, repr=False)

    @property
    def is_private(self) -> bool:
        """Whether only the sender and the bot are in the chat."""
        return self.chat_type == "private" if self.chat_type else self.chat_id > 0


@dataclass(frozen=True, slots=True)
class Callback:
    """A button that was pressed, and the message it is under."""

    callback_id: str
    chat_id: int
    message_id: int
    data: str | None = None
    update_id: int | None = None
    sender_id: int | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """An update that is dropped, and why. ``detail`` holds nothing anybody wrote."""

    reason: Reason
    detail: str = ""


Inbound: TypeAlias = InboundMessage | Callback


class _Undecodable(Exception):
    """Says which field is missing."""


# -- parsing -----------------------------------------------------------------------------------


def update_id_of(raw: object) -> int | None:
    """The id of an update, whatever the rest of it looks like."""
    return _int(raw, "update_id")


def parse_update(raw: object) -> Inbound | Ignored:
    """One decoded update: ``{"update_id": 1, "message": {…}}``. Never raises."""
    try:
        if isinstance(raw, dict) and "message" in raw:
            return _message(raw)
        if isinstance(raw, dict) and "callback_query" in raw:
            return _callback(raw)
    except _Undecodable as missing:
        return Ignored("undecodable", f"no usable `{missing}`")
    return Ignored("unsupported") if isinstance(raw, dict) else Ignored("undecodable", "no object")


def _message(raw: _Json) -> InboundMessage | Ignored:
    message = _object(raw, "message")
    if message is None:
        raise _Undecodable("message")
    chat = _object(message, "chat")
    sender = _object(message, "from")
    text = _str(message, "text") or _str(message, "caption") or ""
    in_topic = _flag(message, "is_topic_message")
    thread_id = _int(message, "message_thread_id") if in_topic else None
    found = InboundMessage(
        chat_id=_required_int(chat, "id", "message.chat.id"),
        message_id=_required_int(message, "message_id", "message.message_id"),
        text=text,
        update_id=update_id_of(raw),
        chat_type=_str(chat, "type"),
        is_forum=_flag(chat, "is_forum"),
        thread_id=thread_id,
        sender_id=_int(sender, "id"),
        sender_username=_str(sender, "username"),
        date=_int(message, "date"),
        reply_to=_reply(message, thread_id, text),
        attachment=_attachment(message, text),
        voice=_voice(message),
        album_id=_str(message, "media_group_id"),
        is_forward=any(message.get(name) for name in _FORWARD_FIELDS),
        raw=message,
    )
    if not text.strip() and found.attachment is None and found.voice is None:
        return Ignored("empty")
    return found


def _callback(raw: _Json) -> Callback | Ignored:
    query = _object(raw, "callback_query")
    callback_id = _str(query, "id")
    if callback_id is None:
        raise _Undecodable("callback_query.id")
    message = _object(query, "message")
    if message is None:
        return Ignored("detached")
    return Callback(
        callback_id=callback_id,
        chat_id=_required_int(_object(message, "chat"), "id", "callback_query.message.chat.id"),
        message_id=_required_int(message, "message_id", "callback_query.message.message_id"),
        data=_str(query, "data"),
        update_id=update_id_of(raw),
        sender_id=_int(_object(query, "from"), "id"),
    )


def _reply(message: _Json, thread_id: int | None, text: str) -> RepliedTo | None:
    """What a message replies to; clients let every message of a topic reply to the topic's root."""
    reply = _object(message, "reply_to_message")
    message_id = _int(reply, "message_id")
    if reply is None or message_id is None or message_id == thread_id:
        return None
    sender = _object(reply, "from")
    return RepliedTo(
        message_id=message_id,
        text=_str(reply, "text"),
        sender_id=_int(sender, "id"),
        sender_is_bot=_flag(sender, "is_bot"),
        sender_username=_str(sender, "username"),
        attachment=_attachment(reply, text),
    )


def _attachment(message: _Json, text: str) -> Attachment | None:
    """The file of a message; a sticker is one only when ``text`` asks for it."""
    for kind in ("document", "video"):
        file = _object(message, kind)
        file_id = _str(file, "file_id")
        if file_id is not None:
            return Attachment(
                file_id=file_id,
                kind=kind,
                file_name=_str(file, "file_name"),
                mime_type=_str(file, "mime_type"),
                size_bytes=_int(file, "file_size"),
            )
    sizes = message.get("photo")
    photos = [p for p in sizes if _str(p, "file_id")] if isinstance(sizes, list) else []
    if photos:
        best = max(photos, key=_photo_size)
        return Attachment(best["file_id"], "photo", size_bytes=_int(best, "file_size"))
    sticker = _object(message, "sticker")
    sticker_id = _str(sticker, "file_id")
    if sticker_id is not None and text.lstrip().lower().startswith("/file"):
        return Attachment(sticker_id, "sticker", size_bytes=_int(sticker, "file_size"))
    return None


def _photo_size(photo: _Json) -> int:
    """Bytes, else pixels."""
    size = _int(photo, "file_size")
    return size if size is not None else (_int(photo, "width") or 0) * (_int(photo, "height") or 0)


def _voice(message: _Json) -> Voice | None:
    voice = _object(message, "voice")
    file_id = _str(voice, "file_id")
    if file_id is None:
        return None
    return Voice(
        file_id=file_id,
        mime_type=_str(voice, "mime_type"),
        size_bytes=_int(voice, "file_size"),
        duration_s=_int(voice, "duration"),
    )


def _object(of: object, key: str) -> _Json | None:
    value = of.get(key) if isinstance(of, dict) else None
    return value if isinstance(value, dict) else None


def _str(of: object, key: str) -> str | None:
    value = of.get(key) if isinstance(of, dict) else None
    return value if isinstance(value, str) else None


def _int(of: object, key: str) -> int | None:
    value = of.get(key) if isinstance(of, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _flag(of: object, key: str) -> bool:
    return isinstance(of, dict) and of.get(key) is True


def _required_int(of: object, key: str, path: str) -> int:
    value = _int(of, key)
    if value is None:
        raise _Undecodable(path)
    return value


# -- what to let in ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Access:
    """Who is listened to, and where. No ``user_ids``: everybody in these chats."""

    chat_ids: frozenset[int]
    user_ids: frozenset[int] = frozenset()

    def refusal(self, update: Inbound) -> Ignored | None:
        """Why an update is not for us; None lets it in."""
        # A user's private chat has the id of the user.
        if update.chat_id not in self.chat_ids and update.chat_id not in self.user_ids:
            return Ignored("chat")
        if self.user_ids and update.sender_id not in self.user_ids:
            return Ignored("sender")
        return None


_T = TypeVar("_T", bound=Hashable)


class _Recent(Generic[_T]):
    """The last few items."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[_T, None] = OrderedDict()

    def add(self, item: _T) -> bool:
        """Remember an item; whether it is a new one."""
        if item in self._items:
            return False
        self._items[item] = None
        if len(self._items) > self._size:
            self._items.popitem(last=False)
        return True


class Intake:
    """The door: raw updates in, each message and button of our users out, once.

    ``access`` is asked for every update, so that a changed configuration counts at once.
    """

    def __init__(self, access: Callable[[], Access]) -> None:
        self._access = access
        self._updates: _Recent[int] = _Recent(_REMEMBERED_UPDATES)
        self._messages: _Recent[tuple[int, int]] = _Recent(_REMEMBERED_MESSAGES)

    def take(self, raw: object) -> Inbound | Ignored:
        """What to handle, or why there is nothing. Logs what cannot be read."""
        update_id = update_id_of(raw)
        if update_id is not None and not self._updates.add(update_id):
            return Ignored("duplicate", "update")
        update = self._admitted(raw)
        if isinstance(update, InboundMessage) and not self._is_new(update):
            update = Ignored("duplicate", "message")
        if isinstance(update, Ignored):
            self._note_move(raw)
            log = logger.warning if update.reason == "undecodable" else logger.debug
            log(
                "updates.ignored",
                update_id=update_id,
                reason=update.reason,
                detail=update.detail,
            )
        return update

    def is_wanted_message(self, raw: object) -> bool:
        """Whether one of our users wrote this; remembers nothing."""
        return isinstance(self._admitted(raw), InboundMessage)

    def _note_move(self, raw: object) -> None:
        """A group that became a supergroup has a new id, under which nobody here knows it."""
        message = _object(raw, "message")
        old_id, new_id = _int(_object(message, "chat"), "id"), _int(message, "migrate_to_chat_id")
        if new_id is not None and old_id in self._access().chat_ids:
            logger.warning(
                "updates.chat_migrated",
                old_chat_id=old_id,
                new_chat_id=new_id,
                help="put the new chat id into takopi.toml: until then it is not listened to",
            )

    def _is_new(self, message: InboundMessage) -> bool:
        """Whether no other update had the same message: redelivered, it would run twice."""
        return self._messages.add((message.chat_id, message.message_id))

    def _admitted(self, raw: object) -> Inbound | Ignored:
        update = parse_update(raw)
        if isinstance(update, Ignored):
            return update
        return self._access().refusal(update) or update
