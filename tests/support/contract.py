"""What every run's events must obey, whatever the engine printed."""

from takopi.model import (
    ACTION_PHASES,
    Action,
    ActionEvent,
    CompletedEvent,
    ResumeToken,
    StartedEvent,
)


def assert_contract(events, *, engine=None, resume=None):
    """One ``completed``, last; at most one ``started``; one token; well-formed actions.

    ``resume`` is the token value the run was asked to resume, if it was.
    """
    assert events, "a run without events"
    *before, last = events
    assert isinstance(last, CompletedEvent), f"the last event is {last}"
    assert not any(isinstance(event, CompletedEvent) for event in before)
    started = [event for event in before if isinstance(event, StartedEvent)]
    assert len(started) <= 1
    assert {event.engine for event in events} == {engine or last.engine}
    if started:
        assert last.resume == started[0].resume
        assert started[0].resume.engine == last.engine
        assert started[0].resume.value
    elif resume is not None:
        assert last.resume == ResumeToken(last.engine, resume)
    else:
        assert last.resume is None
    assert last.ok == (last.error is None)
    assert last.error is None or last.error.strip()
    assert type(last.answer) is str
    for event in before:
        if isinstance(event, ActionEvent):
            _assert_action(event)


def _assert_action(event):
    action = event.action
    assert type(action) is Action
    assert event.phase in ACTION_PHASES
    assert action.id
    assert action.kind
    assert action.title
    assert type(action.detail) is dict
    assert (event.ok is None) == (event.phase != "completed")
    exit_code = action.detail.get("exit_code")
    assert exit_code is None or not isinstance(exit_code, bool)
