"""The process layer against real processes."""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path

import anyio
import psutil
import pytest

from takopi.engines.process import Command, spawn
from takopi.errors import RunError
from takopi.lines import Oversized
from tests.support.processes import gone, until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="processes are started the POSIX way"),
]

MEGABYTE = 1024 * 1024


def python(script, *args, stdin=None, cwd=None):
    # -S -E: starts twice as fast.
    return Command((sys.executable, "-SE", "-c", script, *args), cwd, dict(os.environ), stdin)


def shell(script, *args, stdin=None):
    return Command(("sh", "-c", script, "sh", *args), None, dict(os.environ), stdin)


async def collect(process):
    """All lines of a run, and its end."""
    stdout, stderr = [], []
    async with asyncio.timeout(20):
        while True:
            batch = await process.read()
            stdout += batch.stdout
            stderr += batch.stderr
            if batch.ended:
                process.release()
                return stdout, stderr


async def run(command, **options):
    process = await spawn(command, **options)
    stdout, stderr = await collect(process)
    return stdout, stderr, process.returncode


async def first_line(process):
    async with asyncio.timeout(20):
        while not (batch := await process.read()).stdout:
            assert not batch.ended
    return batch.stdout[0]


# -- output and exit code -------------------------------------------------------------------------


async def test_lines_of_both_streams_and_the_exit_code():
    stdout, stderr, code = await run(shell("echo one; echo two; echo problem >&2; exit 3"))
    assert (stdout, stderr, code) == ([b"one", b"two"], [b"problem"], 3)


async def test_a_signal_is_a_negative_exit_code():
    assert await run(shell("kill -TERM $$")) == ([], [], -signal.SIGTERM)


async def test_raw_bytes_and_a_last_line_without_newline():
    script = r"import sys; sys.stdout.buffer.write(b'\xff\x00\r\n\xe2\x80\xa8\x0b\n\nlast')"
    stdout, _, _ = await run(python(script))
    assert stdout == [b"\xff\x00\r", b"\xe2\x80\xa8\x0b", b"", b"last"]


async def test_a_last_line_of_stderr_without_newline():
    assert (await run(shell("printf oops >&2")))[1] == [b"oops"]


async def test_a_line_over_the_cap_is_skipped_and_the_run_goes_on():
    script = f"print('x' * {3 * MEGABYTE}); print('next')"
    stdout, _, code = await run(python(script), max_line_bytes=MEGABYTE)
    assert (stdout, code) == ([Oversized(3 * MEGABYTE), b"next"], 0)


async def test_the_end_comes_again_for_whoever_reads_again():
    process = await spawn(shell("echo x"))
    await collect(process)
    batch = await process.read()
    assert (batch.stdout, batch.stderr, batch.ended) == ([], [], True)


async def test_the_child_leads_a_session_of_its_own():
    process = await spawn(python("import os; print(os.getpid(), os.getsid(0), os.getpgrp())"))
    (line,), _ = await collect(process)
    assert [int(number) for number in line.split()] == [process.pid] * 3


async def test_environment_and_directory_are_the_given_ones(tmp_path):
    command = Command(("/bin/sh", "-c", "pwd -P; echo $A$HOME"), tmp_path, {"A": "b"}, None)
    stdout, _, _ = await run(command)
    assert stdout == [os.fsencode(tmp_path.resolve()), b"b"]


async def test_batches_are_bounded_and_in_order():
    process = await spawn(python("print('\\n' * 20000); print('\\n'.join(map(str, range(20000))))"))
    lines = []
    while True:
        batch = await process.read()
        assert len(batch.stdout) <= 4096
        lines += batch.stdout
        if batch.ended:
            break
    process.release()
    assert lines == [b""] * 20001 + [str(number).encode() for number in range(20000)]


# -- waiting --------------------------------------------------------------------------------------


async def test_an_empty_batch_when_the_time_is_up():
    process = await spawn(shell("sleep 30"))
    started = time.monotonic()
    batch = await process.read(timeout=0.05)
    assert 0.04 < time.monotonic() - started < 1
    assert (batch.stdout, batch.stderr, batch.ended) == ([], [], False)
    await process.stop()


