"""What every engine written in Python needs: resume lines, and one run at a time per session."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable

import anyio

from takopi.engines.base import SessionLock, session_lock
from takopi.model import EngineId, ResumeToken, StartedEvent, TakopiEvent


class ResumeTokenMixin:
    """The resume codec of an engine whose resume line is one regular expression.

    ``resume_re`` has a group ``token`` and describes a whole line.
    """

    engine: EngineId
    resume_re: re.Pattern[str]

    def format_resume(self, token: ResumeToken) -> str:
        """The resume line in back-ticks. Raises RuntimeError for another engine's token."""
        if token.engine != self.engine:
            raise RuntimeError(f"resume token is for engine '{token.engine}'")
        return f"`{self.engine} resume {token.value}`"

    def is_resume_line(self, line: str) -> bool:
        """Whether the whole line is this engine's resume command."""
        return self.resume_re.fullmatch(line) is not None

    def extract_resume(self, text: str | None) -> ResumeToken | None:
        """The token of the last resume line in ``text``."""
        for line in reversed((text or "").split("\n")):
            if (found := self.resume_re.fullmatch(line)) and found["token"]:
                return ResumeToken(self.engine, found["token"])
        return None


class BaseRunner:
    """A runner with one run at a time per session; a subclass writes `run_impl` as a generator."""

    engine: EngineId

    def run(self, prompt: str, resume: ResumeToken | None) -> AsyncIterator[TakopiEvent]:
        """The events of one run. Closing the iterator early ends the run."""
        return self.run_locked(prompt, resume)

    async def run_locked(
        self, prompt: str, resume: ResumeToken | None
    ) -> AsyncIterator[TakopiEvent]:
        """`run_impl` under its session's lock.

        A new session's lock is taken before its ``started`` is given to anybody.
        """
        held: dict[ResumeToken, SessionLock] = {}
        events = self.run_with_resume_lock(prompt, resume, self.run_impl)
        try:
            async for event in events:
                if isinstance(event, StartedEvent) and event.resume not in (resume, *held):
                    lock = self.lock_for(event.resume)
                    await lock.acquire()
                    held[event.resume] = lock
                yield event
        finally:
            try:
                await close_events(events)
            finally:
                for lock in held.values():
                    lock.release()

    async def run_with_resume_lock(
        self,
        prompt: str,
        resume: ResumeToken | None,
        run_fn: Callable[[str, ResumeToken | None], AsyncIterator[TakopiEvent]],
    ) -> AsyncIterator[TakopiEvent]:
        """``run_fn(prompt, resume)`` under the lock of ``resume``; a new run has none yet.

        Raises RuntimeError for another engine's token.
        """
        if resume is not None and resume.engine != self.engine:
            raise RuntimeError(f"resume token is for engine '{resume.engine}', not '{self.engine}'")
        lock = self.lock_for(resume) if resume is not None else None
        if lock is not None:
            await lock.acquire()
        events = None
        try:
            events = run_fn(prompt, resume)
            async for event in events:
                yield event
        finally:
            try:
                await close_events(events)
            finally:
                if lock is not None:
                    lock.release()

    def lock_for(self, token: ResumeToken) -> SessionLock:
        """The lock of a session: one per engine and token, whatever runner asks."""
        return session_lock(token)

    def run_impl(self, prompt: str, resume: ResumeToken | None) -> AsyncIterator[TakopiEvent]:
        """One run, its locks being somebody else's business."""
        raise NotImplementedError


async def close_events(events: object) -> None:
    """End a generator here and now; left to itself, it would be ended by some other task."""
    if (aclose := getattr(events, "aclose", None)) is not None:
        with anyio.CancelScope(shield=True):
            await aclose()
