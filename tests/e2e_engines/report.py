"""What came of the engines, as text."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.e2e_engines.checks import AbandonedError, Findings
from tests.e2e_engines.fake_llm import FakeLlm
from tests.e2e_engines.install import Cli


@dataclass
class Report:
    """What came of one engine."""

    engine: str
    cli: Cli | None = None
    missing: str = ""  # why it could not be run
    findings: dict[str, Findings] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return any(found.problems for found in self.findings.values())

    @property
    def seconds(self) -> float:
        return sum(found.seconds for found in self.findings.values())

    @property
    def unmapped(self) -> dict[str, int]:
        shapes: dict[str, int] = {}
        for found in self.findings.values():
            for shape, times in found.unmapped.items():
                shapes[shape] = shapes.get(shape, 0) + times
        return shapes

    @contextmanager
    def check(self, name: str, llm: FakeLlm) -> Iterator[Findings]:
        """Time a check; what it raises is a finding, and so are the requests of one that fails."""
        found = self.findings.setdefault(name, Findings())
        began = time.monotonic()
        try:
            yield found
        except AbandonedError:
            pass
        except Exception:
            found.problems.append(f"the check crashed:\n{traceback.format_exc()}")
        found.seconds += time.monotonic() - began
        state = "FAIL" if found.problems else "ok"
        print(f"{self.engine} {name}: {state} ({found.seconds:.1f} s)", file=sys.stderr)
        if found.problems:
            asked = [f"{r.path} -> {r.answer} (tools: {', '.join(r.tools)})" for r in llm.requests]
            found.problems.append("requests:\n" + "\n".join(asked or ["none"]))


def print_details(reports: Sequence[Report]) -> None:
    """Everything that is wrong or strange."""
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


def print_table(title: str, checks: Sequence[str], reports: Sequence[Report]) -> None:
    """One line per engine, one column per check."""
    rows = [["engine", "CLI version", *checks, "seconds"]]
    for report in reports:
        version = report.cli.version if report.cli is not None else "not installed"
        cells = [_cell(report.findings.get(name)) for name in checks]
        rows.append([report.engine, version, *cells, f"{report.seconds:.0f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"\n{title}")
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(padded).rstrip())


def _cell(found: Findings | None) -> str:
    if found is None:
        return "-"
    return "FAIL" if found.problems else "ok"
