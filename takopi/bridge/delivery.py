"""What a chat must be able to do for a run: post, edit and delete messages, and render its state.

`Reply` and `ProgressEdits` are the bridge's side of it: a place to answer in, where delivery never
raises, and the edits of one message.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import anyio

from takopi.bridge.progress import ProgressState
from takopi.logs import get_logger

ChannelId: TypeAlias = int | str
MessageId: TypeAlias = int | str
ThreadId: TypeAlias = int | str

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MessageRef:
    """One message of a chat. Channel and id identify it, whichever call the rest came from."""

    channel_id: ChannelId
    message_id: MessageId
    raw: Any = field(default=None, compare=False, repr=False)
    thread_id: ThreadId | None = field(default=None, compare=False)
    sender_id: int | str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RenderedMessage:
    """A text, and in ``extra`` what only its transport understands.

    ``extra["followups"]`` may be a list of further `RenderedMessage`, sent after the message.
    """

    text: str
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SendOptions:
    """How to post: ``replace`` is deleted once the new message is there."""

    reply_to: MessageRef | None = None
    notify: bool = True
    replace: MessageRef | None = None
    thread_id: ThreadId | None = None


class Transport(Protocol):
    """A chat. Rate limits are its own affair, and so are failures: it should not raise for them."""

    async def close(self) -> None:
        """Release what it holds."""
        ...

    async def send(
        self,
        *,
        channel_id: ChannelId,
        message: RenderedMessage,
        options: SendOptions | None = None,
    ) -> MessageRef | None:
        """Post a message, then delete what it replaces. None: not delivered."""
        ...

    async def edit(
        self, *, ref: MessageRef, message: RenderedMessage, wait: bool = True
    ) -> MessageRef | None:
        """Change a message. None: failed.

        Without ``wait`` the edit may be queued, or dropped for a later one. Whatever is waited for
        (an edit, a delete, a send that replaces) takes the place of what is queued.
        """
        ...

    async def delete(self, *, ref: MessageRef) -> bool:
        """Delete a message, if possible; whether it was."""
        ...


class Presenter(Protocol):
    """Renders a run's state. Pure: the same state gives the same message."""

    def render_progress(
        self, state: ProgressState, *, elapsed_s: float, label: str = "working"
    ) -> RenderedMessage:
        """A run under way."""
        ...

    def render_final(
        self, state: ProgressState, *, elapsed_s: float, status: str, answer: str
    ) -> RenderedMessage:
        """A run that is over."""
        ...


class Reply:
    """Where a run answers: the user's message in its channel and thread.

    What the transport raises is logged, and counts as not delivered.
    """

    def __init__(
        self,
        transport: Transport,
        channel_id: ChannelId,
        message_id: MessageId,
        thread_id: ThreadId | None,
    ) -> None:
        self._transport = transport
        self._to = MessageRef(channel_id, message_id, thread_id=thread_id)

    async def send(
        self, message: RenderedMessage, *, notify: bool, replace: MessageRef | None = None
    ) -> MessageRef | None:
        """Post a message; None if it was not delivered."""
        to = self._to
        options = SendOptions(reply_to=to, notify=notify, replace=replace, thread_id=to.thread_id)
        try:
            ref = await self._transport.send(
                channel_id=to.channel_id, message=self._addressed(message, notify), options=options
            )
        except Exception:
            logger.exception("transport.send_message.failed", channel_id=to.channel_id)
            return None
        logger.debug(
            "transport.send_message",
            channel_id=to.channel_id,
            reply_to=to.message_id,
            notify=notify,
            replace=replace.message_id if replace is not None else None,
            message_id=ref.message_id if ref is not None else None,
        )
        return ref

    async def edit(
        self, ref: MessageRef, message: RenderedMessage, *, wait: bool
    ) -> MessageRef | None:
        """Change a message; None if that failed."""
        at = {"channel_id": ref.channel_id, "message_id": ref.message_id}
        try:
            edited = await self._transport.edit(
                ref=ref, message=self._addressed(message, notify=False), wait=wait
            )
        except Exception:
            logger.exception("transport.edit_message.failed", **at)
            return None
        logger.debug("transport.edit_message", wait=wait, edited=edited is not None, **at)
        return edited

    def _addressed(self, message: RenderedMessage, notify: bool) -> RenderedMessage:
        """The message with what its follow-ups need in order to land in the same place."""
        if not message.extra.get("followups"):
            return message
        place = {
            "followup_reply_to_message_id": self._to.message_id,
            "followup_thread_id": self._to.thread_id,
            "followup_notify": notify,
        }
        known = {key: value for key, value in place.items() if value is not None}
        return RenderedMessage(message.text, {**known, **message.extra})


class ProgressEdits:
    """Shows the newest state, as fast as the chat takes it; what came between is skipped.

    ``rest`` is waited for after each edit: making one costs more than the event that asked for it.
    """

    def __init__(
        self,
        reply: Reply,
        render: Callable[[], RenderedMessage],
        rest: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.delivered: RenderedMessage | None = None
        self._reply = reply
        self._render = render
        self._rest = rest
        self._changed = anyio.Event()

    def wake(self) -> None:
        """There is something new; never waits."""
        self._changed.set()

    async def work(self, ref: MessageRef) -> None:
        """Edit until cancelled. Failures are logged; the next change is another try."""
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            try:
                message = self._render()
            except Exception:
                logger.exception("progress.render_failed")
                continue
            if message == self.delivered:
                continue
            if await self._reply.edit(ref, message, wait=False) is not None:
                self.delivered = message
            if self._rest is not None:
                await self._rest()
