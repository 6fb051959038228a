"""Rows of a table, and how a number comes about: medians of rounds, CPU time, one baseline."""

from __future__ import annotations

import gc
import resource
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One number. ``target`` None: shown for comparison only; ``at_least``: more is better."""

    what: str
    seen: float
    unit: str
    target: float | None = None
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """``ok``, ``missed``, or empty where nothing is asked for."""
        if self.target is None:
            return ""
        good = self.seen >= self.target if self.at_least else self.seen <= self.target
        return "ok" if good else "missed"

    @property
    def shown_target(self) -> str:
        """The target as the table prints it."""
        if self.target is None:
            return ""
        return f"{'≥' if self.at_least else '≤'} {_number(self.target)} {self.unit}".rstrip()

    @property
    def shown(self) -> str:
        """The number as the table prints it."""
        return f"{_number(self.seen)} {self.unit}".rstrip()

    def json(self) -> dict[str, Any]:
        """The row for ``--json``."""
        return {
            "what": self.what,
            "seen": self.seen,
            "unit": self.unit,
            "target": self.target,
            "verdict": self.verdict or None,
        }


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of this process that ``work`` takes."""
    gc.collect()
    begun = time.process_time()
    work()
    return time.process_time() - begun


def medians(works: Mapping[str, Callable[[], object]], rounds: int, first: str) -> dict[str, float]:
    """CPU seconds of ``first``, and of every other work as a multiple of it in the same round.

    The works take turns, so that a machine that is slow for a while is slow for all of them.
    """
    seen: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        spent = {name: cpu_s(work) for name, work in works.items()}
        for name, seconds in spent.items():
            seen[name].append(seconds if name == first else seconds / spent[first])
    return {name: median(values) for name, values in seen.items()}


def child_cpu_s(argv: Sequence[str], env: Mapping[str, str] | None = None) -> float:
    """CPU seconds, user and system, of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(argv, capture_output=True, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise RuntimeError(f"{argv} failed: {done.stderr.decode(errors='replace')[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def print_table(title: str, rows: Sequence[Row]) -> None:
    """One topic's table."""
    table = [("what", "seen", "target", "verdict")]
    table += [(row.what, row.shown, row.shown_target, row.verdict) for row in rows]
    widths = [max(len(line[i]) for line in table) for i in range(4)]
    print(f"\n{title}")
    for line in table:
        cells = [line[0].ljust(widths[0]), line[1].rjust(widths[1]), line[2].rjust(widths[2])]
        print("  ".join([*cells, line[3]]).rstrip(), flush=True)
