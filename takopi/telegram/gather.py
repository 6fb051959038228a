"""What belongs together and arrives in pieces: a comment and its forwards, a long text, an album.

The only place with timers. Nothing here waits for anybody: ``deliver`` is called, not awaited, and
whoever takes the result starts what is slow in a task of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import anyio

from takopi.logs import get_logger
from takopi.telegram.updates import InboundMessage

# Clients cut what is longer than 4096 UTF-16 units, at a line end or between words where they can.
LONG_UTF16_UNITS = 3900

logger = get_logger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Clock: TypeAlias = Callable[[], float]
Sleep: TypeAlias = Callable[[float], Awaitable[object]]
_SenderKey: TypeAlias = tuple[int, int, int]  # chat, thread or 0, sender


@dataclass(frozen=True, slots=True)
class Gathered:
    """A prompt with all that came along: its pieces, and forwards in the order they have in the chat.

    Directives are those of ``text``; forwards were written by others and have none.
    """

    parts: tuple[InboundMessage, ...]
    forwards: tuple[InboundMessage, ...] = ()

    @property
    def message(self) -> InboundMessage:
        """The message to reply to."""
        return self.parts[0]

    @property
    def text(self) -> str:
        """The sender's own text, whole again."""
        return "\n".join(part.text for part in self.parts)

    def prompt(self, own_text: str) -> str:
        """What to run: ``own_text``, which is ``text`` without its directives, then the forwards."""
        texts = [own_text, *(forward.text for forward in self.forwards)]
        return "\n\n".join(text for text in texts if text.strip())


Album: TypeAlias = tuple[InboundMessage, ...]
"""The parts of an album in the order they have in the chat."""


@dataclass(slots=True)
class _Waiting(Generic[V]):
    value: V
    until: float


class Debounce(Generic[K, V]):
    """Values by key, each delivered when it has not been put again for ``window_s`` seconds.

    One window for all: the deadline of what is put now is the last one, so `run` never has to be
    woken for an earlier one.
    """

    def __init__(
        self, window_s: float, deliver: Callable[[V], None], *, clock: Clock, sleep: Sleep
    ) -> None:
        self.window_s = window_s
        self._deliver = deliver
        self._clock = clock
        self._sleep = sleep
        self._waiting: dict[K, _Waiting[V]] = {}
        self._wake: anyio.Event | None = None

    def get(self, key: K) -> V | None:
        """What waits under a key."""
        found = self._waiting.get(key)
        return found.value if found is not None else None

    def put(self, key: K, value: V) -> None:
        """Let a value wait, from now on, in place of what waits under its key."""
        self._waiting[key] = _Waiting(value, self._clock() + self.window_s)
        if self._wake is not None:
            self._wake.set()

    def pop(self, key: K) -> V | None:
        """Take back what waits under a key."""
        found = self._waiting.pop(key, None)
        return found.value if found is not None else None

    def pop_all(self) -> list[V]:
        """Take back everything, the longest waiting first."""
        taken = sorted(self._waiting.values(), key=lambda each: each.until)
        self._waiting.clear()
        return [each.value for each in taken]

    def deliver(self, value: V) -> None:
        """Hand a value on at once. A receiver that fails is logged, and stops nobody."""
        try:
            self._deliver(value)
        except Exception:
            logger.exception("gather.deliver_failed")

    async def run(self) -> None:
        """Deliver what is due, for ever."""
        while True:
            if not self._waiting:
                self._wake = anyio.Event()
                await self._wake.wait()
                continue
            key, first = min(self._waiting.items(), key=lambda item: item[1].until)
            remaining = first.until - self._clock()
            if remaining > 0:
                await self._sleep(remaining)
            elif self._waiting.pop(key, None) is not None:
                self.deliver(first.value)


