"""Every recording, replayed through its adapter, tells what the oracle reads in it.

The recordings lie beside the checkout; the fixtures, some of them made from these, are compared as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from takopi.adapters.replay import Recording
from takopi.model import ActionEvent, CompletedEvent, StartedEvent
from tests.oracle.streams import ENGINES, Expected, Tool, asked_session, expect, recordings
from tests.snapshot.cases import CHECKOUT, play

RECORDINGS = CHECKOUT.parent / "shared" / "recordings"
FIXTURES = CHECKOUT / "fixtures" / "streams"


@dataclass(frozen=True)
class Run:
    """One recorded run."""

    engine: str
    name: str
    stdout: bytes
    meta: dict[str, Any]

    def recording(self) -> Recording:
        """The run as the program replays it, the session asked for taken from the command line."""
        return Recording(
            path=Path(self.name),
            stdout=self.stdout,
            stderr=self.meta.get("stderr") or "",
            exit_code=self.meta["exit_code"],
            resume=asked_session(self.engine, self.meta),
            cwd=self.meta["cwd"],
        )

    def expected(self) -> Expected:
        """The oracle's word, with what is meant to differ put right."""
        told = expect(self.engine, self.stdout, self.meta)
        differs = DIFFERS.get((self.engine, self.name.replace(".", "_")))
        return differs(told) if differs is not None else told


def _no_session(told: Expected) -> Expected:
    """`--output-format json` is no stream: one result and no init line, which alone is asked for the
    session, because the id in the result of a failed resume exists nowhere."""
    assert told.session
    return replace(told, session=None)


def _relative_path(told: Expected) -> Expected:
    """A command shows the paths of the run's own directory relative to it."""

    def shown(tool: Tool) -> Tool:
        title = tool.name_or_command.replace("touch /home/user/project/y", "touch y")
        return replace(tool, name_or_command=title)

    tools = tuple(map(shown, told.tools))
    assert tools != told.tools
    return replace(told, tools=tools)


def _replacement(told: Expected) -> Expected:
    """Half of a surrogate pair is no character: what is left of an emoji cut in two is U+FFFD."""
    assert told.answer
    assert "\ud83d" in told.answer
    return replace(told, answer=told.answer.replace("\ud83d", "\ufffd"))


def _failed_later(told: Expected) -> Expected:
    """A command in the background has its result at once, "running"; how it ended is told later."""
    return replace(told, tools=tuple(replace(tool, ok=False) for tool in told.tools))


DIFFERS = {
    ("claude", "result_json"): _no_session,
    ("claude", "v2_0_permission_denied"): _relative_path,
    ("claude", "doc_background_bash"): _failed_later,
    ("codex", "doc_lone_surrogate"): _replacement,
}


RUNS = [
    pytest.param(Run(engine, name, stdout, meta), id=f"{root.name}-{engine}-{name}")
    for root in (RECORDINGS, FIXTURES)
    for engine in ENGINES
    for name, stdout, meta in recordings(engine, root)
]
each_run = pytest.mark.parametrize("run", RUNS)


def test_there_is_something_to_compare():
    assert len(RUNS) >= 100


@each_run
def test_outcome_and_session(run: Run):
    expected = run.expected()
    played = play(run.engine, run.recording())
    done = played.events[-1]
    assert isinstance(done, CompletedEvent)
    assert done.ok == expected.ok
    if expected.answer is not None:
        assert done.answer == expected.answer
    assert (done.error is None) == expected.ok
    assert (expected.error_contains or "") in (done.error or "")
    assert (expected.asked if not expected.ok and expected.session is None else None) in (
        None,
        done.resume and done.resume.value,
    )
    usage = done.usage or {}
    assert {key: usage.get(key) for key in expected.usage} == expected.usage
    assert "unmapped" not in usage
    assert not played.translator.failures
    started = [event for event in played.events if isinstance(event, StartedEvent)]
    assert [event.resume.value for event in started] == [expected.session] * bool(expected.session)


@each_run
def test_tools(run: Run):
    expected = run.expected()
    last: dict[str, ActionEvent] = {}
    for event in play(run.engine, run.recording()).events:
        if isinstance(event, ActionEvent):
            last[event.action.id] = event
    known = {tool.id for tool in expected.tools}
    # Notes and warnings are no tools, but a to-do tool is shown as a note.
    others = {i: e for i, e in last.items() if i not in known}
    assert {event.action.kind for event in others.values()} <= {"note", "warning"}
    shown = [event for action_id, event in last.items() if action_id in known]
    assert [_as_tool(event, tool) for event, tool in zip(shown, expected.tools, strict=True)] == [
        *expected.tools
    ]


def _as_tool(event: ActionEvent, tool: Tool) -> Tool:
    """An action in the oracle's terms, which has an opinion on the titles of commands only."""
    action = event.action
    title = action.title if tool.kind == "command" else tool.name_or_command
    return Tool(action.id, title, action.kind, event.ok, action.detail.get("exit_code"))
