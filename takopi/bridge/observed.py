"""What a command learns of the runs that it starts: how they end, and what nobody else is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator

from takopi.bridge.commands import RunResult
from takopi.bridge.delivery import ChannelId, MessageRef, RenderedMessage, SendOptions
from takopi.bridge.handle import error_text
from takopi.engines.base import Runner
from takopi.model import CompletedEvent, ResumeToken, StartedEvent, TakopiEvent

CANCELLED = "cancelled"


class Capture:
    """A chat that nobody sees. ``last`` is what it would show."""

    def __init__(self, ref: MessageRef) -> None:
        self.last: RenderedMessage | None = None
        self._ref = ref

    async def send(
        self,
        *,
        channel_id: ChannelId,
        message: RenderedMessage,
        options: SendOptions | None = None,
    ) -> MessageRef:
        """Keep a message."""
        self.last = message
        return self._ref

    async def edit(
        self, *, ref: MessageRef, message: RenderedMessage, wait: bool = True
    ) -> MessageRef:
        """Keep the message that takes the place of the last one."""
        self.last = message
        return ref

    async def delete(self, *, ref: MessageRef) -> bool:
        """Nobody saw it."""
        return True

    async def close(self) -> None:
        """There is nothing to release."""


class ObservedRunner:
    """A runner for one run, and what became of it."""

    def __init__(self, runner: Runner) -> None:
        self.engine = runner.engine
        self._runner = runner
        self._resume: ResumeToken | None = None
        self._completed: CompletedEvent | None = None
        # What stays until the events end is what a run dies of that somebody ended.
        self._failure = CANCELLED

    def run(self, prompt: str, resume: ResumeToken | None) -> AsyncIterator[TakopiEvent]:
        """The events of the run."""
        try:
            return _Events(self._runner.run(prompt, resume), self)
        except Exception as error:
            self.failed(error_text(error))
            raise

    def format_resume(self, token: ResumeToken) -> str:
        """The runner's own."""
        return self._runner.format_resume(token)

    def is_resume_line(self, line: str) -> bool:
        """The runner's own."""
        return self._runner.is_resume_line(line)

    def extract_resume(self, text: str | None) -> ResumeToken | None:
        """The runner's own."""
        return self._runner.extract_resume(text)

    def note(self, event: TakopiEvent) -> None:
        """Take in an event; the first end counts."""
        if isinstance(event, StartedEvent):
            self._resume = event.resume
        elif isinstance(event, CompletedEvent) and self._completed is None:
            self._completed = event

    def failed(self, reason: str) -> None:
        """Take in that there will be no events any more."""
        self._failure = reason

    def result(
        self, message: RenderedMessage | None, resume: ResumeToken | None, *, cancelled: bool
    ) -> RunResult:
        """What became of the run, ``resume`` being the session it was asked for.

        One that was ``cancelled`` may have failed as well, which is nobody's concern then.
        """
        known = self._resume or resume
        end = self._completed
        if end is None:
            why = CANCELLED if cancelled else self._failure
            return RunResult(self.engine, message, ok=False, resume=known, error=why)
        return RunResult(self.engine, message, end.ok, end.answer, end.resume or known, end.error)


class _Events:
    """The events of a run, seen by its observer. No generator: it must close when its source does."""

    def __init__(self, events: AsyncIterator[TakopiEvent], observer: ObservedRunner) -> None:
        self._events = aiter(events)
        self._observer = observer

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> TakopiEvent:
        try:
            event = await anext(self._events)
        except StopAsyncIteration:
            self._observer.failed("runner finished without a completed event")
            raise
        except (Exception, BaseExceptionGroup) as error:
            self._observer.failed(error_text(error))
            raise
        self._observer.note(event)
        return event

    async def aclose(self) -> None:
        """Close the source, in the task that reads it."""
        aclose = getattr(self._events, "aclose", None)
        if aclose is not None:
            await aclose()
