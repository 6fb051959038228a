"""Messages to Telegram: sent, edited and deleted through the outbox, and an answer is never lost.

What ``RenderedMessage.extra`` may hold:

    entities      formatting, as the Bot API takes it
    reply_markup  buttons; an edit without it removes them
    followups     more messages, sent after this one (``followup_*`` say where to)
    progress      True: not worth much, the next one makes up for it. All other messages are
                  essential: tried for long, and in simpler forms if they are refused
    answer        the answer as Markdown; it is saved to a file if it cannot be delivered
    whole         gives the message that is to be sent instead of this one, which is but a beginning
                  of it. Called in a thread: a long text takes seconds to render
    loud          True: an edit that should be noticed, so it becomes a new message
    on_posted     called as soon as it is sent, before what it replaces is deleted, whoever waits for it
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.to_thread

from takopi.bridge.delivery import ChannelId, MessageRef, RenderedMessage, SendOptions
from takopi.logs import get_logger
from takopi.telegram.client import BotClient
from takopi.telegram.entities import MAX_ENTITIES, utf16_len
from takopi.telegram.outbox import DELETE, EDIT, Dropped, Operation, Outbox, Outcome
from takopi.telegram.render import split_markdown_body
from takopi.telegram.wire import (
    MAX_TEXT,
    ChatId,
    Gone,
    Ok,
    Post,
    Result,
    SentMessage,
    ThreadGone,
    Unchanged,
    adapt,
)

OnThreadGone: TypeAlias = Callable[[ChatId, int], None]
OnCut: TypeAlias = Callable[[], None]
"""Told that some of the text had to be left out."""

_MAX_SAVED = 1000  # files with the same name: a time and a chat

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a message was sent, so that another one can be put there."""

    reply_to: int | None
    thread_id: int | None
    silent: bool


