"""Processes for plugins that start and read them themselves; takopi's own engines use `process`.

::

    async with manage_subprocess(["acme", "--json"], stdin=None) as process:
        async for value in iter_jsonl(process.stdout):
            ...
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import Process

from takopi.logs import get_logger

GRACE_S = 2.0

logger = get_logger(__name__)


@asynccontextmanager
async def manage_subprocess(cmd: Sequence[str], **kwargs: Any) -> AsyncIterator[Process]:
    """A process, with the arguments of `anyio.open_process`, that does not outlive the block.

    It leads a session of its own unless ``start_new_session`` says otherwise. What runs at the end
    gets SIGTERM, and SIGKILL after `GRACE_S`; what the process left behind in its group gets SIGTERM.
    """
    kwargs.setdefault("start_new_session", True)
    with anyio.CancelScope(shield=True):  # half started, it would never be waited for
        process = await anyio.open_process(cmd, **kwargs)
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                terminate_process(process)
                with anyio.move_on_after(GRACE_S):
                    await process.wait()
            if process.returncode is None:
                kill_process(process)
                await process.wait()
            if kwargs["start_new_session"]:
                _signal_group(process.pid, signal.SIGTERM)
            await process.aclose()


def terminate_process(process: Process) -> None:
    """Ask a process and its group to end; nothing if it has."""
    _signal(process, signal.SIGTERM)


def kill_process(process: Process) -> None:
    """End a process and its group; nothing if it has."""
    _signal(process, signal.SIGKILL)


def _signal(process: Process, number: signal.Signals) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        # A group of its own only: ours must not be signalled.
        if os.getpgid(process.pid) == process.pid and _signal_group(process.pid, number):
            return
        process.send_signal(number)


def _signal_group(group: int, number: signal.Signals) -> bool:
    """Whether there is nothing left to be done."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return True
    except OSError as error:
        name = "kill" if number == signal.SIGKILL else "terminate"
        logger.debug(f"subprocess.{name}.failed", pid=group, error=str(error))
        return False
    return True
