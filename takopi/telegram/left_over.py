"""What a takopi that was killed left behind: each prompt gets its `interrupted`, and no button lives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from takopi.bridge.delivery import MessageRef, RenderedMessage, SendOptions, Transport
from takopi.telegram.open_runs import OpenRun, OpenRuns
from takopi.telegram.presenter import NO_KEYBOARD
from takopi.telegram.render import render_markdown

_TEXT = "`interrupted`: takopi ended before this did; send it again if it is still wanted."
_NEAR = 16  # how many messages after its prompt a progress message may be that we never heard of


class LeftOver:
    """Ends in the chat what ended unseen.

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

    async def settle(self, run: OpenRun) -> None:
        """Say what became of a run."""
        ref = MessageRef(run.chat_id, run.message_id, thread_id=run.thread_id)
        if run.state == "asked":
            await self._reply(run, ref)
        elif run.state == "answered":
            await self._transport.delete(ref=ref)
        elif run.state == "shown" or await self._remove_buttons(ref):  # an answer has none
            self._open_runs.note(run.chat_id, run.message_id, "shown")
            await self._transport.edit(ref=ref, message=_interrupted(run))
        self._open_runs.remove(run.chat_id, run.message_id)  # also if nothing can be said there

    async def _reply(self, run: OpenRun, prompt: MessageRef) -> None:
        """Answer a prompt whose progress was perhaps posted, but we do not know as which message."""
        options = SendOptions(reply_to=prompt, notify=False, thread_id=run.thread_id)
        said = await self._transport.send(
            channel_id=run.chat_id, message=_interrupted(run), options=options
        )
        if said is None:
            return
        first = run.message_id + 1
        for message_id in range(first, min(int(said.message_id), first + _NEAR)):
            if not self._open_runs.has(run.chat_id, message_id):  # those are alive
                await self._remove_buttons(MessageRef(run.chat_id, message_id))


def _interrupted(run: OpenRun) -> RenderedMessage:
    footer = f"\n\n{run.footer}" if run.footer is not None else ""
    text, entities = render_markdown(_TEXT + footer)
    return RenderedMessage(text, {"entities": entities, "reply_markup": NO_KEYBOARD})
