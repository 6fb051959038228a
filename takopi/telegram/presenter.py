"""A run's state as a Telegram message: text, entities, the cancel button, and how it travels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Literal

from takopi.bridge.delivery import ChannelId, RenderedMessage
from takopi.bridge.markdown import MarkdownFormatter, MarkdownParts, assemble_markdown_parts
from takopi.bridge.progress import ProgressState
from takopi.telegram.overflow import ELLIPSIS
from takopi.telegram.render import Prepared, prepare_telegram, prepare_telegram_multi

Overflow = Literal["trim", "split"]

CANCEL_DATA = "takopi:cancel"
CANCEL_KEYBOARD = {"inline_keyboard": [[{"text": "cancel", "callback_data": CANCEL_DATA}]]}
NO_KEYBOARD: dict[str, Any] = {"inline_keyboard": []}

LOUD_AFTER_S = 30.0
"""An error this late finds nobody looking: it is sent with sound, as answers are."""

_SHORT = 4_000  # characters: they fill a message, and take some 10 ms to render

_ALIVE = frozenset({"starting", "working", "queued"})  # labels of runs that can be cancelled
_HEARTBEAT_S, _GROUP_HEARTBEAT_S = 15.0, 30.0


def heartbeat_s(chat_id: ChannelId) -> float:
    """How often the elapsed time of a silent run may move on in a chat."""
    return _GROUP_HEARTBEAT_S if isinstance(chat_id, int) and chat_id < 0 else _HEARTBEAT_S


class TelegramPresenter:
    """Renders for `TelegramTransport`, which knows what is in ``extra`` (see there).

    ``overflow``      what happens to an answer that is too long for one message
    ``loud_after_s``  when an error is sent with sound; None for never
    """

    def __init__(
        self,
        *,
        formatter: MarkdownFormatter | None = None,
        overflow: Overflow = "trim",
        loud_after_s: float | None = LOUD_AFTER_S,
    ) -> None:
        self._formatter = formatter or MarkdownFormatter()
        self._overflow = overflow
        self._loud_after_s = loud_after_s

    def render_progress(
        self, state: ProgressState, *, elapsed_s: float, label: str = "working"
    ) -> RenderedMessage:
        """A run under way, with a cancel button; or how it ended, if the label says so."""
        parts = self._formatter.render_progress_parts(state, elapsed_s=elapsed_s, label=label)
        if label in _ALIVE:
            return _message(prepare_telegram(parts), CANCEL_KEYBOARD, progress=True)
        return _message(prepare_telegram(parts), NO_KEYBOARD)

    def render_final(
        self, state: ProgressState, *, elapsed_s: float, status: str, answer: str
    ) -> RenderedMessage:
        """A run that is over, without buttons; in split mode with the rest as follow-ups.

        Of a long answer this is the beginning: rendering the whole is left to the transport.
        """
        parts = self._formatter.render_final_parts(
            state, elapsed_s=elapsed_s, status=status, answer=answer
        )
        extra: dict[str, Any] = {"answer": assemble_markdown_parts(parts)}
        if status == "error" and self._loud_after_s is not None and elapsed_s > self._loud_after_s:
            extra["loud"] = True
        if parts.body and len(parts.body) > _SHORT:
            beginning = replace(parts, body=parts.body[:_SHORT] + ELLIPSIS)
            extra["whole"] = partial(self._render, parts)
            return _message(prepare_telegram(beginning), NO_KEYBOARD, **extra)
        return self._render(parts, **extra)

    def _render(self, parts: MarkdownParts, **extra: Any) -> RenderedMessage:
        first, *others = self._prepare(parts)
        if others:
            extra["followups"] = [_message(other, NO_KEYBOARD) for other in others]
        return _message(first, NO_KEYBOARD, **extra)

    def _prepare(self, parts: MarkdownParts) -> list[Prepared]:
        if self._overflow == "split":
            return prepare_telegram_multi(parts)
        return [prepare_telegram(parts)]


def _message(prepared: Prepared, keyboard: dict[str, Any], **extra: Any) -> RenderedMessage:
    text, entities = prepared
    return RenderedMessage(text, {"entities": entities, "reply_markup": keyboard, **extra})
