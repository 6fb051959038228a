"""Runners without an engine: they play what they are told, and keep the runner contract."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import anyio
import anyio.lowlevel

from takopi.engines.base import session_lock
from takopi.model import (
    ActionEvent,
    CompletedEvent,
    EngineId,
    ResumeToken,
    StartedEvent,
    TakopiEvent,
)

MOCK_ENGINE = "mock"


@dataclass(frozen=True, slots=True)
class Emit:
    """Give an event; with ``at`` the clock is moved there first."""

    event: TakopiEvent
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """Move the clock."""

    now: float


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait, by the runner's ``sleep``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until an event is set."""

    event: anyio.Event


@dataclass(frozen=True, slots=True)
class Return:
    """End the run well."""

    answer: str


@dataclass(frozen=True, slots=True)
class Raise:
    """Let the run fail."""

    error: BaseException


Step: TypeAlias = Emit | Advance | Sleep | Wait | Return | Raise


class ScriptRunner:
    """Plays the same script in every run; ``calls`` are the prompts and tokens it was given.

    ``resume_value``        the session of new runs; a random one where it is None
    ``emit_session_start``  False for an engine that never tells its session
    ``sleep``, ``advance``  what `Sleep` waits with, and what `Advance` and ``Emit.at`` set
    ``default_answer``      the answer of a script that does not end in `Return` or `Raise`
    """

    def __init__(
        self,
        script: Iterable[Step],
        *,
        engine: EngineId = MOCK_ENGINE,
        resume_value: str | None = None,
        emit_session_start: bool = True,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
        advance: Callable[[float], None] | None = None,
        default_answer: str = "",
        title: str | None = None,
    ) -> None:
        self.engine = engine
        self.title = title
        self.calls: list[tuple[str, ResumeToken | None]] = []
        self._script = tuple(script)
        self._resume_value = resume_value
        self._emit_session_start = emit_session_start
        self._sleep = sleep
        self._advance = advance
        self._default_answer = default_answer
        line = rf"(?im)^[ \t]*`?{re.escape(engine)}[ \t]+resume[ \t]+(?P<token>[^\s`]+)`?[ \t]*$"
        self._resume_line = re.compile(line)

    # -- resume lines ------------------------------------------------------------------------

    def format_resume(self, token: ResumeToken) -> str:
        """`` `<engine> resume <token>` ``."""
        if token.engine != self.engine:
            raise RuntimeError(f"resume token is for engine '{token.engine}'")
        return f"`{self.engine} resume {token.value}`"

    def is_resume_line(self, line: str) -> bool:
        """Whether the whole line is such a line."""
        return self._resume_line.fullmatch(line.strip()) is not None

    def extract_resume(self, text: str | None) -> ResumeToken | None:
        """The token of the last such line."""
        found = [match["token"] for match in self._resume_line.finditer(text or "")]
        return ResumeToken(self.engine, found[-1]) if found else None

    # -- runs --------------------------------------------------------------------------------

    async def run(self, prompt: str, resume: ResumeToken | None) -> AsyncIterator[TakopiEvent]:
        """Play the script, holding the session's lock."""
        self.calls.append((prompt, resume))
        if resume is not None and resume.engine != self.engine:
            raise RuntimeError(f"resume token is for engine '{resume.engine}', not '{self.engine}'")
        token = resume or ResumeToken(self.engine, self._resume_value or uuid.uuid4().hex)
        lock = session_lock(token)
        await lock.acquire()
        try:
            known = token if self._emit_session_start else resume
            if self._emit_session_start:
                yield StartedEvent(self.engine, token, self.title)
            for step in self._script:
                event = await self._play(step, known)
                if event is not None:
                    yield event
                if isinstance(event, CompletedEvent):
                    return
            yield CompletedEvent(self.engine, True, self._default_answer, known)
        finally:
            lock.release()

    async def _play(self, step: Step, resume: ResumeToken | None) -> TakopiEvent | None:
        match step:
            case Emit(event, at):
                self._set_clock(at)
                await anyio.lowlevel.checkpoint()
                return _settled(event)
            case Advance(now):
                self._set_clock(now)
            case Sleep(seconds):
                await self._sleep(seconds)
            case Wait(event):
                await event.wait()
            case Return(answer):
                return CompletedEvent(self.engine, True, answer, resume)
            case Raise(error):
                raise error
        return None

    def _set_clock(self, now: float | None) -> None:
        if now is not None and self._advance is not None:
            self._advance(now)


class MockRunner(ScriptRunner):
    """Gives the same events and the same answer in every run."""

    def __init__(
        self,
        *,
        events: Iterable[TakopiEvent],
        answer: str = "",
        engine: EngineId = MOCK_ENGINE,
        resume_value: str | None = None,
        title: str | None = None,
    ) -> None:
        super().__init__(
            [Emit(event) for event in events],
            engine=engine,
            resume_value=resume_value,
            default_answer=answer,
            title=title,
        )


def _settled(event: TakopiEvent) -> TakopiEvent:
    """A completed action that does not say so has gone well."""
    if isinstance(event, ActionEvent) and event.phase == "completed" and event.ok is None:
        return replace(event, ok=True)
    return event
