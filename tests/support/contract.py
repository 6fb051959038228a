"""What every run's events must obey, whatever the engine printed."""

from takopi.model import Action, ActionEvent, StartedEvent
from takopi.testing import check_run


def assert_contract(events, *, engine=None, resume=None):
    """What `check_run` asks of every engine, and what we ask of our own.

    ``resume`` is the token value the run was asked to resume, if it was.
    """
    assert events, "a run without events"
    check_run(events, engine=engine or events[-1].engine, resume=resume)
    for event in events:
        if isinstance(event, ActionEvent):
            assert type(event.action) is Action
            assert (event.ok is None) == (event.phase != "completed"), event
            assert not isinstance(event.action.detail.get("exit_code"), bool), event


def asked_of(events):
    """The token value of a run that told no session; the tests say which one is right."""
    token = events[-1].resume
    told = any(isinstance(event, StartedEvent) for event in events)
    return token.value if token is not None and not told else None