async def test_time_limits_around_the_arrival_of_lines_lose_nothing():
    failures = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    process = await spawn(
        python("import time\nfor n in range(200): print(n, flush=True); time.sleep(0.001)")
    )
    lines = []
    while not (batch := await process.read(timeout=0.001)).ended:
        lines += batch.stdout
    process.release()
    assert [int(line) for line in lines + batch.stdout] == list(range(200))
    assert failures == []


async def test_cancelling_a_read_loses_nothing():
    process = await spawn(shell("sleep 0.1; echo x; sleep 0.1; echo y"))
    lines = []
    for _ in range(200):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.005):
                batch = await process.read()
                lines += batch.stdout
                if batch.ended:
                    break
    assert batch.ended
    assert lines == [b"x", b"y"]


async def test_only_one_task_may_read():
    process = await spawn(shell("sleep 30"))
    reading = asyncio.create_task(process.read())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="two tasks"):
        await process.read()
    await process.stop()
    assert (await reading).ended


async def test_other_tasks_run_while_lines_pour_in():
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    process = await spawn(python("print('\\n' * 60000)"))
    await until(lambda: process.returncode is not None)
    ended, reads = False, 0
    while not ended:
        before = turns
        ended = (await process.read()).ended
        assert turns > before
        reads += 1
    counting.cancel()
    assert reads >= 60000 / 4096


# -- stdin ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [None, b"", b"the prompt"], ids=["none", "empty", "some"])
async def test_stdin_is_written_and_always_closed(payload):
    stdout, _, code = await run(python("print(input and len(open(0).read()))", stdin=payload))
    assert (stdout, code) == ([str(len(payload or b"")).encode()], 0)


async def test_a_large_payload_to_a_child_that_writes_first():
    size = 5 * MEGABYTE
    script = (
        f"import sys; sys.stdout.write('x' * {size} + '\\n'); sys.stdout.flush();"
        "sys.stderr.write('e' * 200000 + '\\n'); print(len(sys.stdin.buffer.read()))"
    )
    stdout, _, code = await run(python(script, stdin=b"p" * size))
    assert ([len(stdout[0]), *stdout[1:]], code) == ([size, str(size).encode()], 0)


async def test_a_child_that_never_reads_stdin():
    assert await run(shell("echo done", stdin=b"p" * 5 * MEGABYTE)) == ([b"done"], [], 0)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
async def test_stdin_is_given_up_at_the_end_even_if_a_grandchild_holds_it():
    before = len(os.listdir("/proc/self/fd"))
    script = "exec 3<&0; sleep 30 <&3 >/dev/null 2>&1 & echo $!"
    (sleeper,), _, _ = await run(shell(script, stdin=b"p" * MEGABYTE))
    await until(lambda: len(os.listdir("/proc/self/fd")) == before, within_s=2)
    os.kill(int(sleeper), signal.SIGKILL)


async def test_a_child_that_closes_stdin_and_lives_on():
    script = "exec <&-; sleep 0.1; echo done"
    assert await run(shell(script, stdin=b"p" * 5 * MEGABYTE)) == ([b"done"], [], 0)


# -- back-pressure --------------------------------------------------------------------------------


async def test_a_child_waits_while_nobody_reads(tmp_path):
    written = tmp_path / "written"
    script = (
        "import sys, pathlib\n"
        "for n in range(400):\n"
        "    sys.stdout.write('x' * 65535 + '\\n'); sys.stdout.flush()\n"
        "    pathlib.Path(sys.argv[1]).write_text(str(n))\n"
    )
    process = await spawn(python(script, str(written)))
    before = -1
    await until(written.exists)
    while (now := int(written.read_text() or 0)) != before:
        before = now
        await asyncio.sleep(0.2)
    assert before < 2 * MEGABYTE / 65536
    stdout, _ = await collect(process)
    assert len(stdout) == 400
    assert set(stdout) == {b"x" * 65535}


async def test_stderr_never_blocks_the_child_and_only_its_end_is_kept():
    script = (
        "import sys\n"
        "for n in range(50000): print('noise', n, file=sys.stderr)\n"
        f"sys.stderr.write('y' * {MEGABYTE}); print('done', flush=True)"
    )
    process = await spawn(python(script))
    await until(lambda: gone(process.pid))
    stdout, stderr = await collect(process)
    assert stdout == [b"done"]
    assert len(stderr) <= 200
    assert stderr[-2] == b"noise 49999"
    assert stderr[-1] == b"y" * 16384


