"""The domain model: resume tokens, actions and the three events every engine becomes.

Nobody mutates these values once they are built. Events and actions are plain slotted dataclasses
because freezing them costs four times as much to build and buys nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

EngineId: TypeAlias = str

ActionKind: TypeAlias = Literal[
    "command",  # shell command; the title is the command text
    "tool",  # generic tool call
    "file_change",  # edit or write; detail["changes"] may list {path, kind}
    "web_search",  # search or fetch
    "subagent",  # delegated agent or task
    "note",  # commentary, todo updates, neutral notices
    "turn",  # turn bookkeeping; never displayed or counted
    "warning",  # non-fatal problem surfaced to the user
    "telemetry",  # usage-like facts
]
ACTION_KINDS: tuple[str, ...] = ActionKind.__args__  # type: ignore[attr-defined]

ActionPhase: TypeAlias = Literal["started", "updated", "completed"]
ACTION_PHASES: tuple[str, ...] = ActionPhase.__args__  # type: ignore[attr-defined]

ActionLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class ResumeToken:
    """One engine-side conversation: the engine's id and a value only that engine understands."""

    engine: EngineId
    value: str


@dataclass(frozen=True, slots=True)
class RunContext:
    """Where a run works: a project's key (its alias in lower case) and a branch, both optional."""

    project: str | None = None
    branch: str | None = None


@dataclass(slots=True)
class Action:
    """One step of a run. ``kind`` is normally an `ActionKind`; consumers accept others too."""

    id: str
    kind: str
    title: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class StartedEvent:
    """The session became known. At most one per run."""

    engine: EngineId
    resume: ResumeToken
    title: str | None = None
    meta: dict[str, Any] | None = None
    type: Literal["started"] = field(default="started", init=False)


@dataclass(slots=True)
class ActionEvent:
    """A step began, moved on or ended. ``ok`` is meaningful when the phase is ``completed``."""

    engine: EngineId
    action: Action
    phase: ActionPhase
    ok: bool | None = None
    message: str | None = None
    level: ActionLevel | None = None
    type: Literal["action"] = field(default="action", init=False)


@dataclass(slots=True)
class CompletedEvent:
    """The run is over. Exactly one per run, always last, with the token of the `StartedEvent`."""

    engine: EngineId
    ok: bool
    answer: str
    resume: ResumeToken | None = None
    error: str | None = None
    usage: dict[str, Any] | None = None
    type: Literal["completed"] = field(default="completed", init=False)


TakopiEvent: TypeAlias = StartedEvent | ActionEvent | CompletedEvent