class Gather:
    """Prompts that wait a moment for the rest of them, per sender, and albums for their parts.

    `run` owns the timers. Clock and sleep are in seconds.
    """

    def __init__(
        self,
        *,
        forward_coalesce_s: float,
        media_group_debounce_s: float,
        on_prompt: Callable[[Gathered], None],
        on_album: Callable[[Album], None],
        clock: Clock = anyio.current_time,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self._prompts: Debounce[_SenderKey, Gathered] = Debounce(
            forward_coalesce_s, on_prompt, clock=clock, sleep=sleep
        )
        self._albums: Debounce[tuple[int, str], Album] = Debounce(
            media_group_debounce_s, on_album, clock=clock, sleep=sleep
        )

    async def run(self) -> None:
        """Deliver what is due, until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._prompts.run)
            group.start_soon(self._albums.run)

    def close(self) -> tuple[list[Gathered], list[Album]]:
        """Stop waiting; gives what was not delivered, so that its senders can be told.

        Delivering it would only start runs for the shutdown to stop. What is added later is
        delivered at once.
        """
        taken = self._prompts.pop_all(), self._albums.pop_all()
        self._prompts.window_s = self._albums.window_s = 0.0
        return taken

    def add_prompt(self, message: InboundMessage, *, at_once: bool = False) -> None:
        """Take a prompt; it is delivered when its companions are there.

        What waited before it is delivered before it, unless both are pieces of one text. ``at_once``:
        do not wait, it can have no companions.
        """
        key = _sender_key(message)
        if key is None:
            self._prompts.deliver(Gathered((message,)))
            return
        waiting = self._prompts.pop(key)
        if waiting is not None and not at_once and _continues(message, waiting):
            self._prompts.put(key, Gathered((*waiting.parts, message)))
            return
        if waiting is not None:
            self._prompts.deliver(waiting)
        prompt = Gathered((message,))
        if at_once or self._prompts.window_s <= 0 or not _may_have_companions(message):
            self._prompts.deliver(prompt)
        else:
            self._prompts.put(key, prompt)

    def continues(self, message: InboundMessage) -> bool:
        """Whether a message is the next piece of a long text that waits.

        It need not mention the bot then, for the first piece did.
        """
        waiting = self._waiting_for(message)
        return waiting is not None and _continues(message, waiting)

    def add_forward(self, message: InboundMessage) -> bool:
        """Attach a forwarded text to the prompt that waits for it; False: it is ignored."""
        key, waiting = _sender_key(message), self._waiting_for(message)
        if key is None or waiting is None or not message.text.strip():
            return False
        forwards = sorted((*waiting.forwards, message), key=lambda each: each.message_id)
        self._prompts.put(key, Gathered(waiting.parts, tuple(forwards)))
        return True

    def discard(self, message: InboundMessage) -> Gathered | None:
        """Drop the prompt that waits for the sender of a message, as ``/new`` does."""
        key = _sender_key(message)
        return self._prompts.pop(key) if key is not None else None

    def add_album_part(self, message: InboundMessage) -> None:
        """Take a part of an album; nothing says which part is the last."""
        if message.album_id is None or self._albums.window_s <= 0:
            self._albums.deliver((message,))
            return
        key = (message.chat_id, message.album_id)
        parts = (*(self._albums.get(key) or ()), message)
        self._albums.put(key, tuple(sorted(parts, key=lambda part: part.message_id)))

    def _waiting_for(self, message: InboundMessage) -> Gathered | None:
        """The prompt that waits for the sender of a message."""
        key = _sender_key(message)
        return self._prompts.get(key) if key is not None else None


def _sender_key(message: InboundMessage) -> _SenderKey | None:
    if message.sender_id is None:
        return None
    return message.chat_id, message.thread_id or 0, message.sender_id


def _may_have_companions(message: InboundMessage) -> bool:
    """Forwards do not accompany a reply; the other pieces of a long text do."""
    return message.reply_to is None or _is_long(message.text)


def _continues(message: InboundMessage, waiting: Gathered) -> bool:
    """Whether a message is the next piece of a text that a client cut."""
    is_plain = message.reply_to is None and message.voice is None and message.attachment is None
    is_command = message.text.lstrip().startswith("/")
    return is_plain and not is_command and not waiting.forwards and _is_long(waiting.text)


def _is_long(text: str) -> bool:
    return len(text) + sum(char > "\uffff" for char in text) >= LONG_UTF16_UNITS
