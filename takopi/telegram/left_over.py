"""What a takopi that was killed left behind: each prompt gets its `interrupted`, and no button lives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from takopi.bridge.delivery import MessageRef, RenderedMessage, SendOptions, Transport
from takopi.telegram.open_runs import OpenRun, OpenRuns
from takopi.telegram.presenter import NO_KEYBOARD
from takopi.telegram.render import render_markdown

_TEXT = "`interrupted`: takopi ended before this did; send it again if it is still wanted."
_NEAR = 8  # how many messages after its prompt a progress message may be that we never heard of


class LeftOver:
    """Ends in the chat what ended unseen. It takes note itself: ``transport`` is not to do that.

    ``remove_buttons``  takes the keyboard of a message away, if it is ours and has one; whether it did
    """

    def __init__(
        self,
        transport: Transport,
        open_runs: OpenRuns,
        remove_buttons: Callable[[MessageRef], Awaitable[bool]],
    ) -> None:
        self._transport = transport
        self._open_runs = open_runs
        self._remove_buttons = remove_buttons
        self._searched: set[MessageRef] = set()

    async def settle(self, run: OpenRun) -> None:
        """Say what became of a run."""
        ref = MessageRef(run.chat_id, run.message_id, thread_id=run.thread_id)
        if run.state in ("asked", "said"):
            last = await self._reply(run, ref) if run.state == "asked" else run.message_id + _NEAR
            await self._search_buttons(run, last)
        elif run.state == "answered":
            await self._transport.delete(ref=ref)
        elif run.state == "shown" or await self._remove_buttons(ref):  # an answer has none
            self._open_runs.note(run.chat_id, run.message_id, "shown")
            await self._transport.edit(ref=ref, message=_interrupted(run))
        self._open_runs.remove(run.chat_id, run.message_id)  # also if nothing can be said there

    async def _reply(self, run: OpenRun, prompt: MessageRef) -> int:
        """Answer a prompt; the number of the answer, or of the prompt if that failed."""
        message = _interrupted(run)
        message.extra["on_posted"] = partial(
            self._open_runs.note, run.chat_id, run.message_id, "said"
        )
        options = SendOptions(reply_to=prompt, notify=False, thread_id=run.thread_id)
        said = await self._transport.send(channel_id=run.chat_id, message=message, options=options)
        return int(said.message_id) if said is not None else run.message_id

    async def _search_buttons(self, run: OpenRun, last: int) -> None:
        """Progress was perhaps posted for a prompt, but we do not know as which message."""
        first = run.message_id + 1
        for message_id in range(first, min(last, first + _NEAR)):
            ref = MessageRef(run.chat_id, message_id)
            alive = self._open_runs.has(run.chat_id, message_id)
            if not alive and ref not in self._searched:
                self._searched.add(ref)
                await self._remove_buttons(ref)


def _interrupted(run: OpenRun) -> RenderedMessage:
    footer = f"\n\n{run.footer}" if run.footer is not None else ""
    text, entities = render_markdown(_TEXT + footer)
    return RenderedMessage(text, {"entities": entities, "reply_markup": NO_KEYBOARD})