# -- the end of a run -----------------------------------------------------------------------------


async def test_a_grandchild_that_holds_the_pipe_does_not_delay_the_end():
    process = await spawn(shell("sleep 30 & echo $!; exit 4"))
    started = time.monotonic()
    (line,), _ = await collect(process)
    assert time.monotonic() - started < 1
    assert process.returncode == 4
    sleeper = int(line)
    assert not gone(sleeper)
    os.kill(sleeper, signal.SIGKILL)


async def test_a_grandchild_may_write_after_the_end(tmp_path):
    marker = tmp_path / "marker"
    # More than a pipe holds, on both pipes: breaks if they are closed, hangs if nobody reads.
    script = (
        "(sleep 0.3; head -c 300000 /dev/zero && head -c 300000 /dev/zero >&2 && : >$1) & echo end"
    )
    process = await spawn(shell(script, str(marker)))
    stdout, _ = await collect(process)
    assert stdout == [b"end"]
    assert not marker.exists()
    await until(marker.exists)
    batch = await process.read()
    assert (batch.stdout, batch.stderr, batch.ended) == ([], [], True)


async def test_a_grandchild_that_keeps_writing_does_not_delay_the_end():
    process = await spawn(shell("yes & echo $!"))
    started = time.monotonic()
    stdout, _ = await collect(process)
    assert time.monotonic() - started < 5
    writer = next(int(line) for line in stdout if line.isdigit())
    assert not gone(writer)
    os.kill(writer, signal.SIGKILL)


FILL_A_BATCH_AND_LEAVE_THE_REST_IN_THE_PIPE = (
    "import time\n"
    "for _ in range(15): print('x' * 65535, flush=True)\n"
    "time.sleep(0.2)\n"
    "for _ in range(4): print('y' * 9999)\n"
    "print('last', end='')"
)


async def test_output_of_the_ended_child_survives_back_pressure():
    process = await spawn(python(FILL_A_BATCH_AND_LEAVE_THE_REST_IN_THE_PIPE))
    await until(lambda: process.returncode is not None)
    batch = await process.read()
    assert (len(batch.stdout), batch.ended) == (15, False)
    assert (await collect(process))[0] == [b"y" * 9999] * 4 + [b"last"]


async def test_back_pressure_and_a_grandchild_that_holds_the_pipe():
    start = "import subprocess\nprint(subprocess.Popen(['sleep', '30']).pid)\n"
    process = await spawn(python(start + FILL_A_BATCH_AND_LEAVE_THE_REST_IN_THE_PIPE))
    await until(lambda: process.returncode is not None)
    (sleeper, *stdout), _ = await collect(process)
    assert stdout[15:] == [b"y" * 9999] * 4 + [b"last"]
    os.kill(int(sleeper), signal.SIGKILL)


async def test_closing_stdout_is_not_the_end():
    process = await spawn(shell("echo x; exec >&- 2>&-; sleep 0.3; exit 5"))
    assert await first_line(process) == b"x"
    batch = await process.read(timeout=0.05)
    assert not batch.ended
    await collect(process)
    assert process.returncode == 5


async def test_release_before_the_end_lets_the_child_finish(tmp_path):
    marker = tmp_path / "marker"
    process = await spawn(
        shell("echo x; sleep 0.1; head -c 3000000 /dev/zero && : >$1", str(marker))
    )
    assert await first_line(process) == b"x"
    process.release()
    await until(marker.exists)
    await until(lambda: process.returncode is not None)
    assert (await process.read()).stdout == []


# -- stop -----------------------------------------------------------------------------------------


