"""`EventFactory`: builds one run's events and remembers its session."""

from __future__ import annotations

from typing import Any

from takopi.model import (
    Action,
    ActionEvent,
    ActionLevel,
    ActionPhase,
    CompletedEvent,
    EngineId,
    ResumeToken,
    StartedEvent,
)


class EventFactory:
    """Builds the events of one run of ``engine``; `started` records the token, `completed` reuses it."""

    __slots__ = ("_resume", "engine")

    def __init__(self, engine: EngineId) -> None:
        self.engine = engine
        self._resume: ResumeToken | None = None

    @property
    def resume(self) -> ResumeToken | None:
        """The token given to `started`, or None before that."""
        return self._resume

    def started(
        self,
        token: ResumeToken,
        *,
        title: str | None = None,
        meta: dict[str, Any] | None = None,
    ) -> StartedEvent:
        """Record the session. Raises RuntimeError for another engine's token or a second, different one."""
        if token.engine != self.engine:
            raise RuntimeError(f"resume token is for engine '{token.engine}'")
        if self._resume is not None and self._resume != token:
            raise RuntimeError(f"resume token mismatch: {self._resume.value} vs {token.value}")
        self._resume = token
        return StartedEvent(self.engine, token, title, meta)

    def action(
        self,
        *,
        phase: ActionPhase,
        action_id: str,
        kind: str,
        title: str,
        detail: dict[str, Any] | None = None,
        ok: bool | None = None,
        message: str | None = None,
        level: ActionLevel | None = None,
    ) -> ActionEvent:
        """An action in any phase."""
        return ActionEvent(
            self.engine,
            Action(action_id, kind, title, {} if detail is None else detail),
            phase,
            ok,
            message,
            level,
        )

    def action_started(
        self, *, action_id: str, kind: str, title: str, detail: dict[str, Any] | None = None
    ) -> ActionEvent:
        """An action that began."""
        return self.action(
            phase="started", action_id=action_id, kind=kind, title=title, detail=detail
        )

    def action_updated(
        self, *, action_id: str, kind: str, title: str, detail: dict[str, Any] | None = None
    ) -> ActionEvent:
        """An action that moved on."""
        return self.action(
            phase="updated", action_id=action_id, kind=kind, title=title, detail=detail
        )

    def action_completed(
        self,
        *,
        action_id: str,
        kind: str,
        title: str,
        ok: bool,
        detail: dict[str, Any] | None = None,
        message: str | None = None,
        level: ActionLevel | None = None,
    ) -> ActionEvent:
        """An action that ended."""
        return self.action(
            phase="completed",
            action_id=action_id,
            kind=kind,
            title=title,
            detail=detail,
            ok=ok,
            message=message,
            level=level,
        )

    def completed(
        self,
        *,
        ok: bool,
        answer: str,
        resume: ResumeToken | None = None,
        error: str | None = None,
        usage: dict[str, Any] | None = None,
    ) -> CompletedEvent:
        """The end of the run; ``resume`` defaults to the recorded token."""
        return CompletedEvent(
            self.engine, ok, answer, self._resume if resume is None else resume, error, usage
        )

    def completed_ok(
        self,
        *,
        answer: str,
        resume: ResumeToken | None = None,
        usage: dict[str, Any] | None = None,
    ) -> CompletedEvent:
        """A run that succeeded."""
        return self.completed(ok=True, answer=answer, resume=resume, usage=usage)

    def completed_error(
        self,
        *,
        error: str,
        answer: str = "",
        resume: ResumeToken | None = None,
        usage: dict[str, Any] | None = None,
    ) -> CompletedEvent:
        """A run that failed."""
        return self.completed(ok=False, answer=answer, resume=resume, error=error, usage=usage)
