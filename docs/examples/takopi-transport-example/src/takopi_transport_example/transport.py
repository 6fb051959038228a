"""What takopi does in the chat: post, edit and delete messages, and how the state of a run looks."""

from __future__ import annotations

from itertools import count
from typing import TextIO

from takopi.api import (
    MarkdownFormatter,
    MessageRef,
    ProgressState,
    RenderedMessage,
    SendOptions,
    assemble_markdown_parts,
)

CHANNEL = "lines"


class LineTransport:
    """Prints messages. Nothing here raises because a message could not be delivered."""

    def __init__(self, out: TextIO) -> None:
        self.texts: dict[MessageRef, str] = {}  # a real chat knows what was replied to by itself
        self._out = out
        self._ids = count(1)

    async def send(
        self,
        *,
        channel_id: int | str,
        message: RenderedMessage,
        options: SendOptions | None = None,
    ) -> MessageRef | None:
        """Post a message, then delete what it replaces, then post what follows it."""
        options = options or SendOptions()
        ref = MessageRef(channel_id, next(self._ids), thread_id=options.thread_id)
        replaced = options.replace
        if not self._print(ref, message, f"replaces #{replaced.message_id}: " if replaced else ""):
            return None
        if replaced is not None:
            self.texts.pop(replaced, None)
        for follow_up in message.extra.get("followups", ()):
            await self.send(channel_id=channel_id, message=follow_up)
        return ref

    async def edit(
        self, *, ref: MessageRef, message: RenderedMessage, wait: bool = True
    ) -> MessageRef | None:
        """Change a message. Printing takes no time: there is nothing to wait for, or to leave out."""
        return ref if self._print(ref, message, "is now: ") else None

    async def delete(self, *, ref: MessageRef) -> bool:
        """Delete a message, if it is there."""
        return self.texts.pop(ref, None) is not None

    async def close(self) -> None:
        """There is nothing to release."""

    def _print(self, ref: MessageRef, message: RenderedMessage, what: str) -> bool:
        self.texts[ref] = message.text
        first, *more = message.text.splitlines() or [""]
        lines = [f"#{ref.message_id} {what}{first}", *(f"  {line}".rstrip() for line in more)]
        try:
            print("\n".join(lines), file=self._out, flush=True)
        except OSError:  # nobody reads any more
            return False
        return True


class LinePresenter:
    """Markdown as it is. Pure: the same state gives the same message."""

    def __init__(self) -> None:
        self._formatter = MarkdownFormatter()

    def render_progress(
        self, state: ProgressState, *, elapsed_s: float, label: str = "working"
    ) -> RenderedMessage:
        """A run under way."""
        parts = self._formatter.render_progress_parts(state, elapsed_s=elapsed_s, label=label)
        return RenderedMessage(assemble_markdown_parts(parts))

    def render_final(
        self, state: ProgressState, *, elapsed_s: float, status: str, answer: str
    ) -> RenderedMessage:
        """A run that is over. A chat with a limit would cut the body: header and footer must stay."""
        parts = self._formatter.render_final_parts(
            state, elapsed_s=elapsed_s, status=status, answer=answer
        )
        return RenderedMessage(assemble_markdown_parts(parts))
