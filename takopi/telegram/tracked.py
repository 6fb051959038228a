"""Runs in flight are noted on disk, so that the next start can say what became of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import anyio

from takopi.bridge.delivery import ChannelId, MessageRef, RenderedMessage, SendOptions, Transport
from takopi.telegram.open_runs import OpenRun, OpenRuns

_LATE_S = 1.0  # for the id of a message that is being posted when its run is cancelled


@dataclass(slots=True, eq=False)
class _Posting:
    """A progress message on its way, which goes on when its run does not."""

    ref: MessageRef | None = None
    abandoned: bool = False
    done: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=lambda: anyio.CancelScope(shield=True))


class TrackedTransport:
    """A transport that keeps `OpenRuns` up to date with the progress messages that it shows."""

    def __init__(self, inner: Transport, open_runs: OpenRuns) -> None:
        self._inner = inner
        self._open_runs = open_runs

    async def close(self) -> None:
        """Close the transport."""
        await self._inner.close()

    async def send(
        self,
        *,
        channel_id: ChannelId,
        message: RenderedMessage,
        options: SendOptions | None = None,
    ) -> MessageRef | None:
        """Post a message. What it replaces or answers is forgotten once it is there.

        Progress that nobody waits for any more by the time it is posted is deleted at once: its run
        ends in a message of its own.
        """
        if not _is_progress(message):
            noted = self._noted(message, options or SendOptions())
            ref = await self._inner.send(channel_id=channel_id, message=noted, options=options)
            if options is not None and options.replace is not None:
                # Even if it failed: an answer that cannot be posted is shown in what it replaces.
                self._forget(options.replace)
            return ref
        posting = _Posting()
        async with anyio.create_task_group() as group:
            group.start_soon(self._post, posting, channel_id, message, options)
            try:
                await posting.done.wait()
            except anyio.get_cancelled_exc_class():
                posting.abandoned = True
                posting.scope.deadline = anyio.current_time() + _LATE_S
                raise
        return posting.ref

    def _noted(self, message: RenderedMessage, options: SendOptions) -> RenderedMessage:
        """A message that takes note once it is posted, which may be when nobody waits for it."""
        prompt, progress = options.reply_to, options.replace

        def on_posted() -> None:
            if prompt is not None:
                self._forget(prompt)
            if progress is not None:
                self._open_runs.note(int(progress.channel_id), int(progress.message_id), "answered")

        return RenderedMessage(message.text, {**message.extra, "on_posted": on_posted})

    async def _post(
        self,
        posting: _Posting,
        channel_id: ChannelId,
        message: RenderedMessage,
        options: SendOptions | None,
    ) -> None:
        """Post progress, and note it."""
        with posting.scope:
            ref = await self._inner.send(channel_id=channel_id, message=message, options=options)
            if ref is not None:
                thread_id = int(ref.thread_id) if ref.thread_id is not None else None
                shown = OpenRun(int(ref.channel_id), int(ref.message_id), thread_id)
                if posting.abandoned:
                    self._open_runs.add(replace(shown, state="answered"))
                else:
                    self._open_runs.add(shown, instead_of=_prompt(options))
                if options is not None and options.replace is not None:
                    self._forget(options.replace)
                if posting.abandoned:
                    await self.delete(ref=ref)
                posting.ref = ref
        posting.done.set()

    async def edit(
        self, *, ref: MessageRef, message: RenderedMessage, wait: bool = True
    ) -> MessageRef | None:
        """Change a message. Whatever happens meanwhile, an answer must not be marked as interrupted."""
        if "answer" in message.extra:
            self._open_runs.note(int(ref.channel_id), int(ref.message_id), "answering")
        edited = await self._inner.edit(ref=ref, message=message, wait=wait)
        if edited is not None and not _is_progress(message):
            self._forget(ref)
        return edited

    async def delete(self, *, ref: MessageRef) -> bool:
        """Delete a message."""
        deleted = await self._inner.delete(ref=ref)
        if deleted:
            self._forget(ref)
        return deleted

    def _forget(self, ref: MessageRef) -> None:
        self._open_runs.remove(int(ref.channel_id), int(ref.message_id))


def _prompt(options: SendOptions | None) -> tuple[int, int] | None:
    """The message that a progress message belongs to."""
    if options is None or options.reply_to is None:
        return None
    return int(options.reply_to.channel_id), int(options.reply_to.message_id)


def _is_progress(message: RenderedMessage) -> bool:
    return bool(message.extra.get("progress"))
