"""The domain model."""

import dataclasses
import typing

import pytest

from takopi.model import (
    ACTION_KINDS,
    ACTION_PHASES,
    Action,
    ActionEvent,
    CompletedEvent,
    ResumeToken,
    StartedEvent,
    TakopiEvent,
)

TOKEN = ResumeToken("acme", "s1")
EVENTS = [
    StartedEvent("acme", TOKEN),
    ActionEvent("acme", Action("1", "tool", "t"), "started"),
    CompletedEvent("acme", True, ""),
]


def test_tokens_are_values():
    assert ResumeToken("acme", "s1") == TOKEN
    assert len({TOKEN, ResumeToken("acme", "s1"), ResumeToken("other", "s1")}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        TOKEN.value = "x"


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: e.type)
def test_an_event_is_a_value_with_a_fixed_type(event):
    assert event == dataclasses.replace(event)
    assert not hasattr(event, "__dict__")
    fields = {f.name: f.init for f in dataclasses.fields(event)}
    assert fields["type"] is False
    with pytest.raises(TypeError):
        type(event)(type="x")


def test_there_are_three_events():
    assert [e.type for e in EVENTS] == ["started", "action", "completed"]
    assert set(typing.get_args(TakopiEvent)) == {type(e) for e in EVENTS}


def test_kinds_and_phases():
    assert ACTION_PHASES == ("started", "updated", "completed")
    assert set(ACTION_KINDS) == {
        *("command", "tool", "file_change", "web_search", "subagent"),
        *("note", "turn", "warning", "telemetry"),
    }


def test_every_action_has_a_detail_of_its_own():
    one, other = Action("1", "tool", "t"), Action("1", "tool", "t")
    assert one == other
    assert one.detail is not other.detail
