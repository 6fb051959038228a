"""What the events of one run must be, and how to read them all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import cast

import anyio

from takopi.engines.base import Runner
from takopi.model import (
    ACTION_PHASES,
    ActionEvent,
    CompletedEvent,
    ResumeToken,
    StartedEvent,
    TakopiEvent,
)

WITHIN_S = 20.0
"""How long one run may take here."""


def check_run(events: Sequence[TakopiEvent], *, engine: str, resume: str | None = None) -> None:
    """Raise AssertionError with everything that is wrong with a run's events.

    ``resume`` is the session that the run was asked to go on with.
    """
    problems = run_problems(events, engine=engine, resume=resume)
    check(not problems, "; ".join(problems), events)


def run_problems(
    events: Sequence[TakopiEvent], *, engine: str, resume: str | None = None
) -> list[str]:
    """What of the contract the events of one run break: nothing, for an engine that is right."""
    completed = [event for event in events if isinstance(event, CompletedEvent)]
    started = [event for event in events if isinstance(event, StartedEvent)]
    if not completed:
        return ["there is no `completed`"]
    found = [_action_problem(e) for e in events if isinstance(e, ActionEvent)]
    if len(completed) > 1:
        found.append(f"there are {len(completed)} `completed`")
    if not isinstance(events[-1], CompletedEvent):
        found.append("`completed` is not the last event")
    if len(started) > 1:
        found.append(f"there are {len(started)} `started`")
    foreign = sorted({event.engine for event in events} - {engine})
    if foreign:
        found.append(f"events are of the engine {foreign[0]!r}")
    return [*filter(None, found), *_token_problems(started, completed[-1], engine, resume)]


def _token_problems(
    started: list[StartedEvent], end: CompletedEvent, engine: str, resume: str | None
) -> list[str]:
    found = []
    token = started[0].resume if started else ResumeToken(engine, resume) if resume else None
    if token is not None and (token.engine != engine or not token.value):
        found.append(f"`started` has no token of {engine!r}: {token}")
    if end.resume != token:
        source = "`started` has" if started else "asked for was" if resume else "there was"
        found.append(f"`completed` has the token {end.resume}, {source} {token}")
    if end.ok and end.error is not None:
        found.append(f"it is `ok` and has the error {end.error!r}")
    if not end.ok and not (end.error or "").strip():
        found.append("it failed without an `error`")
    if not isinstance(end.answer, str):
        found.append(f"the answer is no text: {end.answer!r}")
    return found


def _action_problem(event: ActionEvent) -> str | None:
    action = event.action
    if not (action.id and action.kind and action.title):
        return f"an action lacks its id, kind or title: {action}"
    if event.phase not in ACTION_PHASES:
        return f"an action has the phase {event.phase!r}"
    if event.ok is not None and event.phase != "completed":
        return f"an action is `ok` or not before it is completed: {event}"
    if not isinstance(action.detail, dict):
        return f"an action's detail is no dict: {action}"
    return None


def check(condition: object, message: str, events: Sequence[TakopiEvent] = ()) -> None:
    """Raise AssertionError with a message, and the events that made it, unless the condition holds."""
    if not condition:
        shown = "".join(f"\n  {event}" for event in events[:50])
        raise AssertionError(f"{message}{shown and '. The events:'}{shown}")


def end_of(events: Sequence[TakopiEvent]) -> CompletedEvent:
    """The last event, which must be the end."""
    end = events[-1] if events else None
    check(isinstance(end, CompletedEvent), "the last event is no `completed`", events)
    return cast("CompletedEvent", end)


async def collect(runner: Runner, prompt: str, resume: ResumeToken | None) -> list[TakopiEvent]:
    """All events of a run, which has `WITHIN_S` to end."""
    events: list[TakopiEvent] = []
    await read_into(runner.run(prompt, resume), events)
    return events


async def read_into(source: AsyncIterator[TakopiEvent], events: list[TakopiEvent]) -> None:
    """Read events into a list, where they are even if the reading fails; then close them."""
    with anyio.move_on_after(WITHIN_S) as scope:
        try:
            async for event in source:
                events.append(event)
        finally:
            await close_events(source)
    check(not scope.cancelled_caught, f"the run did not end within {WITHIN_S:g} s", events)


async def close_events(events: AsyncIterator[TakopiEvent]) -> None:
    """End a run here and now."""
    close = getattr(events, "aclose", None)
    if close is not None:
        with anyio.CancelScope(shield=True):
            await close()
