"""The runner contract, session locks and the ambient options of a run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

import anyio

from takopi.model import EngineId, ResumeToken, TakopiEvent


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


# Keyed by engine and token, not held by runners: a configuration reload replaces runners while
# their runs go on. Weak: an idle session costs nothing.
_locks: WeakValueDictionary[ResumeToken, SessionLock] = WeakValueDictionary()


def session_lock(token: ResumeToken) -> SessionLock:
    """The lock of a session; the same object for as long as anybody holds or waits for it."""
    lock = _locks.get(token)
    if lock is None:
        lock = _locks[token] = SessionLock()
    return lock
