"""The people in front of the fake server: a script acts as them, watches, and judges at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TypeVar

import anyio

from tests.fake_telegram.api import FakeBotApi
from tests.fake_telegram.calls import Call
from tests.fake_telegram.chats import Room, Shown
from tests.fake_telegram.faults import Action, Rule
from tests.fake_telegram.state import CallbackQuery, Chat, Json, Kind, Member, User

T = TypeVar("T")
TIMEOUT_S = 3.0
MOMENT_S = 0.005
LOOK_S = (
    0.02  # for what the server does not tell: it wakes those who wait whenever something changes
)
WRITING = frozenset({"sendMessage", "sendDocument", "editMessageText", "deleteMessage"})


class Person(User):
    """A user with hands; see `Room` for what else they can do."""

    def send(self, room: Room, text: str, **options: Any) -> Shown:
        return room.send(text, by=self, **options)

    def press(self, shown: Shown, button: str = "") -> CallbackQuery:
        return shown.press(button, by=self)

    def edit(self, shown: Shown, text: str) -> None:
        shown.room.edit(shown, text)

    def delete(self, shown: Shown) -> None:
        shown.room.delete(shown)


class Driver:
    """Users, chats, faults, waiting and judging; the same over HTTP and without."""

    def __init__(self, api: FakeBotApi) -> None:
        self.api = api
        self._accepted: set[str] = set()

    @property
    def token(self) -> str:
        return self.api.token

    @property
    def bot(self) -> User:
        return self.api.bot

    # Who is there

    def user(self, user_id: int, name: str = "", *, bot: bool = False) -> Person:
        """The user of this id; a new one is called ``name`` (and @name)."""
        with self.api.changed:
            known = self.api.state.users.get(user_id)
            if isinstance(known, Person):
                return known
            name = name or f"User {user_id}"
            username = name.lower().replace(" ", "_")
            person = Person(user_id, name, username, is_bot=bot)
            self.api.state.users[user_id] = person
            return person

    def private(self, user: User) -> Room:
        """The chat of a user with the bot; it has the user's id."""
        self._know(user)
        return self._room(Chat(user.id, "private", user.first_name, user=user))

    def group(
        self,
        title: str = "team",
        *,
        kind: Kind = "supergroup",
        forum: bool = False,
        admins: Sequence[User] = (),
        members: Sequence[User] = (),
    ) -> Room:
        """A group with the bot in it; admins may manage topics. Its first admin created it."""
        number = len(self.api.state.chats) + 1
        chat_id = -number if kind == "group" else -1_000_000_000_000 - number
        chat = Chat(chat_id, kind, title, is_forum=forum)
        chat.last_message_id = 1  # its creation; a forum's General topic has this thread id
        self._know(self.bot, *members, *admins)
        for user in (self.bot, *members):
            chat.members[user.id] = Member()
        for user in admins:
            chat.members[user.id] = Member("administrator", can_manage_topics=True)
        if admins and admins[0] != self.bot:
            chat.members[admins[0].id] = Member("creator")
        return self._room(chat)

    def forum(
        self, title: str = "team", *, admins: Sequence[User] = (), members: Sequence[User] = ()
    ) -> Room:
        """A supergroup with topics."""
        return self.group(title, forum=True, admins=admins, members=members)

    def _know(self, *users: User) -> None:
        with self.api.changed:
            for user in users:
                self.api.state.users.setdefault(user.id, user)

    def _room(self, chat: Chat) -> Room:
        with self.api.changed:
            return Room(self, self.api.state.chats.setdefault(chat.id, chat))

    @property
    def rooms(self) -> list[Room]:
        with self.api.changed:
            return [Room(self, chat) for chat in self.api.state.chats.values()]

    # What the server is made to do

    def fail(
        self,
        method: str,
        action: Action,
        *,
        times: int | None = 1,
        chat: Room | None = None,
        **options: Any,
    ) -> Rule:
        """Let the next calls of a method (a glob) go wrong; options as in `Rule`."""
        rule = Rule(method, action, times, chat=chat.id if chat else None, **options)
        with self.api.changed:
            self.api.faults.rules.append(rule)
        return rule

    def push(self, kind: str, payload: object, repeat_id: int | None = None) -> int | None:
        """Put any update into the queue, also one that no client can decode; gives its id."""
        with self.api.changed:
            update_id = self.api.queue.push(kind, payload, repeat_id)
            self.api.changed.notify_all()
            return update_id

    def repeat(self, shown: Shown, *, same_id: int | None = None) -> int | None:
        """Deliver a message again: under the update id it had, or a new one."""
        return self.push("message", shown.message.to_api(), same_id)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Everything done meanwhile arrives in one batch."""
        with self.api.changed:
            self.api.queue.held = True
        try:
            yield
        finally:
            with self.api.changed:
                self.api.queue.held = False
                self.api.changed.notify_all()

    def one_by_one(self) -> None:
        """From now on every batch holds one update."""
        with self.api.changed:
            self.api.queue.batch = 1

    @contextmanager
    def rival(self) -> Iterator[None]:
        """Meanwhile another program polls the same token."""
        with self.api.changed:
            queue = self.api.queue
            queue.rival = True
            if queue.waiting is not None:
                queue.waiting.refused = True
            self.api.changed.notify_all()
        try:
            yield
        finally:
            with self.api.changed:
                queue.rival = False

    @contextmanager
    def offline(self) -> Iterator[None]:
        """Meanwhile there is no network."""
        self.api.unreachable = True
        self.stop_listening()
        try:
            yield
        finally:
            self.listen()
            self.api.unreachable = False

    def listen(self) -> None:
        """Take connections. Without HTTP there are none."""

    def stop_listening(self) -> None:
        """Cut every connection, and refuse new ones."""

    # Watching

    def calls(self, method: str | None = None, chat: Room | None = None) -> list[Call]:
        """The calls so far, oldest first."""
        with self.api.changed:
            return [
                call
                for call in self.api.calls
                if method in (None, call.method) and (chat is None or call.chat == chat.id)
            ]

    def spacing(self, chat: Room) -> list[float]:
        """Seconds between the arrivals of calls that write to a chat."""
        times = [call.arrived for call in self.calls(chat=chat) if call.method in WRITING]
        return [later - earlier for earlier, later in pairwise(times)]

    def commands(self) -> list[Json]:
        """The command menu."""
        with self.api.changed:
            return self.api.state.commands.get(('{"type": "default"}', ""), [])

    def unanswered_callbacks(self) -> list[CallbackQuery]:
        with self.api.changed:
            return [query for query in self.api.state.callbacks.values() if query.answer is None]

    def is_idle(self, seconds: float = 0.05) -> bool:
        """Whether nothing but getUpdates was asked for so long."""
        with self.api.changed:
            since = time.monotonic() - seconds
            calls = [call for call in self.api.calls if call.method != "getUpdates"]
            return all(call.replied is not None and call.replied < since for call in calls)

    def wait_for(self, predicate: Callable[[], T], timeout: float = TIMEOUT_S) -> T:
        """What ``predicate`` gives as soon as that is true. Not for async code, see `until`."""
        _refuse_in_event_loop()
        deadline = time.monotonic() + timeout
        with self.api.changed:
            while not (found := predicate()):
                if time.monotonic() > deadline:
                    raise AssertionError(self._expired(timeout))
                self.api.changed.wait(LOOK_S)
            return found

    async def until(self, predicate: Callable[[], T], timeout: float = TIMEOUT_S) -> T:
        """The same for async code."""
        deadline = time.monotonic() + timeout
        while not (found := predicate()):
            if time.monotonic() > deadline:
                raise AssertionError(self._expired(timeout))
            await anyio.sleep(MOMENT_S)
        return found

    def report(self) -> str:
        """Every chat, and the last calls."""
        chats = [room.transcript() for room in self.rooms]
        calls = [str(call) for call in self.calls()[-20:]]
        return "\n".join([*chats, "last calls:", *calls])

    def _expired(self, timeout: float) -> str:
        return f"nothing of the kind within {timeout} s\n{self.report()}"

    # Judging

    def accept(self, *kinds: str) -> None:
        """Do not complain about these: `bad-message`, `unanswered-callback`, `live-button` …"""
        self._accepted.update(kinds)

    @property
    def violations(self) -> list[str]:
        """What no client should have done, each with its kind in front."""
        with self.api.changed:
            return self._unaccepted(self.api.violations)

    def leftovers(self) -> list[str]:
        """What must not be left when everything is over: unanswered and live buttons."""
        callbacks = [
            f"unanswered-callback: {query.data!r} pressed by {query.user.first_name}"
            for query in self.unanswered_callbacks()
        ]
        live = [
            f"live-button: {shown.view}"
            for room in self.rooms
            for shown in room.messages
            if shown.message.by_bot and shown.buttons
        ]
        return self._unaccepted(callbacks + live)

    def check(self) -> None:
        """Fail if anything was done that should not be, or is left that must not be."""
        wrong = self.violations + self.leftovers()
        if wrong:
            raise AssertionError("\n".join([*wrong, "", self.report()]))

    def _unaccepted(self, found: Sequence[str]) -> list[str]:
        return [text for text in found if text.partition(":")[0] not in self._accepted]


def _refuse_in_event_loop() -> None:
    """A blocked event loop would keep a client that runs in it from doing what is waited for."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("this blocks the event loop; in async code: await tg.until(...)")
