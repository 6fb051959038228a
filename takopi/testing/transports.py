"""A chat that records, and that fails on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import anyio
import anyio.lowlevel

from takopi.bridge.delivery import (
    ChannelId,
    MessageId,
    MessageRef,
    RenderedMessage,
    SendOptions,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one call: it takes ``delay_s``, then raises or does not deliver."""

    delay_s: float = 0.0
    error: Exception | None = None
    refuse: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """A delivered message. ``after`` counts the sends and edits that were delivered before it."""

    ref: MessageRef
    message: RenderedMessage
    options: SendOptions
    after: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Edited:
    """A delivered edit."""

    ref: MessageRef
    message: RenderedMessage
    wait: bool
    after: int = field(compare=False)


Faults = Callable[[int], Fault | None]


class RecordingTransport:
    """Delivers to ``messages``, what the chat shows now, and records every call that succeeded.

    ``send_faults`` and ``edit_faults`` get the number of the send or edit, from 0, and say what is
    wrong with it. Both may be changed at any time. ``attempts`` counts failed calls as well.
    Follow-ups are not sent: they are in the ``extra`` of their message.
    """

    def __init__(
        self,
        *,
        send_faults: Faults | None = None,
        edit_faults: Faults | None = None,
        first_message_id: int = 1,
    ) -> None:
        self.send_faults = send_faults
        self.edit_faults = edit_faults
        self.messages: dict[MessageRef, RenderedMessage] = {}
        self.sends: list[Sent] = []
        self.edits: list[Edited] = []
        self.deletes: list[MessageRef] = []
        self.attempts = {"send": 0, "edit": 0}
        self.closed = False
        self._ids = count(first_message_id)

    def place(
        self, message_id: MessageId, text: str = "queued", *, channel_id: ChannelId = 1
    ) -> MessageRef:
        """A message that is there already."""
        ref = MessageRef(channel_id, message_id)
        self.messages[ref] = RenderedMessage(text)
        return ref

    async def send(
        self,
        *,
        channel_id: ChannelId,
        message: RenderedMessage,
        options: SendOptions | None = None,
    ) -> MessageRef | None:
        """Post a message; what it replaces is gone."""
        options = options or SendOptions()
        if not await self._may("send", self.send_faults):
            return None
        ref = MessageRef(channel_id, next(self._ids), thread_id=options.thread_id)
        self.messages[ref] = message
        self.sends.append(Sent(ref, message, options, self._delivered))
        if options.replace is not None:
            await self.delete(ref=options.replace)
        return ref

    async def edit(
        self, *, ref: MessageRef, message: RenderedMessage, wait: bool = True
    ) -> MessageRef | None:
        """Change a message that is there."""
        if not await self._may("edit", self.edit_faults) or ref not in self.messages:
            return None
        self.messages[ref] = message
        self.edits.append(Edited(ref, message, wait, self._delivered))
        return ref

    async def delete(self, *, ref: MessageRef) -> bool:
        """Delete a message that is there."""
        self.deletes.append(ref)
        return self.messages.pop(ref, None) is not None

    async def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    @property
    def texts(self) -> list[str]:
        """What the chat shows now."""
        return [message.text for message in self.messages.values()]

    @property
    def _delivered(self) -> int:
        return len(self.sends) + len(self.edits)

    async def _may(self, kind: str, faults: Faults | None) -> bool:
        fault = faults(self.attempts[kind]) if faults is not None else None
        self.attempts[kind] += 1
        await anyio.lowlevel.checkpoint()
        if fault is None:
            return True
        if fault.delay_s:
            await anyio.sleep(fault.delay_s)
        if fault.error is not None:
            raise fault.error
        return not fault.refuse
