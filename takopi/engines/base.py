"""The runner contract, session locks and the ambient options of a run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

import anyio

from takopi.model import CompletedEvent, EngineId, ResumeToken, StartedEvent, TakopiEvent


class Runner(Protocol):
    """What the rest of takopi knows about an engine.

    `run` is a plain call that returns an async iterator: at most one ``started``, exactly one
    ``completed``, which is last and carries the same token.
    """

    engine: EngineId

    def run(self, prompt: str, resume: ResumeToken | None) -> AsyncIterator[TakopiEvent]: ...

    def format_resume(self, token: ResumeToken) -> str: ...

    def is_resume_line(self, line: str) -> bool: ...

    def extract_resume(self, text: str | None) -> ResumeToken | None: ...


class Run(Protocol):
    """A run that somebody holds on to: its events, which end with ``outcome``, and a way to end it.

    ``cancel`` ends the engine's whole process tree; the events still end with one ``completed``.
    """

    events: AsyncIterator[TakopiEvent]
    outcome: CompletedEvent | None

    async def cancel(self) -> None: ...


def start_run(runner: Runner, prompt: str, resume: ResumeToken | None) -> Run:
    """A run of any runner: of its own making if it has a ``start``, else around its iterator."""
    start = getattr(runner, "start", None)
    if start is not None:
        run: Run = start(prompt, resume)
        return run
    return _IteratedRun(runner, prompt, resume)


class _IteratedRun:
    def __init__(self, runner: Runner, prompt: str, resume: ResumeToken | None) -> None:
        self.outcome: CompletedEvent | None = None
        self.events: AsyncIterator[TakopiEvent] = self._events(runner, prompt, resume)
        self._cancelled = False
        self._scope: anyio.CancelScope | None = None

    async def cancel(self) -> None:
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    async def _events(
        self, runner: Runner, prompt: str, resume: ResumeToken | None
    ) -> AsyncIterator[TakopiEvent]:
        with anyio.CancelScope() as self._scope:
            if self._cancelled:
                self._scope.cancel()
            events = runner.run(prompt, resume)
            try:
                async for event in events:
                    if isinstance(event, StartedEvent):
                        resume = event.resume
                    elif isinstance(event, CompletedEvent):
                        self.outcome = event
                    yield event
            finally:
                close = getattr(events, "aclose", None)
                if close is not None:
                    await close()
        if self.outcome is None and self._cancelled:
            self.outcome = CompletedEvent(runner.engine, False, "", resume, "cancelled")
            yield self.outcome


@dataclass(frozen=True, slots=True)
class EngineRunOptions:
    """Per-run overrides: a chat's ``/model`` and ``/reasoning``."""

    model: str | None = None
    reasoning: str | None = None


_run_options: ContextVar[EngineRunOptions | None] = ContextVar("run_options", default=None)


@contextmanager
def apply_run_options(options: EngineRunOptions | None) -> Iterator[None]:
    """Let runs started inside the block (and in tasks it starts) use ``options``."""
    token = _run_options.set(options)
    try:
        yield
    finally:
        _run_options.reset(token)


def get_run_options() -> EngineRunOptions | None:
    """The options applied around the current run."""
    return _run_options.get()


class SessionLock:
    """One session's lock. A semaphore, because a generator may be closed by another task."""

    __slots__ = ("__weakref__", "_semaphore")

    def __init__(self) -> None:
        self._semaphore = anyio.Semaphore(1, max_value=1)

    async def acquire(self) -> None:
        await self._semaphore.acquire()

    def release(self) -> None:
        self._semaphore.release()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()


# Keyed by engine and token, not held by runners: a configuration reload replaces runners while
# their runs go on. Weak: an idle session costs nothing.
_locks: WeakValueDictionary[ResumeToken, SessionLock] = WeakValueDictionary()


def session_lock(token: ResumeToken) -> SessionLock:
    """The lock of a session; the same object for as long as anybody holds or waits for it."""
    lock = _locks.get(token)
    if lock is None:
        lock = _locks[token] = SessionLock()
    return lock
