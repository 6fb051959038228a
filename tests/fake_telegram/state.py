"""What the fake server knows: people, chats, topics, messages, files. Plain data and its JSON shapes.

Source: Bot API reference, "Available types".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.fake_telegram.rules import Entity

Json = dict[str, Any]
Kind = Literal["private", "group", "supergroup"]
Status = Literal["creator", "administrator", "member", "left", "kicked"]

ANONYMOUS_ADMIN = 1087968824


@dataclass(frozen=True)
class User:
    id: int
    first_name: str
    username: str | None = None
    is_bot: bool = False

    def to_api(self) -> Json:
        named = {"username": self.username} if self.username else {}
        return {"id": self.id, "is_bot": self.is_bot, "first_name": self.first_name} | named


@dataclass
class Member:
    status: Status = "member"
    can_manage_topics: bool = False

    @property
    def is_admin(self) -> bool:
        return self.status in ("creator", "administrator")


@dataclass
class Topic:
    """``root`` is its service message, whose id is the thread id."""

    thread: int
    name: str
    creator: User
    closed: bool = False
    deleted: bool = False


@dataclass
class File:
    """A file as users or the bot sent it; ``size`` may claim more than ``data`` holds."""

    file_id: str
    unique_id: str
    name: str | None
    data: bytes
    size: int
    mime_type: str | None = None
    path: str | None = None
    path_until: float = 0.0

    def to_api(self) -> Json:
        shown: Json = {
            "file_id": self.file_id,
            "file_unique_id": self.unique_id,
            "file_size": self.size,
        }
        if self.name:
            shown["file_name"] = self.name
        if self.mime_type:
            shown["mime_type"] = self.mime_type
        return shown


@dataclass(frozen=True)
class Edit:
    """What a message showed from ``at`` on."""

    at: float
    text: str
    entities: tuple[Entity, ...]
    markup: Json | None


@dataclass
class Message:
    """``extra`` holds the parts that are stored as the API shows them: media, forwards, service."""

    id: int
    chat: Chat
    date: int
    sender: User
    text: str = ""
    entities: list[Entity] = field(default_factory=list)
    reply_to: int | None = None
    thread: int | None = None
    is_topic: bool = False
    markup: Json | None = None
    silent: bool = False  # sent without sound
    sender_chat: Chat | None = None
    extra: Json = field(default_factory=dict)
    media: str | None = None
    service: bool = False
    by_bot: bool = False  # the bot under test
    edit_date: int | None = None
    deleted: bool = False
    history: list[Edit] = field(default_factory=list)
    reactions: list[Json] = field(default_factory=list)

    @property
    def buttons(self) -> list[Json]:
        rows = (self.markup or {}).get("inline_keyboard", [])
        return [button for row in rows for button in row]

    def note(self, now: float) -> None:
        """Remember what is shown from now on."""
        self.history.append(Edit(now, self.text, tuple(self.entities), self.markup))

    def to_api(self, *, nested: bool = False) -> Json:
        """The message as updates and results carry it; a nested one shows no further reply."""
        shown: Json = {
            "message_id": self.id,
            "from": self.sender.to_api(),
            "chat": self.chat.to_api(),
            "date": self.date,
        }
        if self.sender_chat is not None:
            shown["sender_chat"] = self.sender_chat.to_api()
        if self.thread is not None:
            shown["message_thread_id"] = self.thread
        if self.is_topic:
            shown["is_topic_message"] = True
        if self.edit_date is not None:
            shown["edit_date"] = self.edit_date
        target = None if self.reply_to is None or nested else self.chat.messages.get(self.reply_to)
        if target is not None and not target.deleted:
            shown["reply_to_message"] = target.to_api(nested=True)
        words = "caption" if self.media else "text"
        if self.text:
            shown[words] = self.text
        if self.entities:
            shown["caption_entities" if self.media else "entities"] = self.entities
        if self.markup:
            shown["reply_markup"] = self.markup
        return shown | self.extra


@dataclass
class Chat:
    id: int
    kind: Kind
    title: str
    user: User | None = None  # the other side of a private chat
    is_forum: bool = False
    members: dict[int, Member] = field(default_factory=dict)
    topics: dict[int, Topic] = field(default_factory=dict)
    messages: dict[int, Message] = field(default_factory=dict)
    migrated_to: int | None = None
    bot_blocked: bool = False  # a private chat whose user blocked the bot
    last_message_id: int = 0

    def to_api(self) -> Json:
        if self.user is not None:
            named = {"username": self.user.username} if self.user.username else {}
            return {"id": self.id, "type": self.kind, "first_name": self.user.first_name} | named
        forum = {"is_forum": True} if self.is_forum else {}
        return {"id": self.id, "type": self.kind, "title": self.title} | forum

    def next_id(self) -> int:
        self.last_message_id += 1
        return self.last_message_id

    def member(self, user_id: int) -> Member:
        """The membership of a user; that of a stranger is `left`."""
        return self.members.get(user_id) or Member("left")

    def visible(self) -> Iterator[Message]:
        """What people see, oldest first, without service messages."""
        return (m for m in self.messages.values() if not m.deleted and not m.service)

    def add(self, message: Message, now: float) -> Message:
        self.messages[message.id] = message
        message.note(now)
        return message

    def thread_of_reply(self, reply_to: int | None) -> tuple[int | None, bool]:
        """(message_thread_id, is_topic_message) of a message that answers another one."""
        target = self.messages.get(reply_to) if reply_to is not None else None
        if target is None or self.kind != "supergroup":
            return None, False
        if self.is_forum:
            return target.thread, target.is_topic
        return (target.thread if target.thread is not None else target.id), False


@dataclass
class CallbackQuery:
    """A pressed button; ``answer`` is what the bot said to it."""

    id: str
    at: float
    user: User
    message: Message
    data: str
    answer: Json | None = None

    def to_api(self) -> Json:
        gone = {"chat": self.message.chat.to_api(), "message_id": self.message.id, "date": 0}
        return {
            "id": self.id,
            "from": self.user.to_api(),
            "message": gone if self.message.deleted else self.message.to_api(),
            "chat_instance": str(abs(self.message.chat.id) * 7919),
            "data": self.data,
        }


@dataclass
class State:
    """Everything there is. The bot's commands are kept per (scope as JSON, language)."""

    bot: User
    users: dict[int, User] = field(default_factory=dict)
    chats: dict[int, Chat] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    callbacks: dict[str, CallbackQuery] = field(default_factory=dict)
    commands: dict[tuple[str, str], list[Json]] = field(default_factory=dict)
    webhook_url: str = ""

    def add_file(
        self, name: str | None, data: bytes, size: int | None = None, mime_type: str | None = None
    ) -> File:
        number = len(self.files) + 1
        size = len(data) if size is None else size
        file = File(f"FILE{number:05}-fake", f"U{number:05}", name, data, size, mime_type)
        self.files[file.file_id] = file
        return file

    def open_topic(self, chat: Chat, name: str, creator: User, date: int, now: float) -> Topic:
        """A new topic of a forum, with the service message that is its root."""
        root = Message(chat.next_id(), chat, date, creator, service=True)
        root.thread, root.is_topic = root.id, True
        root.extra = {"forum_topic_created": {"name": name, "icon_color": 0x6FB9F0}}
        chat.add(root, now)
        chat.topics[root.id] = topic = Topic(root.id, name, creator)
        return topic

    def find(self, wanted: Callable[[Message], bool]) -> Iterator[Message]:
        """Messages of all chats, deleted ones too."""
        return (m for chat in self.chats.values() for m in chat.messages.values() if wanted(m))
