"""From events to what a progress message shows: which steps there were and how far each one is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from takopi.model import (
    Action,
    ActionEvent,
    ActionPhase,
    EngineId,
    ResumeToken,
    StartedEvent,
    TakopiEvent,
)


@dataclass(slots=True)
class ActionState:
    """One step as last seen. Never changed: the next event of its id puts a new one in its place.

    ``display_phase`` is the phase to show: a step started again while open counts as ``updated``.
    ``first_seen`` and ``last_update`` count the run's action events, from 1.
    """

    action: Action
    phase: ActionPhase
    ok: bool | None
    display_phase: ActionPhase
    completed: bool
    first_seen: int
    last_update: int


@dataclass(slots=True)
class ProgressState:
    """A run at one moment. ``actions`` are in the order in which they were first seen."""

    engine: EngineId
    action_count: int
    actions: tuple[ActionState, ...]
    resume: ResumeToken | None
    resume_line: str | None
    context_line: str | None


class ProgressTracker:
    """Collects one run's events; `snapshot` is what a presenter renders."""

    __slots__ = ("_actions", "_sequence", "engine", "resume")

    def __init__(self, *, engine: EngineId) -> None:
        self.engine = engine
        self.resume: ResumeToken | None = None
        # In order of first sight: assigning to a known key keeps its place.
        self._actions: dict[str, ActionState] = {}
        self._sequence = 0

    @property
    def action_count(self) -> int:
        """How many different steps there were."""
        return len(self._actions)

    def note_event(self, event: TakopiEvent) -> bool:
        """Take in one event; whether the display changed."""
        if isinstance(event, ActionEvent):
            return self._note_action(event)
        if isinstance(event, StartedEvent):
            self.resume = event.resume
            return True
        return False

    def _note_action(self, event: ActionEvent) -> bool:
        action, phase = event.action, event.phase
        if action.kind == "turn" or not action.id:
            return False
        self._sequence += 1
        known = self._actions.get(action.id)
        still_open = phase == "started" and known is not None and not known.completed
        self._actions[action.id] = ActionState(
            action=action,
            phase=phase,
            ok=event.ok,
            display_phase="updated" if still_open else phase,
            completed=phase == "completed",
            first_seen=self._sequence if known is None else known.first_seen,
            last_update=self._sequence,
        )
        return True

    def set_resume(self, resume: ResumeToken | None) -> None:
        """Remember the session's token; None changes nothing."""
        if resume is not None:
            self.resume = resume

    def snapshot(
        self,
        *,
        resume_formatter: Callable[[ResumeToken], str] | None = None,
        context_line: str | None = None,
    ) -> ProgressState:
        """The state now. ``resume_line`` needs both a token and a formatter, else it is None."""
        resume_line = None
        if self.resume is not None and resume_formatter is not None:
            resume_line = resume_formatter(self.resume)
        return ProgressState(
            engine=self.engine,
            action_count=len(self._actions),
            actions=tuple(self._actions.values()),
            resume=self.resume,
            resume_line=resume_line,
            context_line=context_line,
        )
