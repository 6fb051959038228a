"""Commands that a killed takopi left running: noted while they run, ended before the next begins.

They would go on by themselves, unseen, beside a new run of the same session. A file for each, named
by its pid, holds when it was started, and which takopi did so; a pid alone could be anybody's by now.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import time
from pathlib import Path

import psutil

from takopi.engines.trees import is_alive, send_signal, tree_of

_GRACE_S = 2.0
_SAME_START_S = 2.0  # the start of a process is counted from the boot, and clocks are set
# What reading another's file raises, or half a note: takopi was killed over it.
_NO_NOTE = (OSError, ArithmeticError, LookupError, TypeError, ValueError)

logger = logging.getLogger(__name__)

_folder: Path | None = None


def keep_notes(folder: Path) -> None:
    """Note in ``folder`` every command that is started from here on."""
    global _folder
    _folder = folder


def note_command(pid: int) -> None:
    """A command was started. Never raises: it runs, whether it could be noted or not."""
    if _folder is None:
        return
    try:
        takopi = psutil.Process()
        note = {
            "started": psutil.Process(pid).create_time(),
            "takopi": {"pid": takopi.pid, "started": takopi.create_time()},
        }
        _folder.mkdir(parents=True, exist_ok=True)
        (_folder / f"{pid}.json").write_text(json.dumps(note))
    except (OSError, psutil.Error) as error:
        logger.warning("subprocess.not_noted pid=%s error=%s", pid, error)


def forget_command(pid: int) -> None:
    """A command has ended; what it left running on purpose is not our business."""
    if _folder is not None:
        with contextlib.suppress(OSError):
            (_folder / f"{pid}.json").unlink(missing_ok=True)


def end_left_over(folder: Path) -> list[int]:
    """End what takopis that are gone left running, with everything below it; the pids.

    SIGTERM, and SIGKILL after two seconds. Never raises.
    """
    trees: dict[int, list[psutil.Process]] = {}
    with contextlib.suppress(OSError):
        for file in sorted(folder.glob("*.json")):
            pid = _left_over(file)
            if pid is not None:
                trees[pid] = tree_of([], pid)
    alive = [process for tree in trees.values() for process in tree]
    for signum in (signal.SIGTERM, signal.SIGKILL):
        for process in alive:
            send_signal(process.send_signal, signum)
        alive = _wait_gone(alive)
    return list(trees)


def _wait_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still live when the time is up."""
    ends = time.monotonic() + _GRACE_S
    while alive := list(filter(is_alive, processes)):
        if time.monotonic() >= ends:
            break
        time.sleep(0.02)
    return alive


def _left_over(file: Path) -> int | None:
    """The pid that a note is about, if that command still runs and its takopi does not.

    The note is removed, unless its takopi lives. What is no note of ours is left alone.
    """
    try:
        note = json.loads(file.read_bytes())
        pid, started, takopi = int(file.stem), note["started"], note["takopi"]
        if _is_running(takopi["pid"], takopi["started"]):
            return None
        left_over = pid if _is_running(pid, started) else None
    except _NO_NOTE:
        return None
    with contextlib.suppress(OSError):
        file.unlink()
    return left_over if left_over != os.getpid() else None


def _is_running(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return is_alive(process) and abs(process.create_time() - started) < _SAME_START_S
    except psutil.Error:
        return False
