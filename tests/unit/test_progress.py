"""From events to the state that a progress message shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from takopi.bridge.progress import ActionState, ProgressState, ProgressTracker
from takopi.model import Action, ActionEvent, CompletedEvent, ResumeToken, StartedEvent

TOKEN = ResumeToken("acme", "s-1")


def action(id, phase="started", *, kind="command", title="ls", ok=None):
    return ActionEvent("acme", Action(id, kind, title), phase, ok)


def tracker_of(*events):
    tracker = ProgressTracker(engine="acme")
    for event in events:
        tracker.note_event(event)
    return tracker


def shown(*events):
    return [(step.action.id, step.display_phase) for step in tracker_of(*events).snapshot().actions]


def test_an_empty_run():
    assert ProgressTracker(engine="acme").snapshot() == ProgressState(
        "acme", 0, (), None, None, None
    )


@pytest.mark.parametrize(
    ("event", "changed", "count"),
    [
        (StartedEvent("acme", TOKEN), True, 0),
        (action("a"), True, 1),
        (action("a", kind="future_kind"), True, 1),
        (action("a", kind="turn"), False, 0),
        (action(""), False, 0),
        (CompletedEvent("acme", ok=True, answer="x", resume=TOKEN), False, 0),
        ("not an event", False, 0),
    ],
)
def test_what_one_event_does(event, changed, count):
    tracker = ProgressTracker(engine="acme")
    assert tracker.note_event(event) is changed
    assert tracker.action_count == tracker.snapshot().action_count == count
    assert tracker.resume == (TOKEN if isinstance(event, StartedEvent) else None)


def test_a_known_action_is_replaced_where_it_stands():
    tracker = tracker_of(action("a"), action("b"))
    before = tracker.snapshot()
    assert tracker.note_event(action("a", "completed", title="ls -l", ok=False)) is True
    assert tracker.snapshot() == ProgressState(
        engine="acme",
        action_count=2,
        actions=(
            ActionState(
                action=Action("a", "command", "ls -l"),
                phase="completed",
                ok=False,
                display_phase="completed",
                completed=True,
                first_seen=1,
                last_update=3,
            ),
            ActionState(
                action=Action("b", "command", "ls"),
                phase="started",
                ok=None,
                display_phase="started",
                completed=False,
                first_seen=2,
                last_update=2,
            ),
        ),
        resume=None,
        resume_line=None,
        context_line=None,
    )
    assert before.actions[0].phase == "started", "an older snapshot stays as it was"


@pytest.mark.parametrize(
    ("phases", "displayed"),
    [
        (["started"], "started"),
        (["updated"], "updated"),
        (["completed"], "completed"),
        (["started", "started"], "updated"),
        (["updated", "started"], "updated"),
        (["started", "updated"], "updated"),
        (["started", "completed"], "completed"),
        (["completed", "completed"], "completed"),
        (["completed", "updated"], "updated"),
        (["completed", "started"], "started"),
        (["completed", "started", "started"], "updated"),
    ],
)
def test_the_phase_that_is_shown(phases, displayed):
    tracker = tracker_of(*(action("a", phase) for phase in phases))
    (step,) = tracker.snapshot().actions
    assert (step.phase, step.display_phase) == (phases[-1], displayed)
    assert step.completed is (phases[-1] == "completed")
    assert (tracker.action_count, step.first_seen, step.last_update) == (1, 1, len(phases))


def test_set_resume_ignores_none_and_a_later_start_wins():
    tracker = ProgressTracker(engine="acme")
    tracker.set_resume(None)
    assert tracker.resume is None
    tracker.set_resume(TOKEN)
    tracker.set_resume(None)
    assert tracker.resume == TOKEN
    tracker.note_event(StartedEvent("acme", ResumeToken("acme", "s-2")))
    assert tracker.snapshot().resume == ResumeToken("acme", "s-2")


def test_the_resume_line_needs_a_token_and_a_formatter():
    def formatter(token):
        return f"`acme resume {token.value}`"

    tracker = ProgressTracker(engine="acme")
    assert tracker.snapshot(resume_formatter=formatter).resume_line is None
    tracker.set_resume(TOKEN)
    assert tracker.snapshot().resume_line is None
    state = tracker.snapshot(resume_formatter=formatter, context_line="`ctx: z80`")
    assert (state.resume_line, state.context_line) == ("`acme resume s-1`", "`ctx: z80`")
    assert tracker.snapshot(resume_formatter=lambda _: "").resume_line == ""


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from(["started", "updated", "completed"]))
    )
)
def test_actions_are_in_the_order_of_first_sight(steps):
    events = [action(id, phase) for id, phase in steps]
    state = tracker_of(*events).snapshot()
    assert [step.action.id for step in state.actions] == list(dict.fromkeys(id for id, _ in steps))
    first_seen = [step.first_seen for step in state.actions]
    assert first_seen == sorted(first_seen)
    assert state.action_count == len(state.actions)
    assert shown(*events) == [(step.action.id, step.display_phase) for step in state.actions]
