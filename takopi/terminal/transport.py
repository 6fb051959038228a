"""Messages of a terminal: those of runs under way can change, all others are printed once."""

from __future__ import annotations

from takopi.bridge.delivery import (
    ChannelId,
    MessageId,
    MessageRef,
    RenderedMessage,
    SendOptions,
)
from takopi.bridge.markdown import MarkdownFormatter, MarkdownParts, assemble_markdown_parts
from takopi.bridge.progress import ProgressState
from takopi.terminal.screen import Screen

_ALIVE = frozenset({"queued", "starting", "working"})  # labels of messages that will change
_MAX_ACTIONS = 4


class TerminalPresenter:
    """Renders for `TerminalTransport`: the text in parts, and whether it is ``live``."""

    def __init__(self) -> None:
        self._formatter = MarkdownFormatter(max_actions=_MAX_ACTIONS)

    def render_progress(
        self, state: ProgressState, *, elapsed_s: float, label: str = "working"
    ) -> RenderedMessage:
        """A run under way, or how it was ended."""
        parts = self._formatter.render_progress_parts(state, elapsed_s=elapsed_s, label=label)
        return _message(parts, live=label in _ALIVE)

    def render_final(
        self, state: ProgressState, *, elapsed_s: float, status: str, answer: str
    ) -> RenderedMessage:
        """A run that is over."""
        parts = self._formatter.render_final_parts(
            state, elapsed_s=elapsed_s, status=status, answer=answer
        )
        return _message(parts, live=False)


def _message(parts: MarkdownParts, *, live: bool) -> RenderedMessage:
    return RenderedMessage(assemble_markdown_parts(parts), {"parts": parts, "live": live})


class TerminalTransport:
    """A transport whose messages of runs carry the number of the message they reply to.

    ``ring``  whether a loud message rings the bell
    """

    def __init__(self, screen: Screen, *, ring: bool) -> None:
        self._screen = screen
        self._ring = ring
        self._sent = 0
        self._live: dict[MessageRef, MessageId | None] = {}  # and the number of the run

    async def close(self) -> None:
        """Nothing to release: the screen belongs to the chat."""

    async def send(
        self,
        *,
        channel_id: ChannelId,
        message: RenderedMessage,
        options: SendOptions | None = None,
    ) -> MessageRef:
        """Show a message; what it replaces is gone."""
        options = options or SendOptions()
        self._sent += 1
        ref = MessageRef(channel_id, f"out-{self._sent}")
        if options.replace is not None:
            await self.delete(ref=options.replace)
        number = options.reply_to.message_id if options.reply_to is not None else None
        self._show(ref, message, number, ring=options.notify)
        return ref

    async def edit(
        self, *, ref: MessageRef, message: RenderedMessage, wait: bool = True
    ) -> MessageRef | None:
        """Change a message that is live; None for others, which are printed already."""
        if ref not in self._live:
            return None
        self._show(ref, message, self._live[ref], ring=False)
        return ref

    async def delete(self, *, ref: MessageRef) -> bool:
        """Take a live message away."""
        if ref not in self._live:
            return False
        del self._live[ref]
        self._screen.drop(ref)
        return True

    def _show(
        self, ref: MessageRef, message: RenderedMessage, number: MessageId | None, *, ring: bool
    ) -> None:
        parts: MarkdownParts | None = message.extra.get("parts")
        if parts is not None and message.extra.get("live"):
            self._live[ref] = number
            self._screen.update(ref, _numbered(parts, number))
            return
        if self._live.pop(ref, None) is not None:
            self._screen.drop(ref)
        if parts is None:
            self._screen.say(MarkdownParts("", message.text))
        else:
            self._screen.say(_numbered(parts, number), ring=ring and self._ring)


def _numbered(parts: MarkdownParts, number: MessageId | None) -> MarkdownParts:
    header = parts.header.replace("`", "")
    return MarkdownParts(f"#{number} {header}", parts.body, parts.footer)
