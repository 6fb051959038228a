"""Other processes: waiting for what they do, and seeing whether they are there."""

import asyncio
import os
import signal
from contextlib import suppress

import psutil


async def until(condition, within_s=10.0):
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 (the condition is another process's)
            await asyncio.sleep(0.005)


async def read_pid(path):
    """The pid that a process writes into a file."""
    await until(path.exists)
    return int(path.read_text())


def gone(pid):
    """No such process, or only its zombie, which waits for a parent that is not us."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def ending_processes():
    """Yields a list for pids that a test leaves behind on purpose. The body of a fixture."""
    pids = []
    yield pids
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
