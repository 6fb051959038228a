"""The engines of a takopi, usable or not, and which one a text belongs to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from takopi.engines.base import Runner
from takopi.errors import RunnerUnavailableError
from takopi.model import EngineId, ResumeToken, TakopiEvent

EngineStatus: TypeAlias = Literal[
    "ok",
    "missing_cli",  # its program is not installed
    "bad_config",  # runs with its defaults, for its own settings were refused
    "load_error",  # there is no runner
]


class ResumeCodec(Protocol):
    """The half of a `Runner` that writes and reads resume lines."""

    def format_resume(self, token: ResumeToken) -> str: ...

    def is_resume_line(self, line: str) -> bool: ...

    def extract_resume(self, text: str | None) -> ResumeToken | None: ...


class UnavailableRunner:
    """Stands in for a runner that could not be built: every run raises `RunnerUnavailableError`.

    With the engine's ``codec`` its resume lines are still understood; without one it has none.
    """

    def __init__(
        self, engine: EngineId, issue: str | None = None, codec: ResumeCodec | None = None
    ) -> None:
        self.engine = engine
        self.issue = issue
        self._codec = codec

    def run(self, prompt: str, resume: ResumeToken | None) -> AsyncIterator[TakopiEvent]:
        raise RunnerUnavailableError(self.engine, self.issue)

    def format_resume(self, token: ResumeToken) -> str:
        return self._codec.format_resume(token) if self._codec is not None else ""

    def is_resume_line(self, line: str) -> bool:
        return self._codec is not None and self._codec.is_resume_line(line)

    def extract_resume(self, text: str | None) -> ResumeToken | None:
        return self._codec.extract_resume(text) if self._codec is not None else None


@dataclass(frozen=True, slots=True)
class RunnerEntry:
    """One engine. ``issue`` says what is wrong with it, in one line."""

    engine: EngineId
    runner: Runner
    status: EngineStatus = "ok"
    issue: str | None = None

    @property
    def available(self) -> bool:
        """Whether it can run."""
        return self.status in ("ok", "bad_config")


def unavailable_entry(
    engine: EngineId, issue: str | None, codec: ResumeCodec | None = None
) -> RunnerEntry:
    """The entry of an engine that has no runner: it is listed, and says why it cannot run."""
    return RunnerEntry(engine, UnavailableRunner(engine, issue, codec), "load_error", issue)


class AutoRouter:
    """All engines in order, and the default one.

    Raises ValueError for no engine, two of one id, and a default that is not among them.
    """

    def __init__(self, entries: Iterable[RunnerEntry], default_engine: EngineId) -> None:
        self.entries = tuple(entries)
        self._by_engine = {entry.engine: entry for entry in self.entries}
        if not self.entries:
            raise ValueError("there must be an engine")
        if len(self._by_engine) < len(self.entries):
            raise ValueError(f"engines must have different ids: {_join(self.entries)}")
        if default_engine not in self._by_engine:
            raise ValueError(
                f"default engine '{default_engine}' is none of these: {_join(self.entries)}"
            )
        self.default_engine = default_engine

    @property
    def available_entries(self) -> tuple[RunnerEntry, ...]:
        """Those that can run."""
        return tuple(entry for entry in self.entries if entry.available)

    @property
    def engine_ids(self) -> tuple[EngineId, ...]:
        """The ids of all, unavailable ones included."""
        return tuple(self._by_engine)

    @property
    def default_entry(self) -> RunnerEntry:
        """The entry of the default engine."""
        return self._by_engine[self.default_engine]

    def entry_for_engine(self, engine: EngineId | None) -> RunnerEntry:
        """The engine's entry, the default one for None. Raises `RunnerUnavailableError`."""
        if engine is None:
            return self.default_entry
        entry = self._by_engine.get(engine)
        if entry is None:
            raise RunnerUnavailableError(engine, "engine not configured")
        return entry

    def entry_for(self, token: ResumeToken | None) -> RunnerEntry:
        """The entry of the token's engine. Raises `RunnerUnavailableError` for an unknown one."""
        return self.entry_for_engine(token.engine if token is not None else None)

    def runner_for(self, token: ResumeToken | None) -> Runner:
        """The runner of the token's engine. Raises `RunnerUnavailableError` if it cannot run."""
        entry = self.entry_for(token)
        if not entry.available:
            raise RunnerUnavailableError(entry.engine, entry.issue)
        return entry.runner

    def extract_resume(self, text: str | None) -> ResumeToken | None:
        """The token the first engine finds; unavailable ones are asked too."""
        if not text:
            return None
        found = (entry.runner.extract_resume(text) for entry in self.entries)
        return next((token for token in found if token is not None), None)

    def resolve_resume(
        self, text: str, reply_text: str | None, *, reply_from_bot: bool = False
    ) -> ResumeToken | None:
        """The token of a message, else of the text it replies to.

        With ``reply_from_bot`` the last resume line of that text counts, whichever engine's it is:
        the footer's, and not one that the answer happens to mention.
        """
        token = self.extract_resume(text)
        if token is None and reply_from_bot:
            token = self._last_resume(reply_text or "")
        return token if token is not None else self.extract_resume(reply_text)

    def is_resume_line(self, line: str) -> bool:
        """Whether the whole line is any engine's resume command."""
        return any(entry.runner.is_resume_line(line) for entry in self.entries)

    def format_resume(self, token: ResumeToken) -> str:
        """The resume line of the token's engine. Raises `RunnerUnavailableError` for no such one."""
        return self.entry_for(token).runner.format_resume(token)

    def _last_resume(self, text: str) -> ResumeToken | None:
        found = (self.extract_resume(line) for line in reversed(text.splitlines()))
        return next((token for token in found if token is not None), None)


def _join(entries: Iterable[RunnerEntry]) -> str:
    return ", ".join(entry.engine for entry in entries)
