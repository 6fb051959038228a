"""Every fixture gives exactly the events its ``events.json`` holds.

``pytest tests/snapshot --snapshot-update`` writes them; read the difference before committing it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.location import PyTestLocation

from takopi.model import CompletedEvent
from tests.snapshot.cases import CHECKOUT, FIXTURES, Case, each_case, events_text, play
from tests.support.snapshots import TextBeside

pytest_plugins = ("pytester",)


class EventsBesideStream(TextBeside):
    """Keeps the expectation of a case as ``events.json`` in the case's own folder."""

    file_extension = "json"

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        case: Case = test_location.item.callspec.params["case"]  # type: ignore[attr-defined]
        return str(case.folder)

    @classmethod
    def get_file_basename(cls, *, test_location: PyTestLocation, index: Any) -> str:
        return "events"

    def matches(self, *, serialized_data: Any, snapshot_data: Any) -> bool:
        """Equal as JSON: how the file is laid out is no part of the expectation."""
        try:
            return _canonical(serialized_data) == _canonical(snapshot_data)
        except ValueError:
            return False


def _canonical(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)  # text, because 1 == True in Python


@each_case
def test_a_stream_gives_its_events(case: Case, snapshot: SnapshotAssertion):
    played = play(case.engine, case.recording)
    assert events_text(played.events) == snapshot(extension_class=EventsBesideStream)


def test_a_folder_holds_a_stream_its_meta_and_its_events_and_nothing_else():
    wrong = {
        str(folder.relative_to(FIXTURES)): found
        for folder in FIXTURES.glob("*/*")
        if (found := sorted(path.name for path in folder.iterdir()))
        != ["events.json", "meta.json", "stream.jsonl"]
    }
    assert not wrong


def test_the_text_of_events_is_json_whatever_it_holds(tmp_path: Path):
    answer = "half an emoji: \ud83d, a \\ and “quotes”"
    path = tmp_path / "events.json"
    path.write_text(events_text([CompletedEvent("codex", True, answer)]), encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8"))[0]["answer"] == answer


@pytest.mark.parametrize("missing", [True, False], ids=["missing", "different"])
def test_a_plain_run_fails_and_writes_nothing(missing: bool, pytester: pytest.Pytester):
    """Run the very extension in a project of its own, without an expectation and with a wrong one."""
    case = pytester.mkdir("case")
    (case / "stream.jsonl").write_text("{}\n")
    if not missing:
        (case / "events.json").write_text("[]\n")
    before = {path.name: path.read_bytes() for path in case.iterdir()}
    pytester.makepyfile(
        f"""
        import sys
        from pathlib import Path
        import pytest
        sys.path.insert(0, {str(CHECKOUT)!r})
        from tests.snapshot.cases import Case
        from tests.snapshot.test_streams import EventsBesideStream

        @pytest.mark.parametrize("case", [Case("codex", Path({str(case)!r}))])
        def test_events(case, snapshot):
            assert '["other"]' == snapshot(extension_class=EventsBesideStream)
        """
    )
    plain = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    plain.assert_outcomes(failed=1)
    assert {path.name: path.read_bytes() for path in case.iterdir()} == before
    pytester.runpytest_subprocess("--snapshot-update", "-p", "no:cacheprovider").assert_outcomes(
        passed=1
    )
    assert (case / "events.json").read_text() == '["other"]'
    assert (case / "stream.jsonl").exists()
