"""`EngineContract` for an engine in YAML: an adapter and its recordings are all it needs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import ClassVar

from takopi.adapters.adapter import Adapter
from takopi.adapters.catalog import file_entry, load_catalog
from takopi.adapters.fixtures import check_fixtures, find_cases
from takopi.adapters.options import resolve_options
from takopi.adapters.replay import load_recording, new_translator, replay
from takopi.config import Config
from takopi.diagnostics import render_text
from takopi.engines.base import Runner
from takopi.engines.jsonl import AdapterRunner
from takopi.model import CompletedEvent, StartedEvent
from takopi.testing.checks import check
from takopi.testing.contract import EngineContract


class AdapterContract(EngineContract):
    """The same tests for an adapter, and its recordings. A subclass sets both attributes.

    ``adapter``     the YAML file; ``extends`` finds takopi's own engines
    ``recordings``  a folder with ``<case>/stream.jsonl``, and beside it what
                    ``takopi adapters test --update`` wrote
    """

    adapter: ClassVar[Path | str]
    recordings: ClassVar[Path | str]

    def runner(self, command: str) -> Runner:
        """A runner of the adapter."""
        adapter = _compiled(Path(self.adapter))
        table = {"command": command}
        options = resolve_options(
            adapter.id, adapter.spec.options, adapter.options_read, table, "the test"
        )
        return AdapterRunner(adapter, options)

    def stream(self) -> bytes:
        """The recording of a new session that succeeds in the most steps."""
        return _best_stream(Path(self.adapter), Path(self.recordings))

    def test_every_recording_gives_its_events(self) -> None:
        """As in ``events.json``, with no line that no rule knows."""
        cases = find_cases(Path(self.recordings))
        check(cases, f"{self.recordings} holds no recording: <case>/stream.jsonl")
        report = check_fixtures(_compiled(Path(self.adapter)), cases)
        problems = [f"{case.path.name}: {text}" for case in report.cases for text in case.problems]
        check(not problems, "\n".join(problems))


@cache
def _compiled(file: Path) -> Adapter:
    # No configuration: what a user has in his own folder must not change a test.
    catalog = load_catalog(Config(Path("there-is-no-configuration/takopi.toml")))
    compiled = catalog.compiled(file_entry(file))
    problems = [render_text(problem) for problem in compiled.diagnostics]
    if compiled.adapter is None:
        raise AssertionError("\n".join([f"{file} is broken", *problems]))
    return compiled.adapter


@cache
def _best_stream(file: Path, recordings: Path) -> bytes:
    found: list[tuple[int, bytes]] = []
    for case in find_cases(recordings):
        recording = load_recording(case)
        if recording.resume is not None or recording.exit_code != 0:
            continue
        batches = list(replay(new_translator(_compiled(file), recording), recording))
        events = [event for batch in batches for event in batch]
        end = events[-1]
        told = any(isinstance(event, StartedEvent) for event in events)
        if isinstance(end, CompletedEvent) and end.ok and end.answer.strip():
            found.append((len(events) + 1000 * told, recording.stdout))
    if not found:
        raise AssertionError(f"{recordings} holds no recording of a run that succeeds")
    return max(found)[1]