class TelegramTransport:
    """Telegram as a `Transport`. It owns neither the bot nor the outbox: whoever opened them closes
    them.

    ``answers``         folder for answers that cannot be delivered; None: they are only logged as lost
    ``on_thread_gone``  told the chat and the id of a topic that turned out to be deleted
    """

    def __init__(
        self,
        bot: BotClient,
        outbox: Outbox,
        *,
        answers: Path | None = None,
        on_thread_gone: OnThreadGone | None = None,
    ) -> None:
        self._bot = bot
        self._outbox = outbox
        self._answers = answers
        self._on_thread_gone = on_thread_gone

    async def close(self) -> None:
        """Let what is essential be sent for a few seconds, then end everything."""
        await self._outbox.close()

    async def send(
        self,
        *,
        channel_id: ChannelId,
        message: RenderedMessage,
        options: SendOptions | None = None,
    ) -> MessageRef | None:
        """Post a message and its follow-ups, then delete what it replaces.

        If it cannot be posted at all, it is shown in the message that it should have replaced.
        """
        message = await _whole(message)
        options = options or SendOptions()
        reply = options.reply_to
        place = _Place(
            reply_to=int(reply.message_id) if reply is not None else None,
            thread_id=int(options.thread_id) if options.thread_id is not None else None,
            silent=not options.notify,
        )
        delivery = _Delivery(self, message, _posts(_chat_id(channel_id), message, place))
        return await delivery.send(options.replace, place)

    async def edit(
        self, *, ref: MessageRef, message: RenderedMessage, wait: bool = True
    ) -> MessageRef | None:
        """Change a message, then send its follow-ups."""
        place = ref.raw if isinstance(ref.raw, _Place) else None
        if wait and message.extra.get("loud") and place is not None:
            return await self._send_aloud(ref, message, place)
        message = await _whole(message)
        posts = _posts(_chat_id(ref.channel_id), message, place or _Place(None, None, silent=True))
        return await _Delivery(self, message, posts).edit(ref, wait=wait)

    async def delete(self, *, ref: MessageRef) -> bool:
        """Delete a message; whether it is gone."""
        self.drop_edit(ref)
        operation = self.submit(self.deleting(ref))
        return isinstance(await operation.wait(), Ok | Gone)

    async def remove_buttons(self, ref: MessageRef) -> bool:
        """Take the keyboard of a message away; False if it is none of ours, or has none."""
        chat_id, message_id = _chat_id(ref.channel_id), int(ref.message_id)
        operation = Operation(
            chat_id,
            lambda: self._bot.remove_buttons(chat_id, message_id),
            key=("buttons", message_id),
            priority=EDIT,
            repeatable=True,
        )
        return isinstance(await self.submit(operation).wait(), Ok)

    async def _send_aloud(
        self, ref: MessageRef, message: RenderedMessage, place: _Place
    ) -> MessageRef | None:
        reply_to = place.reply_to
        options = SendOptions(
            reply_to=MessageRef(ref.channel_id, reply_to) if reply_to is not None else None,
            notify=True,
            replace=ref,
            thread_id=place.thread_id,
        )
        return await self.send(channel_id=ref.channel_id, message=message, options=options)

    # -- operations, for deliveries ----------------------------------------------------------------

    def submit(self, operation: Operation[Any], *, follows: bool = False) -> Operation[Any]:
        """Queue an operation."""
        return self._outbox.submit(operation, follows=follows)

    def sending(self, post: Post, essential: bool, on_cut: OnCut) -> _Write:
        """A message to send."""
        return _Write(self._bot.send_message, post, essential, on_cut, self._on_thread_gone)

    def editing(
        self, post: Post, ref: MessageRef, essential: bool, on_cut: OnCut
    ) -> Operation[SentMessage]:
        """A message to change."""
        post = replace(post, reply_to=None, thread_id=None)
        message_id = int(ref.message_id)

        async def edit(post: Post) -> Result[SentMessage]:
            return await self._bot.edit_message_text(post, message_id)

        return Operation(
            post.chat_id,
            _Write(edit, post, essential, on_cut),
            key=_edit_key(ref),
            priority=EDIT,
            essential=essential,
            repeatable=True,
        )

    def deleting(self, ref: MessageRef, *, essential: bool = False) -> Operation[bool]:
        """A message to delete."""
        chat_id, message_id = _chat_id(ref.channel_id), int(ref.message_id)
        return Operation(
            chat_id,
            lambda: self._bot.delete_message(chat_id, message_id),
            key=("delete", message_id),
            priority=DELETE,
            essential=essential,
            repeatable=True,
        )

    def drop_send(self, operation: Operation[Any]) -> None:
        """Forget a message that is queued."""
        self._outbox.drop(operation.lane, operation.key)

    def drop_edit(self, ref: MessageRef) -> None:
        """Forget an edit that is queued: the message will be gone."""
        self._outbox.drop(_chat_id(ref.channel_id), _edit_key(ref))

    def save(self, chat_id: ChatId, answer: str) -> None:
        """Keep an answer that could not be delivered. Never raises."""
        where = {"chat_id": chat_id, "characters": len(answer)}
        if self._answers is None:
            logger.error("answer.lost", **where)
            return
        try:
            path = save_answer(self._answers, chat_id, answer)
        except OSError as error:
            logger.error("answer.lost", folder=self._answers, error=error, **where)
        else:
            logger.error("answer.saved", path=path, help="it could not be delivered", **where)


@dataclass(slots=True, eq=False)
class _Write:
    """A text on its way: refused, it is tried in simpler forms. Called again, it goes on with the
    form it had reached.
    """

    ask: Callable[[Post], Awaitable[Result[SentMessage]]]
    post: Post
    essential: bool
    on_cut: OnCut
    on_thread_gone: OnThreadGone | None = None

    async def __call__(self) -> Result[SentMessage]:
        """One attempt, at as many forms as it takes."""
        while True:
            result = await self.ask(self.post)
            thread_id = self.post.thread_id
            if isinstance(result, ThreadGone) and thread_id is not None:
                if self.on_thread_gone is not None:
                    self.on_thread_gone(self.post.chat_id, thread_id)
                if not self.essential:
                    return result
            simpler = adapt(self.post, result) if not isinstance(result, Ok) else None
            if simpler is None:
                return result
            logger.info("telegram.simplified", chat_id=self.post.chat_id, because=result)
            if simpler.text != self.post.text:
                self.on_cut()
            self.post = simpler


