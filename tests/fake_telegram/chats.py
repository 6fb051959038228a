"""Chats from the side of the people in them: what they type, press and see."""

from __future__ import annotations

import mimetypes
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from tests.fake_telegram.rules import Entity, found_entities, units
from tests.fake_telegram.state import (
    ANONYMOUS_ADMIN,
    CallbackQuery,
    Chat,
    Edit,
    File,
    Json,
    Member,
    Message,
    Topic,
    User,
)

if TYPE_CHECKING:
    from tests.fake_telegram.driver import Driver

CLIENT_LIMIT = 4096  # units after which a user's client cuts a text


@dataclass(frozen=True)
class View:
    """What people see of one message; for comparing."""

    id: int
    by: str
    text: str
    entities: tuple[Entity, ...] = field(default=(), hash=False)
    buttons: tuple[str, ...] = ()
    reply_to: int | None = None
    thread: int | None = None
    silent: bool = False
    media: str | None = None

    def __str__(self) -> str:
        reply = f" (to {self.reply_to})" if self.reply_to else ""
        media = f" <{self.media}>" if self.media else ""
        buttons = "".join(f" [{label}]" for label in self.buttons)
        thread = f" #{self.thread}" if self.thread else ""
        return f"{self.id:>4} {self.by}{thread}{reply}:{media} {self.text}{buttons}"


@dataclass(frozen=True)
class Shown:
    """One message as people have it before them; it changes when the message does."""

    room: Room
    message: Message

    @property
    def id(self) -> int:
        return self.message.id

    @property
    def text(self) -> str:
        return self.message.text

    @property
    def entities(self) -> list[Entity]:
        return self.message.entities

    @property
    def buttons(self) -> list[str]:
        return [button["text"] for button in self.message.buttons]

    @property
    def deleted(self) -> bool:
        return self.message.deleted

    @property
    def history(self) -> list[Edit]:
        """Everything it has shown so far, with times."""
        return self.message.history

    @property
    def view(self) -> View:
        m = self.message
        by = "bot" if m.by_bot else m.sender.first_name
        buttons = tuple(self.buttons)
        entities = tuple(m.entities)
        return View(m.id, by, m.text, entities, buttons, m.reply_to, m.thread, m.silent, m.media)

    def press(self, button: str = "", by: User | None = None) -> CallbackQuery:
        """Press a button, named by its text or its data; the only one if not named."""
        return self.room.press(self, button, by)


