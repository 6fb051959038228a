"""`takopi adapters test` and `takopi adapters explain`: adapters against recorded streams."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from takopi.adapters.catalog import load_catalog
from takopi.adapters.explain import explain_line
from takopi.adapters.fixtures import FixtureReport, check_fixtures, find_cases
from takopi.adapters.replay import event_line, load_recording, new_translator
from takopi.ansi import without_escapes
from takopi.cli.adapters import find_adapter, find_entry
from takopi.config import load_config
from takopi.diagnostics import has_errors, render_text
from takopi.errors import EXIT_FAILURE, EXIT_OK, UsageError
from takopi.lines import LineSplitter, Oversized
from takopi.logs import show_warnings

# -- test ------------------------------------------------------------------------------------------


def test_command(
    targets: Sequence[str], *, fixtures: Path, update: bool, min_coverage: float
) -> int:
    """Replay the fixtures of the adapters named (or of all that have some); 1 if any fails."""
    show_warnings_of_files_only()
    catalog = load_catalog(load_config())
    names = list(targets)
    if not names:
        names = [engine for engine in catalog.ids if (fixtures / engine).is_dir()]
        if not names:
            raise UsageError(
                f"there are no fixtures in {fixtures}; name their folder with --fixtures"
            )
    failed = False
    rows: list[tuple[str, ...]] = [("ENGINE", "TESTED", "RULES", "FIXTURES", "LINES", "RESULT")]
    for name in names:
        entry = find_entry(catalog, name)
        problems = catalog.validate(entry)
        if has_errors(problems):
            # A passing replay must not hide that the adapter is invalid.
            for problem in problems:
                print(render_text(problem) + "\n", file=sys.stderr)
            rows.append((entry.id, "-", "-", "-", "-", "broken"))
            failed = True
            continue
        adapter = find_adapter(catalog, name)
        cases = find_cases(fixtures / adapter.id)
        report = check_fixtures(adapter, cases, update=update)
        good = _print_report(report, fixtures, min_coverage)
        failed |= not good
        rows.append(_row(report, good=good))
    _print_table(rows)
    return EXIT_FAILURE if failed else EXIT_OK


def show_warnings_of_files_only() -> None:
    """Replays log what they do not know; the report says the same once, by case."""
    import logging

    show_warnings()
    logging.getLogger("takopi.adapters.translate").setLevel(logging.ERROR)


def _row(report: FixtureReport, *, good: bool) -> tuple[str, ...]:
    fired = report.own_rules - len(report.unfired)
    return (
        report.adapter.id,
        report.adapter.spec.tested or "-",
        f"{fired}/{report.own_rules}",
        str(len(report.cases)),
        str(report.lines),
        "ok" if good else "failed",
    )


def _print_report(report: FixtureReport, fixtures: Path, min_coverage: float) -> bool:
    engine = report.adapter.id
    good = True
    if not report.cases:
        print(f"{engine}: there are no fixtures in {fixtures / engine}; see --fixtures")
        good = False
    for case in report.cases:
        if case.updated:
            print(f"{engine}/{case.path.name}: wrote events.json")
        for problem in case.problems:
            print(f"{engine}/{case.path.name}: {without_escapes(problem)}")
            good = False
    if report.cases and report.coverage < min_coverage:
        good = False
        print(
            f"{engine}: {report.coverage:.0f} % of the rules fired, {min_coverage:g} % are wanted"
        )
    for rule in report.unfired if report.cases else ():
        print(f"{engine}: no fixture fires the rule {rule.place}")
    for finding in report.never_had:
        print(f"{engine}: {finding}")
    return good


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


# -- explain ---------------------------------------------------------------------------------------


def explain_command(target: str, place: str) -> int:
    """Print how one line (``FILE:LINE``), or every line, goes through the rules."""
    show_warnings_of_files_only()
    adapter = find_adapter(load_catalog(load_config()), target)
    found = re.fullmatch(r"(.*?)(?::(\d+))?", place)
    path = Path(found.group(1)) if found else Path(place)
    wanted = int(found.group(2)) if found and found.group(2) else None
    if not path.exists():
        raise UsageError(f"there is no recording {path}")
    recording = load_recording(path)
    translator = new_translator(adapter, recording)
    splitter = LineSplitter()
    lines = [*splitter.feed(recording.stdout), *splitter.flush()]
    if wanted is not None and not 1 <= wanted <= len(lines):
        raise UsageError(f"{path} has lines 1 to {len(lines)}, not {wanted}")
    for number, line in enumerate(lines, 1):
        if isinstance(line, Oversized):
            translator.skipped(line)
            continue
        told = list(explain_line(translator, line)) if wanted in (None, number) else []
        events = translator.line(line)
        if wanted not in (None, number):
            continue
        print(f"line {number}: {_brief(line)}")
        for text in told:
            print(f"  {without_escapes(text)}")
        for event in events:
            print(f"  → {event_line(event, ascii=True)}")
        print()
        if number == wanted:
            break
    return EXIT_OK


def _brief(line: bytes) -> str:
    text = without_escapes(line[:400].decode("utf-8", "replace"))
    return text if len(text) <= 160 else text[:159] + "…"