class _Delivery:
    """One message with its follow-ups. Once begun it goes on by itself, whoever waits for it."""

    def __init__(
        self, transport: TelegramTransport, message: RenderedMessage, posts: Sequence[Post]
    ) -> None:
        self._transport = transport
        self._message = message
        self._posts = posts
        self._chat_id = posts[0].chat_id
        self._essential = not message.extra.get("progress")
        self._later: list[Operation[Any]] = []
        self._saved = False
        self._abandoned = False

    async def send(self, replaced: MessageRef | None, place: _Place) -> MessageRef | None:
        """Send it; the message in its place."""
        write = self._transport.sending(self._posts[0], self._essential, self._save)
        in_place: list[Operation[SentMessage]] = []

        def done(outcome: Outcome[SentMessage]) -> None:
            if isinstance(outcome, Ok):
                self._message.extra.get("on_posted", _nothing)()
                if replaced is not None:
                    self._remove(replaced)
                if self._abandoned:
                    self._remove(_ref(outcome.result, place))
            elif replaced is not None and self._essential and not isinstance(outcome, Dropped):
                in_place.append(self._show_in(replaced, write.post))
            else:
                self._save()

        first = Operation(self._chat_id, write, essential=self._essential, on_done=done)
        if replaced is not None:
            first.key = ("send", int(replaced.message_id))
        self._transport.submit(first)
        self._send_rest()
        try:
            outcome = await first.wait()
        except anyio.get_cancelled_exc_class():
            if not self._essential:  # nobody would ever take the button away
                self._abandoned = True
                self._transport.drop_send(first)
                if isinstance(first.outcome, Ok):
                    self._remove(_ref(first.outcome.result, place))
            raise
        for operation in (*in_place, *self._later):
            await operation.wait()
        if isinstance(outcome, Ok):
            return _ref(outcome.result, place)
        shown = any(isinstance(edit.outcome, Ok | Unchanged) for edit in in_place)
        return replaced if shown else None

    async def edit(self, ref: MessageRef, *, wait: bool) -> MessageRef | None:
        """Show it in a message that is there."""

        def done(outcome: Outcome[SentMessage]) -> None:
            if isinstance(outcome, Ok | Unchanged):
                self._send_rest(follows=True)
            elif self._abandoned:
                self._save()

        essential = wait and self._essential
        operation = self._transport.editing(self._posts[0], ref, essential, self._save)
        operation.on_done = done
        self._transport.submit(operation)
        if not wait:
            return ref
        try:
            outcome = await operation.wait()
        except anyio.get_cancelled_exc_class():
            self._abandoned = True  # nobody is left to send it anew
            failed = operation.outcome is not None
            if failed and not isinstance(operation.outcome, Ok | Unchanged):
                self._save()
            raise
        for follow_up in self._later:
            await follow_up.wait()
        return ref if isinstance(outcome, Ok | Unchanged) else None

    def _send_rest(self, *, follows: bool = False) -> None:
        for post in self._posts[1:]:
            write = self._transport.sending(post, True, self._save)
            operation = Operation(post.chat_id, write, essential=True)
            operation.on_done = lambda outcome: None if isinstance(outcome, Ok) else self._save()
            self._later.append(self._transport.submit(operation, follows=follows))

    def _show_in(self, ref: MessageRef, post: Post) -> Operation[SentMessage]:
        """The last resort: the message that should have been replaced, which has a button."""

        def done(outcome: Outcome[SentMessage]) -> None:
            if not isinstance(outcome, Ok | Unchanged):
                self._save()

        edit = self._transport.editing(post, ref, False, self._save)
        edit.on_done = done
        return self._transport.submit(edit, follows=True)

    def _remove(self, ref: MessageRef) -> None:
        """Delete a message that was replaced, or at least take its button away."""

        def done(outcome: Outcome[bool]) -> None:
            if not isinstance(outcome, Ok | Gone):
                heading = Post(chat_id=self._chat_id, text=self._posts[0].text.partition("\n")[0])
                edit = self._transport.editing(heading, ref, False, self._save)
                self._transport.submit(edit, follows=True)

        self._transport.drop_edit(ref)
        deletion = self._transport.deleting(ref, essential=True)
        deletion.on_done = done
        self._later.append(self._transport.submit(deletion, follows=True))

    def _save(self) -> None:
        """Keep the whole answer in a file, if this is one."""
        answer = self._message.extra.get("answer")
        if not self._saved and isinstance(answer, str):
            self._saved = True
            self._transport.save(self._chat_id, answer)