@dataclass(frozen=True)
class Room:
    """One chat. Whoever acts is ``by``; in a private chat it is its user."""

    driver: Driver
    chat: Chat

    @property
    def id(self) -> int:
        return self.chat.id

    # What people do

    def send(
        self,
        text: str,
        *,
        by: User | None = None,
        reply_to: Shown | int | None = None,
        thread: Thread | None = None,
        entities: Sequence[Entity] | None = None,
        anonymous: bool = False,
    ) -> Shown:
        """Type a message. Commands and mentions get their entities unless some are given."""
        with self.driver.api.changed:
            message = self._message(by, reply_to, thread, anonymous)
            message.text = text
            message.entities = found_entities(text) if entities is None else list(entities)
            return self._deliver(message)

    def send_long(self, text: str, *, by: User | None = None) -> list[Shown]:
        """Type more than fits: the client cuts it into messages that arrive one after the other."""
        pieces, piece, size = [], "", 0
        for char in text:
            if size + units(char) > CLIENT_LIMIT:
                pieces.append(piece)
                piece, size = "", 0
            piece, size = piece + char, size + units(char)
        return [self.send(part, by=by) for part in [*pieces, piece] if part]

    def file(
        self,
        kind: Literal["document", "photo", "video", "sticker", "voice"],
        data: bytes,
        *,
        name: str | None = None,
        caption: str = "",
        size: int | None = None,
        about: Json | None = None,
        **where: Any,
    ) -> Shown:
        """Send a file; ``by``, ``reply_to`` and ``thread`` as for `send`.

        ``size`` is what Telegram says about it, if not the truth; ``about`` adds to the message.
        """
        with self.driver.api.changed:
            message = self._message(**where)
            message.text, message.media = caption, kind
            message.entities = found_entities(caption)
            mime_type = mimetypes.guess_type(name)[0] if name and kind == "document" else None
            file = self.driver.api.state.add_file(name, data, size, mime_type)
            message.extra = {kind: self._media(kind, file)} | (about or {})
            return self._deliver(message)

    def document(self, name: str, data: bytes, **options: Any) -> Shown:
        """Send a document; options as for `file`."""
        return self.file("document", data, name=name, **options)

    def voice(self, transcript: str | None = None, **options: Any) -> Shown:
        """Send a voice note; the transcription service hears ``transcript``, if any."""
        data = b"OggS" + str(next(self.driver.api.numbers)).encode()
        if transcript is not None:
            self.driver.api.transcripts[data] = transcript
        return self.file("voice", data, **options)

    def album(
        self,
        files: Sequence[tuple[str, bytes]],
        *,
        kind: Literal["document", "photo", "video"] = "photo",
        caption: str = "",
        by: User | None = None,
    ) -> list[Shown]:
        """Send several files at once; the first carries the caption."""
        album = {"media_group_id": f"{next(self.driver.api.numbers):017}"}
        captions = [caption, *[""] * len(files)]
        return [
            self.file(kind, data, name=name, caption=words, about=album, by=by)
            for (name, data), words in zip(files, captions, strict=False)
        ]

    def forward(
        self, texts: Sequence[Shown | str], *, comment: str | None = None, by: User | None = None
    ) -> list[Shown]:
        """Forward messages, or texts of somebody unknown; the comment comes first."""
        sent = [] if comment is None else [self.send(comment, by=by)]
        with self.driver.api.changed:
            for item in texts:
                message = self._message(by)
                message.text = item if isinstance(item, str) else item.text
                message.extra = self._forwarded(item)
                sent.append(self._deliver(message))
        return sent

    def edit(self, shown: Shown, text: str) -> None:
        """Change one's own message."""
        with self.driver.api.changed:
            shown.message.text, shown.message.entities = text, found_entities(text)
            shown.message.edit_date = self.driver.api.clock.date()
            shown.message.note(time.monotonic())
            self._push("edited_message", shown.message)

    def delete(self, shown: Shown) -> None:
        """Delete anybody's message. Bots are not told."""
        with self.driver.api.changed:
            shown.message.deleted = True
            self.driver.api.changed.notify_all()

    def press(self, shown: Shown, button: str = "", by: User | None = None) -> CallbackQuery:
        with self.driver.api.changed:
            buttons = shown.message.buttons
            chosen = [
                b for b in buttons if not button or button in (b["text"], b.get("callback_data"))
            ]
            assert len(chosen) == 1, f"no single button {button!r} in {shown.view}"
            state = self.driver.api.state
            now = self.driver.api.clock.now()
            query = CallbackQuery(
                f"{next(self.driver.api.numbers):019}",
                now,
                self._user(by),
                shown.message,
                chosen[0]["callback_data"],
            )
            state.callbacks[query.id] = query
            self.driver.push("callback_query", query.to_api())
            return query

    def topic(self, name: str, by: User | None = None) -> Thread:
        """Open a topic; the bot does if nobody else is named."""
        api = self.driver.api
        with api.changed:
            creator = by or api.bot
            topic = api.state.open_topic(
                self.chat, name, creator, api.clock.date(), time.monotonic()
            )
            root = self.chat.messages[topic.thread]
            if creator != api.bot:
                self._push("message", root)
            return Thread(self, topic)

    def set_member(self, user: User, member: Member) -> None:
        """Promote, degrade, remove or invite somebody, the bot included."""
        with self.driver.api.changed:
            self.chat.members[user.id] = member

    def block_bot(self, blocked: bool = True) -> None:
        """The user of a private chat stops the bot, or starts it again."""
        with self.driver.api.changed:
            self.chat.bot_blocked = blocked

    def upgrade(self, by: User | None = None) -> Room:
        """Make a supergroup of a group: it gets a new id, and calls to the old one fail."""
        api = self.driver.api
        with api.changed:
            new = replace(
                self.chat,
                id=-1_000_000_000_000 + self.chat.id,
                kind="supergroup",
                messages={},
                last_message_id=0,
            )
            api.state.chats[new.id] = new
            for chat, extra in (
                (self.chat, {"migrate_to_chat_id": new.id}),
                (new, {"migrate_from_chat_id": self.chat.id}),
            ):
                note = Message(chat.next_id(), chat, api.clock.date(), self._user(by), service=True)
                note.extra = extra
                chat.add(note, time.monotonic())
                self.driver.push("message", note.to_api())
            self.chat.migrated_to = new.id
            return Room(self.driver, new)

    # What people see

    @property
    def messages(self) -> list[Shown]:
        """All messages that are there, oldest first."""
        with self.driver.api.changed:
            return [Shown(self, message) for message in self.chat.visible()]

    def visible(self) -> list[View]:
        """The same as values that can be compared."""
        return [shown.view for shown in self.messages]

    def find(self, contains: str = "", startswith: str = "", after: int = 0) -> Shown | None:
        """The bot's last message of this text, behind the message ``after``; None if there is none."""
        found = [
            shown
            for shown in self.messages
            if shown.message.by_bot
            and contains in shown.text
            and shown.text.startswith(startswith)
            and shown.id > after
        ]
        return found[-1] if found else None

    def bot_message(
        self, contains: str = "", startswith: str = "", after: int = 0, timeout: float = 3
    ) -> Shown:
        """Wait for such a message. In async code: ``await tg.until(lambda: dm.find(...))``."""
        found = self.driver.wait_for(lambda: self.find(contains, startswith, after), timeout)
        assert found is not None
        return found

    def transcript(self) -> str:
        """The chat as text, for a failed test and for people."""
        return "\n".join([f"{self.chat.title} ({self.id})", *map(str, self.visible())])

    # Shared

    def _user(self, by: User | None) -> User:
        user = by or self.chat.user
        assert user is not None, "in a group, say who acts: by=..."
        return user

    def _message(
        self,
        by: User | None = None,
        reply_to: Shown | int | None = None,
        thread: Thread | None = None,
        anonymous: bool = False,
    ) -> Message:
        """An empty message of a user, in its thread; it has its number already."""
        target = reply_to.id if isinstance(reply_to, Shown) else reply_to
        api = self.driver.api
        sender = User(ANONYMOUS_ADMIN, "Group", "GroupAnonymousBot", is_bot=True)
        message = Message(
            self.chat.next_id(),
            self.chat,
            api.clock.date(),
            sender if anonymous else self._user(by),
            reply_to=target,
            sender_chat=self.chat if anonymous else None,
        )
        if thread is not None:
            message.thread, message.is_topic = thread.id, True
            if target is None and api.options.implicit_topic_reply:
                message.reply_to = thread.id
        else:
            message.thread, message.is_topic = self.chat.thread_of_reply(target)
        return message

    def _deliver(self, message: Message) -> Shown:
        self.chat.add(message, time.monotonic())
        self._push("message", message)
        return Shown(self, message)

    def _push(self, kind: str, message: Message) -> None:
        if self._bot_sees(message):
            self.driver.push(kind, message.to_api())

    def _bot_sees(self, message: Message) -> bool:
        api, chat = self.driver.api, self.chat
        if chat.kind == "private":
            return not chat.bot_blocked
        member = chat.member(api.bot.id)
        other_bot = message.sender.is_bot and message.sender_chat is None
        if member.status in ("left", "kicked") or other_bot:
            return False
        if not api.options.privacy or member.is_admin or message.service:
            return True
        target = chat.messages.get(message.reply_to or 0)
        if target is not None and target.by_bot:
            return True
        name = f"@{api.bot.username}".lower()
        raw = message.text.encode("utf-16-le")
        for entity in message.entities:
            start, end = entity["offset"] * 2, (entity["offset"] + entity["length"]) * 2
            word = raw[start:end].decode("utf-16-le").lower()
            if word.endswith(name) or (entity["type"] == "bot_command" and "@" not in word):
                return True
        return False

    def _media(self, kind: str, file: File) -> Json | list[Json]:
        shown = file.to_api()
        if kind == "photo":
            shown.pop("file_name", None)  # only documents and videos have one
            small = self.driver.api.state.add_file(None, b"small")
            return [
                small.to_api() | {"width": 90, "height": 90},
                shown | {"width": 1280, "height": 960},
            ]
        extras: dict[str, Json] = {
            "voice": {"duration": 3, "mime_type": "audio/ogg"},
            "video": {"duration": 3, "width": 640, "height": 360},
            "sticker": {
                "width": 512,
                "height": 512,
                "type": "regular",
                "is_animated": False,
                "is_video": False,
            },
        }
        return shown | extras.get(kind, {})

    def _forwarded(self, item: Shown | str) -> Json:
        date = self.driver.api.clock.date() - 60
        if isinstance(item, str):
            origin: Json = {"type": "hidden_user", "sender_user_name": "Somebody", "date": date}
            legacy: Json = {"forward_sender_name": "Somebody", "forward_date": date}
        else:
            date = item.message.date
            user = item.message.sender.to_api()
            origin = {"type": "user", "sender_user": user, "date": date}
            legacy = {"forward_from": user, "forward_date": date}
        shown = {"forward_origin": origin}
        return shown | legacy if self.driver.api.options.legacy_forward_fields else shown


@dataclass(frozen=True)
class Thread:
    """One topic of a forum."""

    room: Room
    topic: Topic

    @property
    def id(self) -> int:
        return self.topic.thread

    def send(self, text: str, **options: Any) -> Shown:
        """Type a message here; options as for `Room.send`."""
        return self.room.send(text, thread=self, **options)

    def visible(self) -> list[View]:
        return [view for view in self.room.visible() if view.thread == self.id]

    def rename(self, name: str) -> None:
        with self.room.driver.api.changed:
            self.topic.name = name

    def close(self, closed: bool = True) -> None:
        with self.room.driver.api.changed:
            self.topic.closed = closed

    def delete(self) -> None:
        """Delete the topic with everything in it."""
        with self.room.driver.api.changed:
            self.topic.deleted = True
            for message in self.room.chat.messages.values():
                message.deleted |= message.thread == self.id
            self.room.driver.api.changed.notify_all()