async def test_stop_reaches_a_grandchild_in_its_own_session():
    script = (
        "import subprocess, time\n"
        "child = subprocess.Popen(['sh', '-c', 'sleep 60 & wait'], start_new_session=True)\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    process = await spawn(python(script))
    shell_pid = int(await first_line(process))
    await until(lambda: psutil.Process(shell_pid).children())
    sleeper = psutil.Process(shell_pid).children()[0].pid
    started = time.monotonic()
    await process.stop()
    assert time.monotonic() - started < 1
    assert process.returncode == -signal.SIGTERM
    assert gone(shell_pid)
    assert gone(sleeper)
    assert (await process.read()).ended


async def test_what_ignores_sigterm_is_killed_after_the_grace_period():
    ignoring = "trap '' TERM; echo $$; while :; do sleep 0.05; done"
    process = await spawn(shell('setsid sh -c "$1" & exec sleep 60', ignoring))
    ignorer = int(await first_line(process))
    assert ignorer != process.pid
    started = time.monotonic()
    await process.stop(grace_s=0.3)
    assert 0.3 <= time.monotonic() - started < 1.5
    assert process.returncode == -signal.SIGTERM
    assert gone(ignorer)


async def test_a_leader_that_ignores_sigterm_is_killed():
    process = await spawn(shell("trap '' TERM; echo x; while :; do sleep 0.05; done"))
    await first_line(process)
    await process.stop(grace_s=0.3)
    assert process.returncode == -signal.SIGKILL


async def test_sigterm_comes_once():
    script = (
        "import signal, time\nseen = []\nsignal.signal(15, lambda *_: seen.append(1))\n"
        "print('x', flush=True)\nwhile not seen: time.sleep(0.01)\n"
        "time.sleep(0.1); print('seen', len(seen), flush=True)"
    )
    process = await spawn(python(script))
    await first_line(process)
    await process.stop()
    batch = await process.read()
    assert (batch.stdout, batch.ended, process.returncode) == ([b"seen 1"], True, 0)


SAYS_FAREWELL = (
    "import os, signal, sys, time\n"
    "def farewell(*_):\n"
    "    for _ in range(40): os.write(1, b'z' * 65535 + b'\\n')\n"
    "    os._exit(7)\n"
    "signal.signal(15, farewell)\n"
    "print('x', flush=True)\n"
)


@pytest.mark.parametrize(
    "script",
    ["time.sleep(60)", "while True: os.write(1, b'y' * 65535 + b'\\n')"],
    ids=["idle", "blocked"],
)
async def test_a_long_farewell_that_nobody_reads_is_no_reason_to_be_killed(script):
    process = await spawn(python(SAYS_FAREWELL + script))
    await first_line(process)
    await asyncio.sleep(0.2)
    await process.stop()
    assert process.returncode == 7
    stdout, _ = await collect(process)
    assert 10 <= len(stdout) <= 20
    assert {len(line) for line in stdout} == {65535}


async def test_stop_twice_and_at_the_same_time():
    process = await spawn(shell("sleep 60"))
    await asyncio.gather(process.stop(), process.stop())
    await process.stop()
    assert process.returncode == -signal.SIGTERM


async def test_stop_after_the_end_ends_what_was_left_behind():
    script = "import subprocess\nprint(subprocess.Popen(['sleep', '60']).pid)\n"
    process = await spawn(python(script))
    (line,), _ = await collect(process)
    assert not gone(int(line))
    await process.stop()
    assert gone(int(line))
    assert process.returncode == 0


async def test_what_the_ended_child_left_in_its_group_gets_sigterm_once(tmp_path):
    marker = tmp_path / "marker"
    script = (
        "import os, signal, sys, time\n"
        "seen = []; signal.signal(15, lambda *_: seen.append(1))\n"
        "ready, say_ready = os.pipe()\n"
        "if os.fork(): os.read(ready, 1); os._exit(0)\n"
        "os.write(say_ready, b'x')\n"
        "while not seen: time.sleep(0.01)\n"
        "time.sleep(0.1); open(sys.argv[1], 'w').write(str(len(seen)))"
    )
    process = await spawn(python(script, str(marker)))
    await collect(process)
    await process.stop()
    assert marker.read_text() == "1"


async def test_stop_after_the_end_with_nothing_left_is_quick():
    process = await spawn(shell("exit 3"))
    await collect(process)
    started = time.monotonic()
    await process.stop()
    assert time.monotonic() - started < 0.5
    assert process.returncode == 3


async def test_stop_in_a_cancelled_scope():
    process = await spawn(shell("trap '' TERM; echo x; while :; do sleep 0.05; done"))
    await first_line(process)

    with anyio.move_on_after(0.05) as scope:
        try:
            while True:
                await process.read()
        finally:
            await process.stop(grace_s=0.2)
    assert scope.cancelled_caught
    assert process.returncode == -signal.SIGKILL


async def test_nothing_is_left_of_a_stopped_process_that_somebody_reads():
    process = await spawn(shell("echo x; exec sleep 60"))
    reading = asyncio.create_task(collect(process))
    await asyncio.sleep(0.1)
    await process.stop()
    assert await reading == ([b"x"], [])
    assert not psutil.pid_exists(process.pid)


# -- many, and nothing left behind ----------------------------------------------------------------


async def test_many_at_once():
    script = "for n in range(500): print(n)"
    runs = await asyncio.gather(*(run(python(script)) for _ in range(20)))
    assert runs == [([str(n).encode() for n in range(500)], [], 0)] * 20


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
async def test_nothing_leaks():
    async def ended(payload):
        await run(shell("echo x; echo y >&2", stdin=payload))

    async def stopped():
        process = await spawn(shell("setsid sleep 60 & sleep 60", stdin=b"p" * MEGABYTE))
        await process.read(timeout=0.01)
        await process.stop()

    def open_things():
        children = psutil.Process().children()
        return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()), children

    await ended(None)
    await stopped()
    before = open_things()
    threads = threading.active_count()
    for number in range(50):
        await ended(b"payload" if number % 2 else None)
    for _ in range(20):
        await stopped()
    with contextlib.suppress(RunError):
        await spawn(Command(("no-such-command",), None, {}, b"payload"))
    assert open_things() == before
    assert threading.active_count() <= threads


