"""Runs the real CLIs through takopi and prints what works: `python -m tests.e2e_engines`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from tests.e2e_engines.checks import CHECKS, AbandonedError, Findings, Stage
from tests.e2e_engines.fake_llm import FakeLlm
from tests.e2e_engines.homes import engines, make_home
from tests.e2e_engines.install import Cli, InstallError, install


@dataclass
class Report:
    """What came of one engine."""

    engine: str
    cli: Cli | None = None
    missing: str = ""  # why it could not be run
    findings: dict[str, Findings] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        return any(found.problems for found in self.findings.values())

    @property
    def unmapped(self) -> dict[str, int]:
        shapes: dict[str, int] = {}
        for found in self.findings.values():
            for shape, times in found.unmapped.items():
                shapes[shape] = shapes.get(shape, 0) + times
        return shapes


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 when anything that ran did not do what it should."""
    options = _options(argv)
    base = Path(tempfile.mkdtemp(prefix="takopi-e2e-"))
    stop = threading.Event()
    try:
        with ThreadPoolExecutor(options.jobs) as pool:
            try:
                reports = list(pool.map(lambda e: _report(e, base, options, stop), options.only))
            except KeyboardInterrupt:
                stop.set()  # the pool waits for the runs that go on; none starts after them
                raise
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        if options.keep:
            print(f"homes and logs: {base}", file=sys.stderr)
        else:
            shutil.rmtree(base, ignore_errors=True)
    _print_details(reports)
    _print_table(reports)
    if all(report.missing for report in reports):
        return 1  # nothing was tried, so nothing is known to work
    return 1 if any(report.failed for report in reports) else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.e2e_engines",
        description="Run the real CLIs through takopi, against a fake model server.",
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "takopi-e2e"
    add = parser.add_argument
    add("--only", nargs="+", choices=engines(), default=engines(), metavar="ENGINE")
    add("--checks", nargs="+", choices=list(CHECKS), default=list(CHECKS), metavar="CHECK")
    add("--cache", type=Path, default=cache, help="where CLIs are installed (default: %(default)s)")
    add("--timeout", type=float, default=120.0, help="seconds one run may take (%(default)s)")
    add("--jobs", type=int, default=2, help="engines at a time (%(default)s)")
    add("--keep", action="store_true", help="keep homes and logs, and say where")
    options = parser.parse_args(argv)
    options.only = list(dict.fromkeys(options.only))  # twice at once in one home would not do
    return options


def _report(engine: str, base: Path, options: argparse.Namespace, stop: threading.Event) -> Report:
    report = Report(engine)
    began = time.monotonic()
    try:
        report.cli = install(engine, options.cache.absolute())
        _play(report, report.cli, base / engine, options, stop)
    except InstallError as error:
        report.missing = str(error)
    except Exception:  # one engine must not cost the others their report
        report.findings["setup"] = Findings([traceback.format_exc()])
    report.seconds = time.monotonic() - began
    return report


def _play(
    report: Report, cli: Cli, base: Path, options: argparse.Namespace, stop: threading.Event
) -> None:
    with FakeLlm() as llm:
        home = make_home(report.engine, base / "home", llm.url, cli.path, uuid4().hex)
        stage = Stage(report.engine, home, llm, base / "logs", options.timeout)
        for name in options.checks:
            if stop.is_set():
                break
            found = report.findings[name] = Findings()
            began = time.monotonic()
            try:
                CHECKS[name](stage, found)
            except AbandonedError:
                pass
            except Exception:
                found.problems.append(f"the check crashed:\n{traceback.format_exc()}")
            found.seconds = time.monotonic() - began
            state = "FAIL" if found.problems else "ok"
            print(f"{report.engine} {name}: {state} ({found.seconds:.1f} s)", file=sys.stderr)
            if found.problems:
                asked = [
                    f"{r.path} -> {r.answer} (tools: {', '.join(r.tools)})" for r in llm.requests
                ]
                found.problems.append("requests:\n" + "\n".join(asked or ["none"]))
        report.outside, report.unknown = sorted(set(llm.outside)), sorted(set(llm.unknown))


def _print_details(reports: Sequence[Report]) -> None:
    for report in reports:
        for name, found in report.findings.items():
            if found.problems:
                print(f"\nFAIL {report.engine} {name}")
                for problem in found.problems:
                    print("  - " + problem.replace("\n", "\n    "))
        if report.unmapped:
            print(f"\nUNMAPPED LINES of {report.engine}: adapters/{report.engine}.yaml knows no")
            for shape, times in report.unmapped.items():
                print(f"  - {shape} ({times})")
        if report.outside:
            print(f"\n{report.engine} asked for other hosts: {', '.join(report.outside)}")
        if report.unknown:
            print(f"\n{report.engine} asked the server for: {', '.join(report.unknown)}")
        if report.cli is not None and report.cli.note:
            print(f"\n{report.engine}: {report.cli.note}")


def _print_table(reports: Sequence[Report]) -> None:
    rows = [["engine", "CLI version", *CHECKS, "seconds"]]
    for report in reports:
        version = report.cli.version if report.cli is not None else "not installed"
        cells = [_cell(report.findings.get(name)) for name in CHECKS]
        rows.append([report.engine, version, *cells, f"{report.seconds:.0f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print()
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(padded).rstrip())
    for report in reports:
        if report.missing:
            print(f"\n{report.engine} was not run: {report.missing}")


def _cell(found: Findings | None) -> str:
    if found is None:
        return "-"
    return "FAIL" if found.problems else "ok"


if __name__ == "__main__":
    sys.exit(main())
