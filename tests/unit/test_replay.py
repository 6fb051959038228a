"""Recorded runs: reading them, and playing them to a translator."""

import json

import pytest

from takopi.adapters.replay import (
    Recording,
    event_json,
    event_line,
    load_recording,
    new_translator,
    replay,
)
from takopi.errors import TakopiError
from takopi.model import Action, ActionEvent, CompletedEvent, ResumeToken, StartedEvent
from tests.support.adapters import adapter_from

STREAM = b'{"session": "s1"}\n{"type": "end", "text": "hi"}'
TEXT = "events:\n  - match: {type: end}\n    complete: {answer: text}"


@pytest.mark.parametrize("layout", ["folder", "stream of a folder", "bare", "bare without a meta"])
def test_where_a_recording_lies(tmp_path, layout):
    meta = json.dumps({"exit_code": 3, "stderr": "x", "resume": "s1", "argv": ["acme"]})
    name = "one" if layout.startswith("bare") else "stream"
    (tmp_path / f"{name}.jsonl").write_bytes(STREAM)
    if layout != "bare without a meta":
        file = "one.meta.json" if layout == "bare" else "meta.json"
        (tmp_path / file).write_text(meta)
    path = tmp_path if layout == "folder" else tmp_path / f"{name}.jsonl"
    found = load_recording(path)
    assert found.stdout == STREAM
    expected = (0, "", None) if layout == "bare without a meta" else (3, "x", "s1")
    assert (found.exit_code, found.stderr, found.resume) == expected


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        ("[]", "must hold a JSON object"),
        ("{", "cannot read"),
        ('{"exit_code": "1"}', "`exit_code` must be a whole number"),
        ('{"exit_code": true}', "`exit_code` must be a whole number"),
        ('{"stderr": ["x"]}', "`stderr` must be a string"),
    ],
)
def test_a_broken_meta_file(tmp_path, meta, problem):
    (tmp_path / "a.jsonl").write_bytes(STREAM)
    (tmp_path / "a.meta.json").write_text(meta)
    with pytest.raises(TakopiError, match=problem):
        load_recording(tmp_path / "a.jsonl")


def test_a_missing_stream(tmp_path):
    with pytest.raises(TakopiError, match=r"cannot read the recording .*b\.jsonl"):
        load_recording(tmp_path / "b.jsonl")


def events_of(tmp_path, **facts):
    recording = Recording(tmp_path / "x.jsonl", **{"stdout": STREAM, **facts})
    batches = list(replay(new_translator(adapter_from(TEXT), recording), recording))
    return [event for batch in batches for event in batch]


def test_replaying(tmp_path):
    token = ResumeToken("acme", "s1")
    end = CompletedEvent("acme", True, "hi", token, None, {"unmapped": {"keys session": 1}})
    assert events_of(tmp_path) == [StartedEvent("acme", token), end]
    assert not events_of(tmp_path, resume="other")[-1].ok


def test_a_replay_has_the_session_that_was_recorded_and_not_one_of_its_own(tmp_path):
    text = "session: {id: session, create: '${uuid()}'}\n" + TEXT
    stdout = b'{"text": "hi"}\n' + STREAM
    recording = Recording(tmp_path / "x.jsonl", stdout=stdout)
    events = [
        e
        for batch in replay(new_translator(adapter_from(text), recording), recording)
        for e in batch
    ]
    assert [event.resume for event in events] == [ResumeToken("acme", "s1")] * 2


def test_a_replayed_failure_has_its_reason(tmp_path):
    end = events_of(tmp_path, stdout=b"", exit_code=2, stderr="one\u2028line\r\n\nbad flag\n")[-1]
    assert end.error == "Acme failed (exit code 2)\none\u2028line\nbad flag"


def test_events_as_json():
    event = StartedEvent("acme", ResumeToken("acme", "s1"))
    assert json.dumps(event_json(event)) == (
        '{"type": "started", "engine": "acme", "resume": {"engine": "acme", "value": "s1"}, '
        '"title": null, "meta": null}'
    )


@pytest.mark.parametrize("depth", [10, 600, 990])
def test_an_event_of_any_depth_is_a_line(depth):
    value = 1
    for _ in range(depth):
        value = {"a": value}
    event = ActionEvent("acme", Action("1", "tool", "x", {"d": value}), "started")
    line = event_line(event)
    assert '"title": "x"' in line
    assert ('"d"' in line) == (depth < 900)
    assert "\\u00fc" in event_line(CompletedEvent("acme", True, "ü"), ascii=True)