async def test_without_pidfd_a_thread_waits(monkeypatch):
    def refuse(pid):
        raise OSError("not here")

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    assert await run(shell("echo x; exit 3")) == ([b"x"], [], 3)
    process = await spawn(shell("sleep 60"))
    await process.stop()
    assert process.returncode == -signal.SIGTERM
    await until(lambda: not [t for t in threading.enumerate() if t.name.startswith("wait-")])


def test_a_loop_may_close_while_a_pipe_lingers(tmp_path):
    """The descriptors go with the loop (and no `ResourceWarning`)."""

    def count():
        gc.collect()
        return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0

    before = count()
    stdout, _, _ = asyncio.run(run(shell("sleep 30 & echo $!")))
    assert count() == before
    os.kill(int(stdout[0]), signal.SIGKILL)


# -- what cannot be started -----------------------------------------------------------------------


def executable(path, text, mode=0o755):
    path.write_text(text)
    path.chmod(mode)
    return str(path)


async def refused(*argv, cwd=None, env=None):
    with pytest.raises(RunError) as caught:
        await spawn(Command(argv, cwd, env or dict(os.environ), b"x"))
    return str(caught.value)


async def test_a_missing_command_is_named(tmp_path):
    assert await refused("no-such-command") == (
        "cannot start `no-such-command`: there is no such command in PATH; is it installed?"
    )
    path = str(tmp_path / "missing")
    assert await refused(path) == f"cannot start `{path}`: there is no such file"


async def test_a_command_that_cannot_be_executed_is_named(tmp_path):
    plain = executable(tmp_path / "plain", "echo", mode=0o644)
    assert await refused(plain) == f"cannot start `{plain}`: it is not executable"
    odd = executable(tmp_path / "odd", "\0\0\0")
    assert (await refused(odd)).startswith(f"cannot start `{odd}`: it is no program")
    script = executable(tmp_path / "script", "#!/no/such/interpreter\n")
    why = "the interpreter named in its first line does not exist"
    assert await refused(script) == f"cannot start `{script}`: {why}"
    assert await refused("script", env={"PATH": str(tmp_path)}) == f"cannot start `{script}`: {why}"


async def test_a_bad_working_directory_is_named(tmp_path):
    missing = tmp_path / "missing"
    why = f"the working directory `{missing}` does not exist"
    assert await refused("sh", cwd=missing) == f"cannot start `sh`: {why}"
    missing.touch()
    why = f"the working directory `{missing}` is not a directory"
    assert await refused("sh", cwd=missing) == f"cannot start `sh`: {why}"


async def test_bad_arguments_are_refused():
    why = "its arguments are too long for this system"
    assert await refused("sh", "-c", "x" * 20 * MEGABYTE) == f"cannot start `sh`: {why}"
    assert (await refused("sh", "a\0b")).startswith("cannot start `sh`: embedded null byte")
