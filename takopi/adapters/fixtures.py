"""Recorded streams as tests of an adapter: run contract, expected events, coverage both ways."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from takopi.adapters.adapter import Adapter
from takopi.adapters.audit import Audit
from takopi.adapters.replay import event_json, events_text, load_recording, new_translator, replay
from takopi.adapters.rules import Rule, RuleSet
from takopi.errors import TakopiError
from takopi.model import ActionEvent, CompletedEvent, StartedEvent, TakopiEvent


@dataclass(slots=True)
class CaseResult:
    """One replayed recording. ``problems`` are reasons to fail."""

    path: Path
    lines: int = 0
    problems: list[str] = field(default_factory=list)
    updated: bool = False


@dataclass(slots=True)
class FixtureReport:
    """All recordings of one engine."""

    adapter: Adapter
    cases: list[CaseResult] = field(default_factory=list)
    own_rules: int = 0
    unfired: list[Rule] = field(default_factory=list)
    never_had: list[str] = field(default_factory=list)  # not a reason to fail

    @property
    def lines(self) -> int:
        """Lines of all streams."""
        return sum(case.lines for case in self.cases)

    @property
    def coverage(self) -> float:
        """Percent of the adapter's own rules that fired."""
        if not self.own_rules:
            return 100.0
        return 100.0 * (self.own_rules - len(self.unfired)) / self.own_rules


def find_cases(folder: Path) -> list[Path]:
    """The fixture folders of one engine, by name."""
    return sorted(stream.parent for stream in folder.glob("*/stream.jsonl"))


def all_rules(rules: RuleSet) -> Iterator[Rule]:
    """Every rule, nested ones after the one that holds them."""
    for rule in rules.rules:
        yield rule
        if rule.rules is not None:
            yield from all_rules(rule.rules)


def check_fixtures(
    adapter: Adapter, cases: Sequence[Path], *, update: bool = False
) -> FixtureReport:
    """Replay ``cases``; with ``update``, write what they give as the new expectation."""
    report = FixtureReport(adapter)
    audit = Audit(adapter)
    fired: set[str] = set()
    for path in cases:
        report.cases.append(_run_case(adapter, path, audit, fired, update=update))
    rules = [rule for rule in all_rules(adapter.rules) if not rule.inherited]
    report.own_rules = len(rules)
    report.unfired = [rule for rule in rules if rule.place.path not in fired]
    if cases:
        report.never_had = audit.findings()
    return report


def _run_case(
    adapter: Adapter, path: Path, audit: Audit, fired: set[str], *, update: bool
) -> CaseResult:
    result = CaseResult(path)
    try:
        recording = load_recording(path)
    except TakopiError as error:
        result.problems.append(str(error))
        return result

    def on_rule(rule: Rule, node: Any) -> None:
        fired.add(rule.place.path)
        audit.on_rule(rule, node)

    audit.translator = translator = new_translator(adapter, recording, on_rule=on_rule)
    events = [event for batch in replay(translator, recording) for event in batch]
    audit.run_ended(translator)
    result.lines = translator.lines
    result.problems += contract_problems(events)
    for shape, count in translator.unmapped.items():
        result.problems.append(f"no rule matches {count} × {shape}")
    for place, failure in translator.failures.items():
        result.problems.append(f"{place}: {failure}")
    try:
        _compare(path, events, result, update=update)
    except RecursionError:
        result.problems.append("the events are nested too deep to compare them with events.json")
    return result


def _compare(
    path: Path, events: Sequence[TakopiEvent], result: CaseResult, *, update: bool
) -> None:
    file = (path if path.is_dir() else path.parent) / "events.json"
    text = events_text(events)
    got = [event_json(event) for event in events]
    wanted, problem = None, ""
    try:
        wanted = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = f"{file.name} is missing; write it with --update and look at it"
    except OSError as error:
        problem = f"cannot read {file.name}: {error.strerror}"
    except (ValueError, RecursionError) as error:
        problem = f"cannot read {file.name}: it is not JSON: {error}"
    if wanted is not None and _same(wanted, json.loads(text)):
        return
    if not update:
        result.problems.append(problem or _first_difference(wanted, got))
        return
    try:
        file.write_text(text, encoding="utf-8")
        result.updated = True
    except OSError as error:
        result.problems.append(f"cannot write {file.name}: {error.strerror}")


def _same(left: Any, right: Any) -> bool:
    """Equality as JSON has it: ``1`` is not ``true``."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _first_difference(wanted: Any, got: list[dict[str, Any]]) -> str:
    if not isinstance(wanted, list):
        return "events.json must hold a list of events"
    for number, (old, new) in enumerate(zip(wanted, got, strict=False)):
        if not _same(old, new):
            return (
                f"event {number} is not the expected one (--update accepts it):\n"
                f"  expected  {_line(old)}\n  got       {_line(new)}"
            )
    more, what = (wanted, "is missing") if len(wanted) > len(got) else (got, "was not expected")
    number = min(len(wanted), len(got))
    return f"event {number} {what} (--update accepts it):\n  {_line(more[number])}"


def _line(event: Any) -> str:
    text = json.dumps(event, ensure_ascii=True)
    return text if len(text) <= 400 else text[:400] + "…"


def contract_problems(events: Sequence[TakopiEvent]) -> list[str]:
    """What of the run contract the events break: nothing, for a right adapter and a right takopi."""
    found = []
    completed = [event for event in events if isinstance(event, CompletedEvent)]
    started = [event for event in events if isinstance(event, StartedEvent)]
    if len(completed) != 1 or events[-1] is not completed[0]:
        found.append("a run must end with its only `completed`")
    if len(started) > 1:
        found.append("a run has at most one `started`")
    if started and completed and started[0].resume != completed[-1].resume:
        found.append("`started` and `completed` carry different sessions")
    for event in events:
        if isinstance(event, ActionEvent) and not (event.action.id and event.action.title.strip()):
            found.append(f"an action without id or title: {_line(event_json(event))}")
    return found
