"""Processes that belong to a command: who they are, whether they live, and telling them to end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable

import psutil

logger = logging.getLogger(__name__)


def tree_of(known: list[psutil.Process], session: int) -> list[psutil.Process]:
    """``known`` and the processes of ``session``, each with everything below it.

    The session has the command itself, and children whose parent is gone: they hang below
    somebody else then.
    """
    roots = {process.pid: process for process in known}
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) == session:
                roots.setdefault(pid, psutil.Process(pid))
    found: dict[int, psutil.Process] = {}
    for root in roots.values():
        if root.pid not in found:
            found[root.pid] = root
            with contextlib.suppress(psutil.Error):
                found.update((child.pid, child) for child in root.children(recursive=True))
    return list(found.values())


def is_alive(process: psutil.Process) -> bool:
    """A zombie does not: whether its parent ever reaps it is not our business."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def send_signal(send: Callable[[int], None], signum: signal.Signals) -> None:
    """Send a signal; that it cannot be sent is logged."""
    try:
        send(signum)
    except (ProcessLookupError, psutil.NoSuchProcess):
        pass  # gone: what was wanted
    except (OSError, psutil.Error) as error:
        logger.debug("subprocess.%s.failed error=%s", signum.name.lower(), error)
