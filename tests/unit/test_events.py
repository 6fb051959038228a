"""The event builder for engines written in Python."""

import pytest

from takopi.events import EventFactory
from takopi.model import Action, ActionEvent, CompletedEvent, ResumeToken, StartedEvent

TOKEN = ResumeToken("acme", "s1")


def test_started_records_the_token_and_completed_reuses_it():
    factory = EventFactory("acme")
    assert factory.resume is None
    assert factory.completed_error(error="x").resume is None
    event = factory.started(TOKEN, title="t", meta={"a": 1})
    assert event == StartedEvent("acme", TOKEN, "t", {"a": 1})
    assert factory.resume == TOKEN
    assert factory.started(TOKEN) == StartedEvent("acme", TOKEN)
    assert factory.completed_ok(answer="a", usage={"n": 1}) == CompletedEvent(
        "acme", True, "a", TOKEN, None, {"n": 1}
    )
    assert factory.completed_error(error="x") == CompletedEvent("acme", False, "", TOKEN, "x")
    other = ResumeToken("acme", "s2")
    assert factory.completed(ok=True, answer="", resume=other).resume == other


def test_tokens_that_do_not_fit():
    factory = EventFactory("acme")
    with pytest.raises(RuntimeError, match=r"^resume token is for engine 'other'$"):
        factory.started(ResumeToken("other", "s1"))
    factory.started(TOKEN)
    with pytest.raises(RuntimeError, match=r"^resume token mismatch: s1 vs s2$"):
        factory.started(ResumeToken("acme", "s2"))


def test_actions():
    factory = EventFactory("acme")
    common = {"action_id": "1", "kind": "tool", "title": "t"}
    action = Action("1", "tool", "t")
    assert factory.action_started(**common) == ActionEvent("acme", action, "started")
    assert factory.action_updated(**common, detail={"a": 1}) == ActionEvent(
        "acme", Action("1", "tool", "t", {"a": 1}), "updated"
    )
    event = factory.action_completed(**common, ok=False, message="m", level="warning")
    assert event == ActionEvent("acme", action, "completed", False, "m", "warning")
    assert factory.action(phase="updated", **common).action.detail == {}
