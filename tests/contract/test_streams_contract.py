"""What holds for the events of every run, and does not depend on how its output arrives."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from takopi.adapters.replay import new_translator
from takopi.adapters.rules import Rule
from takopi.lines import LineSplitter, Oversized
from takopi.model import (
    ACTION_KINDS,
    ACTION_PHASES,
    ActionEvent,
    CompletedEvent,
    StartedEvent,
    TakopiEvent,
)
from tests.snapshot.cases import CASES, Case, adapter_of, each_case, events_text, play


def events_of(case: Case, chunks: list[bytes]) -> list[TakopiEvent]:
    """The events when stdout arrives in these chunks."""
    recording = case.recording
    translator = new_translator(adapter_of(case.engine), recording)
    splitter, events = LineSplitter(), []
    for lines in (*map(splitter.feed, chunks), splitter.flush()):
        for line in lines:
            assert not isinstance(line, Oversized)
            events += translator.line(line)
    for text in recording.stderr.splitlines():
        events += translator.stderr(text.encode())
    return events + translator.finish(recording.exit_code)


def in_chunks(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@each_case
def test_one_started_first_and_one_completed_last_with_the_same_token(case: Case):
    recording = case.recording
    events = play(case.engine, recording).events
    started = [event for event in events if isinstance(event, StartedEvent)]
    completed = [event for event in events if isinstance(event, CompletedEvent)]
    assert len(started) <= 1
    assert [events[-1]] == completed
    assert {event.engine for event in events} == {case.engine}
    if started:
        assert started[0].resume.engine == case.engine
        assert started[0].resume.value
        assert completed[0].resume == started[0].resume
    else:
        token = completed[0].resume
        assert (token.value if token else None) == recording.resume
    assert completed[0].ok or completed[0].error
    assert not (completed[0].ok and completed[0].error)


@each_case
def test_the_session_is_known_before_anything_that_a_json_line_says(case: Case):
    events = play(case.engine, case.recording).events
    kinds = [event.type for event in events]
    if "started" in kinds:
        at = kinds.index("started")
        # An id that comes on the last line only is told there, before the outcome.
        on_the_last_line = kinds[at + 1 :] == ["completed"]
        assert on_the_last_line or all(event.action.kind == "warning" for event in events[:at])


@each_case
def test_actions_have_ids_legal_phases_and_titles(case: Case):
    is_open: dict[str, bool] = {}
    for event in play(case.engine, case.recording).events:
        if not isinstance(event, ActionEvent):
            continue
        action = event.action
        assert action.id
        assert action.title == action.title.strip() != ""
        assert action.kind in ACTION_KINDS
        assert event.phase in ACTION_PHASES
        assert isinstance(event.ok, bool) == (event.phase == "completed")
        if event.phase == "started":
            assert not is_open.get(action.id), f"{action.id} was started while it was open"
        is_open[action.id] = event.phase != "completed"


@each_case
def test_events_are_json(case: Case):
    for event in play(case.engine, case.recording).events:
        facts = event.action.detail if isinstance(event, ActionEvent) else {}
        if isinstance(event, CompletedEvent):
            facts = event.usage or {}
        if isinstance(event, StartedEvent):
            facts = event.meta or {}
        assert json.loads(json.dumps(facts, allow_nan=False)) == facts


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_any_chunking_gives_the_same_events(size: int):
    for case in CASES:
        stdout = case.recording.stdout
        expected = events_text(play(case.engine, case.recording).events)
        assert events_text(events_of(case, in_chunks(stdout, size))) == expected, case.id


@each_case
def test_how_lines_end_and_empty_lines_make_no_difference(case: Case):
    recording = case.recording
    expected = events_text(play(case.engine, recording).events)
    stdout = recording.stdout
    for variant in (
        stdout.replace(b"\n", b"\r\n"),
        stdout.removesuffix(b"\n"),
        b"\n" + stdout.replace(b"\n", b"\n\n \n"),
    ):
        assert events_text(play(case.engine, replace(recording, stdout=variant)).events) == expected


@each_case
def test_keys_may_come_in_any_order_and_twice(case: Case):
    recording = case.recording

    def shuffle(line: bytes) -> bytes:
        try:
            value = json.loads(line)
        except ValueError:
            return line
        pairs = [f"{json.dumps(key)}:{json.dumps(value[key])}" for key in reversed(value)]
        # Of a key that comes twice the last value counts, as with most JSON parsers.
        stale = [f'{json.dumps(key)}:{{"type":"stale","id":"stale"}}' for key in value]
        return ("{" + ",".join([*stale, *pairs]) + "}").encode()

    stdout = b"\n".join(map(shuffle, recording.stdout.split(b"\n")))
    expected = events_text(play(case.engine, recording).events)
    assert events_text(play(case.engine, replace(recording, stdout=stdout)).events) == expected


@each_case
def test_the_same_stream_twice_gives_the_same_events(case: Case):
    once, again = (events_text(play(case.engine, case.recording).events) for _ in range(2))
    assert once == again


@each_case
def test_a_stream_cut_anywhere_still_ends_in_one_outcome(case: Case):
    """A crash after any line: the contract holds, and nothing succeeds that did not say so."""
    recording = case.recording
    lines = recording.stdout.splitlines(keepends=True)
    for count in range(len(lines)):
        cut = replace(recording, stdout=b"".join(lines[:count]), stderr="", exit_code=-9)
        fired: list[Rule] = []
        events = play(case.engine, cut, lambda rule, _, fired=fired: fired.append(rule)).events
        assert [event.type for event in events].count("completed") == 1
        done = events[-1]
        assert isinstance(done, CompletedEvent)
        assert done.ok or done.error
        assert not done.ok or any(rule.complete for rule in fired)
