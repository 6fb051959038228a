"""The processes of a home: those with its mark in their environment, wherever in the tree they are."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import psutil

from tests.e2e_engines.homes import MARK

POLL_S = 0.1
_GONE_S = 2.0  # how long processes may take to end when their run has


def processes_of(mark: str) -> list[psutil.Process]:
    """Every process with this mark, also those that left takopi's tree."""
    return [process for process in psutil.process_iter() if _has_mark(process, mark)]


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def waiting_commands(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """The `tail` of every `checks.WAIT` among them."""
    return [process for process in processes if _name(process) == "tail"]


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def sweep(mark: str, *, but: Collection[int] = ()) -> list[str]:
    """End what is left of runs that are over, but the process ids ``but``: each is a problem."""
    ends = time.monotonic() + _GONE_S
    while (left := _others(mark, but)) and time.monotonic() < ends:
        time.sleep(POLL_S)
    problems = []
    for process in left:
        try:
            problems.append(f"left running: {' '.join(process.cmdline())[:200]}")
            process.kill()
        except psutil.Error:
            continue
    return problems


def _others(mark: str, but: Collection[int]) -> list[psutil.Process]:
    return [process for process in processes_of(mark) if process.pid not in but]
