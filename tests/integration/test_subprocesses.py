"""Processes that plugins start by the old helpers: none of them stays."""

import os
import signal
import time

import anyio
import pytest

from takopi.engines.streams import iter_bytes_lines
from takopi.engines.subprocesses import (
    GRACE_S,
    kill_process,
    manage_subprocess,
    terminate_process,
)
from tests.support.processes import gone, until

pytestmark = pytest.mark.anyio


async def first_line(process):
    async for line in iter_bytes_lines(process.stdout):
        return line
    raise AssertionError("no line")


async def test_output_and_exit_code():
    with anyio.fail_after(10):
        async with manage_subprocess(["sh", "-c", "echo one; echo two; exit 3"]) as process:
            lines = [line async for line in iter_bytes_lines(process.stdout)]
            assert await process.wait() == 3
    assert lines == [b"one", b"two"]


async def test_a_process_leads_a_session_of_its_own():
    async with manage_subprocess(["sleep", "60"]) as process:
        assert os.getsid(process.pid) == process.pid
    assert process.returncode == -signal.SIGTERM


async def test_a_process_that_must_share_our_session_ends_alone():
    async with manage_subprocess(["sleep", "60"], start_new_session=False) as process:
        assert os.getpgid(process.pid) == os.getpgid(0)
    assert process.returncode == -signal.SIGTERM


async def test_what_ignores_sigterm_is_killed():
    with anyio.fail_after(10):
        begun = time.monotonic()
        async with manage_subprocess(
            ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]
        ) as process:
            assert await first_line(process) == b"ready"
    assert process.returncode == -signal.SIGKILL
    assert time.monotonic() - begun >= GRACE_S


async def test_children_end_with_the_process():
    async with manage_subprocess(["sh", "-c", "sleep 60 & echo $!; wait"]) as process:
        child = int(await first_line(process))
    await until(lambda: gone(child))


async def test_c4_what_a_process_left_behind_is_ended():
    script = "sleep 60 >/dev/null 2>&1 & echo $!"
    async with manage_subprocess(["sh", "-c", script]) as process:
        child = int(await first_line(process))
        await process.wait()
        assert not gone(child)
    await until(lambda: gone(child))


async def test_an_error_inside_ends_the_process():
    with pytest.raises(ValueError, match="boom"):
        async with manage_subprocess(["sleep", "60"]) as process:
            raise ValueError("boom")
    assert process.returncode == -signal.SIGTERM


async def test_cancelling_ends_the_process():
    with anyio.move_on_after(0.05) as scope:
        async with manage_subprocess(["sleep", "60"]) as process:
            await anyio.sleep(60)
    assert scope.cancelled_caught
    assert process.returncode == -signal.SIGTERM


async def test_a_start_is_not_cancelled_half_way():
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with manage_subprocess(["sleep", "60"]) as process:
            await anyio.sleep(60)
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    ("end", "number"), [(terminate_process, signal.SIGTERM), (kill_process, signal.SIGKILL)]
)
async def test_a_process_is_ended_once(end, number):
    async with manage_subprocess(["sleep", "60"]) as process:
        end(process)
        assert await process.wait() == -number
        end(process)
    assert process.returncode == -number


async def test_a_command_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        async with manage_subprocess(["/nowhere/acme"]):
            raise AssertionError("it ran")