def save_answer(folder: Path, chat_id: ChatId, answer: str) -> Path:
    """Write an answer into a new file that only its owner may read. Raises `OSError`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    chat = re.sub(r"[^\w-]", "_", str(chat_id))
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{chat}"
    for number in range(1, _MAX_SAVED):
        path = folder / (f"{name}.md" if number == 1 else f"{name}-{number}.md")
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(handle, "wb") as file:
            file.write(answer.encode("utf-8", "replace") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return path
    raise FileExistsError(f"too many files like {name}.md in {folder}")


async def _whole(message: RenderedMessage) -> RenderedMessage:
    """The message with nothing left out. Nobody's cancellation keeps it from being sent."""
    make = message.extra.get("whole")
    if make is None:
        return message
    with anyio.CancelScope(shield=True):
        try:
            whole: RenderedMessage = await anyio.to_thread.run_sync(make)
        except Exception:
            logger.exception("telegram.render_failed")
            whole = RenderedMessage(
                str(message.extra.get("answer", message.text)), {"entities": []}
            )
    return RenderedMessage(whole.text, {**message.extra, **whole.extra})


def _posts(chat_id: ChatId, message: RenderedMessage, place: _Place) -> list[Post]:
    """A message and its follow-ups as the Bot API takes them; what is too long is split."""
    extra = message.extra
    followups = extra.get("followups") or []
    later = _Place(
        reply_to=_number(extra.get("followup_reply_to_message_id", place.reply_to)),
        thread_id=_number(extra.get("followup_thread_id", place.thread_id)),
        silent=not extra.get("followup_notify", not place.silent),
    )
    first, *rest = _split(chat_id, message, place)
    if extra.get("progress"):
        rest = []
    rest = [
        replace(p, reply_to=later.reply_to, thread_id=later.thread_id, silent=later.silent)
        for p in rest
    ]
    return [first, *rest, *(post for m in followups for post in _split(chat_id, m, later))]


def _split(chat_id: ChatId, message: RenderedMessage, place: _Place) -> list[Post]:
    entities: Sequence[Mapping[str, Any]] = message.extra.get("entities") or ()
    texts = [message.text]
    if utf16_len(message.text) > MAX_TEXT:  # not from our presenter
        texts, entities = split_markdown_body(message.text, MAX_TEXT) or ["…"], ()
    return [
        Post(
            chat_id=chat_id,
            text=text,
            entities=entities[:MAX_ENTITIES],
            markup=message.extra.get("reply_markup"),
            reply_to=place.reply_to,
            thread_id=place.thread_id,
            silent=place.silent,
        )
        for text in texts
    ]


def _nothing() -> None:
    pass


def _ref(sent: SentMessage, place: _Place) -> MessageRef:
    return MessageRef(sent.chat_id, sent.message_id, raw=place, thread_id=sent.thread_id)


def _edit_key(ref: MessageRef) -> Hashable:
    return ("edit", int(ref.message_id))


def _chat_id(channel_id: ChannelId) -> ChatId:
    """A chat has one id, however it is written: its lane in the outbox goes by it."""
    return int(channel_id) if _is_number(channel_id) else channel_id


def _is_number(value: ChannelId) -> bool:
    return isinstance(value, int) or value.removeprefix("-").isdecimal()


def _number(value: Any) -> int | None:
    return None if value is None else int(value)
