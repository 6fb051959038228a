"""Processes: start one, feed it, read its lines, end its whole tree. Nothing else starts any.

::

    process = await spawn(Command(("engine", "--json"), cwd, env, stdin=b"the prompt"))
    try:
        while not (batch := await process.read(timeout=30)).ended:
            ...
    except BaseException:
        await process.stop()      # the CLI and everything it started
        raise
    process.release()             # nothing is killed; what it left running stays

The end of a run is the end of the CLI's *own* process, with what it had written by then, whoever
else still holds the pipes. asyncio's subprocess transports cannot say that: they report the end
only when every holder has let go, and closing them earlier breaks the pipe under a process that
still writes. Hence `subprocess.Popen` with pipes of our own and the loop's readers and writers;
that also reads in the callback, so one wake-up hands over a whole batch of lines. POSIX only.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import psutil

from takopi.engines.left_over import forget_command, note_command
from takopi.engines.trees import is_alive, send_signal, tree_of
from takopi.errors import RunError
from takopi.lines import MAX_LINE_BYTES, Line, LineQueue, LineTail

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 16 * 1024  # of one wake-up
_KILL_ROUNDS = 3
_KILL_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Command:
    """What to start. ``env`` is the whole environment; ``stdin`` is written, then stdin is closed."""

    argv: tuple[str, ...]
    cwd: Path | None
    env: Mapping[str, str]
    stdin: bytes | None


@dataclass(slots=True)
class Batch:
    """Lines as they were written, without ``\\n``; all empty and not ``ended``: the time was up.

    ``ended``: these were the last lines of the run and its exit code is known.
    """

    stdout: list[Line]
    stderr: list[bytes]
    ended: bool


async def spawn(command: Command, *, max_line_bytes: int = MAX_LINE_BYTES) -> Process:
    """Start ``command`` in a session of its own. Never suspends, so cancelling loses no process.

    Raises `RunError` if there is no such program or directory, or the system refuses.
    """
    child, pipes = _start(command)
    note_command(child.pid)
    return Process(child, pipes, command.stdin or b"", max_line_bytes)


class Process:
    """A running command. One task reads; any task may `stop` it."""

    def __init__(
        self, child: subprocess.Popen[bytes], pipes: _Pipes, stdin: bytes, max_line_bytes: int
    ) -> None:
        self.pid: int = child.pid
        self.returncode: int | None = None
        """Negative: died by that signal."""
        self._child = child
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._stopping = anyio.Lock()
        self._stopped = False
        self._lossy = False
        self._lines = LineQueue(max_line_bytes)
        self._tail = LineTail()
        self._stdout = _Reader(pipes.stdout, self._lines, self._changed)
        self._stderr = _Reader(pipes.stderr, self._tail, self._changed)
        self._stdin = _Writer(pipes.stdin, stdin)
        self._watch_exit()

    async def read(self, timeout: float | None = None) -> Batch:
        """The next lines, as soon as there are any; at most 4,096 of them or about 1 MB.

        The loop gets a turn in every call. Cancelling loses nothing. While nobody reads, stdout is
        not read beyond such a batch, so the command waits; stderr is always read, and only its last
        lines are kept.
        """
        if self._ready:
            await asyncio.sleep(0)
        else:
            await self._wait(timeout)
        lines = self._lines.take()
        if not self._lines.full:
            self._stdout.resume()
        return Batch(lines, self._tail.take(), ended=self._ended and not self._lines)

    async def stop(self, *, grace_s: float = 2.0) -> None:
        """End the whole tree: SIGTERM, and SIGKILL for what is left after ``grace_s``.

        Returns when the command is reaped and its tree is gone; cannot be cancelled. `read` then
        still gives the lines that were waiting, and the end. Also ends what an already finished
        command left behind in its process group and session. A daemon is not found: what forked
        twice and left the session belongs to nobody any more.
        """
        with anyio.CancelScope(shield=True):
            async with self._stopping:
                if self._stopped:
                    return
                self._lossy = True
                if self._lines.full:
                    self._stdout.discard()
                await self._end_tree(grace_s)
                self._stopped = True
                for pipe in (self._stdin, self._stdout, self._stderr):
                    pipe.close()
                self._changed()

    def release(self) -> None:
        """Stop listening and kill nothing: what still writes to the pipes can go on doing so."""
        self._stdout.discard()
        self._stderr.discard()
        self._lines.clear()
        self._tail.take()

    # -- waiting ----------------------------------------------------------------------------------

    @property
    def _ended(self) -> bool:
        all_read = self._stdout.finished and self._stderr.finished
        return self._stopped or (self.returncode is not None and all_read)

    @property
    def _ready(self) -> bool:
        return bool(self._lines or self._tail or self._ended)

    def _changed(self) -> None:
        if self._lines.full:
            # A command that is being stopped must not hang on its farewell.
            (self._stdout.discard if self._lossy else self._stdout.pause)()
        if self._ready:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, timeout: float | None) -> None:
        if self._waiter is not None:
            raise RuntimeError("two tasks read from one process")
        self._waiter = waiter = self._loop.create_future()
        timer = None if timeout is None else self._loop.call_later(timeout, self._wake)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    # -- the end ----------------------------------------------------------------------------------

    def _watch_exit(self) -> None:
        if sys.platform == "linux":
            # Missing from old kernels and from some builds of Python.
            with contextlib.suppress(AttributeError, OSError):
                pidfd = os.pidfd_open(self.pid)
                self._loop.add_reader(pidfd, self._on_pidfd, pidfd)
                return
        threading.Thread(target=self._wait_in_thread, name=f"wait-{self.pid}", daemon=True).start()

    def _on_pidfd(self, pidfd: int) -> None:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        self._child.wait()
        self._on_exit()

    def _wait_in_thread(self) -> None:
        self._child.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._on_exit)

    def _on_exit(self) -> None:
        forget_command(self.pid)
        self.returncode = self._child.returncode
        self._stdin.close()
        self._stdout.finish_with_what_is_there()
        self._stderr.finish_with_what_is_there()
        self._changed()

    async def _end_tree(self, grace_s: float) -> None:
        tree = await self._walk([])
        self._signal(tree, signal.SIGTERM)
        tree = await self._wait_gone(tree, grace_s)
        for _ in range(_KILL_ROUNDS):
            if not tree and self.returncode is not None:
                return
            tree = await self._walk(tree)
            self._signal(tree, signal.SIGKILL)
            tree = await self._wait_gone(tree, _KILL_WAIT_S)
        logger.warning("subprocess.kill.survived pids=%s", [process.pid for process in tree])

    async def _walk(self, known: list[psutil.Process]) -> list[psutil.Process]:
        """``known`` and all that can be found of the tree; in a thread, because it takes a while."""
        if self._number_reused():
            return known
        # A limiter of its own: cancelling must not queue behind other people's threads.
        limiter = anyio.CapacityLimiter(1)
        return await anyio.to_thread.run_sync(tree_of, known, self.pid, limiter=limiter)

    def _number_reused(self) -> bool:
        """No system gives a pid out again while it names a group or a session that has members."""
        return self._child.returncode is not None and psutil.pid_exists(self.pid)

    def _signal(self, tree: list[psutil.Process], signum: signal.Signals) -> None:
        """Signal every group that was made inside the tree, and the strays one by one.

        By group where possible: that reaches a process forked since the walk, and nobody gets the
        signal twice (a second SIGTERM makes some CLIs skip their clean-up).
        """
        own = {process.pid: process for process in tree}
        groups: set[int] = set() if self._number_reused() else {self.pid}
        for process in tree:
            with contextlib.suppress(OSError):
                group = os.getpgid(process.pid)
                if group in own and own[group].is_running():
                    groups.add(group)
                elif group not in groups:
                    send_signal(process.send_signal, signum)
        for group in groups:
            send_signal(partial(os.killpg, group), signum)

    async def _wait_gone(self, tree: list[psutil.Process], timeout: float) -> list[psutil.Process]:
        """What of ``tree`` still runs when all is gone or the time is up."""
        deadline = self._loop.time() + timeout
        delay = 0.001
        while True:
            tree = [process for process in tree if is_alive(process)]
            if (not tree and self.returncode is not None) or self._loop.time() >= deadline:
                return tree
            await anyio.sleep(delay)
            delay = min(delay * 2, 0.02)


class _Reader:
    """Moves one pipe into its sink until the run's output is complete, then into nothing.

    Owns the descriptor and closes it at the pipe's end, or with the loop that it belonged to.
    """

    __slots__ = ("_changed", "_fd", "_left", "_loop", "_paused", "_sink", "finished")

    def __init__(self, fd: int, sink: LineQueue | LineTail, changed: Callable[[], None]) -> None:
        self.finished = False  # the sink has all it will get
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._sink = sink
        self._changed = changed
        self._left: int | None = None  # bytes that still belong to the run, once that is known
        self._paused = False
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._on_readable)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def pause(self) -> None:
        """Leave the rest in the pipe, so that its writer waits."""
        if not self.finished and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._paused:
            self._paused = False
            self._loop.add_reader(self._fd, self._on_readable)

    def finish_with_what_is_there(self) -> None:
        """The command has exited: what the pipe holds now is the last it can have written."""
        if self.finished:
            return
        self._left = _bytes_in_pipe(self._fd)
        if not self._left:
            self._finish()
        while not (self.finished or self._paused):
            self._on_readable()

    def discard(self) -> None:
        """Read into nothing from now on: the sink is done, the pipe must not break or fill up."""
        self.finished = True
        if self._fd >= 0:
            self.resume()

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        self.finished = True

    def _on_readable(self) -> None:
        if self.finished:
            if self._read(_CHUNK_BYTES) == b"":
                self.close()
            return
        chunk = self._read(_CHUNK_BYTES if self._left is None else min(_CHUNK_BYTES, self._left))
        if chunk:
            self._sink.feed(chunk)
        if self._left is not None:
            self._left = self._left - len(chunk) if chunk else 0
        if chunk == b"" or self._left == 0:
            self._finish()
        if chunk == b"":
            self.close()
        self._changed()

    def _read(self, size: int) -> bytes | None:
        """None: nothing there; empty: the pipe's end."""
        try:
            return os.read(self._fd, size)
        except BlockingIOError:
            return None

    def _finish(self) -> None:
        self._sink.flush()
        self.discard()


class _Writer:
    """Writes the payload while the command does as it likes, then closes; a broken pipe is fine."""

    __slots__ = ("_fd", "_loop", "_payload")

    def __init__(self, fd: int | None, payload: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._payload = memoryview(payload)
        if fd is not None:
            os.set_blocking(fd, False)
            self._loop.add_writer(fd, self._on_writable)

    def close(self) -> None:
        if self._fd is not None:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = None
            self._payload = memoryview(b"")

    def _on_writable(self) -> None:
        assert self._fd is not None
        try:
            written = os.write(self._fd, self._payload)
        except BlockingIOError:
            return
        except OSError:  # the command does not want it; its exit code decides
            written = len(self._payload)
        self._payload = self._payload[written:]
        if not self._payload:
            self.close()


# -- starting -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pipes:
    """Our ends. ``stdin`` is None where the command got the null device."""

    stdin: int | None
    stdout: int
    stderr: int


def _start(command: Command) -> tuple[subprocess.Popen[bytes], _Pipes]:
    ours: list[int] = []
    theirs: list[int] = []
    try:
        for _ in range(3 if command.stdin else 2):
            reading, writing = os.pipe()
            ours.append(reading)
            theirs.append(writing)
        if command.stdin:
            ours[2], theirs[2] = theirs[2], ours[2]
        child = subprocess.Popen(
            command.argv,
            stdin=theirs[2] if command.stdin else subprocess.DEVNULL,
            stdout=theirs[0],
            stderr=theirs[1],
            cwd=command.cwd,
            env=dict(command.env),
            start_new_session=True,
        )
    except BaseException as error:
        for fd in ours:
            os.close(fd)
        if isinstance(error, OSError | ValueError):
            raise RunError(_reason(command, error)) from error
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    return child, _Pipes(ours[2] if command.stdin else None, ours[0], ours[1])


def _reason(command: Command, error: OSError | ValueError) -> str:
    """Why the command did not start; the system's own text does not say what it is about."""
    program, cwd = command.argv[0], command.cwd
    if not isinstance(error, OSError):
        return f"cannot start `{program}`: {error} in its arguments, environment or directory"
    if cwd is not None and not cwd.is_dir():
        problem = "is not a directory" if cwd.exists() else "does not exist"
        return f"cannot start `{program}`: the working directory `{cwd}` {problem}"
    if cwd is not None and not os.access(cwd, os.X_OK):
        return f"cannot start `{program}`: the working directory `{cwd}` may not be entered"
    if error.errno == errno.E2BIG:
        return f"cannot start `{program}`: its arguments are too long for this system"
    if error.errno == errno.EACCES:
        return f"cannot start `{program}`: it is not executable"
    if error.errno == errno.ENOEXEC:
        why = "no program for this system, nor a script whose first line is `#!` and an interpreter"
        return f"cannot start `{program}`: it is {why}"
    if error.errno != errno.ENOENT:
        return f"cannot start `{program}`: {error.strerror}"
    is_path = os.sep in program
    name = str((cwd or Path()) / program) if is_path else program
    if found := shutil.which(name, path=command.env.get("PATH")):
        return f"cannot start `{found}`: the interpreter named in its first line does not exist"
    if is_path:
        return f"cannot start `{program}`: there is no such file"
    return f"cannot start `{program}`: there is no such command in PATH; is it installed?"


# -- the system -----------------------------------------------------------------------------------


def _bytes_in_pipe(fd: int) -> int:
    buffer = fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4)
    return int(struct.unpack("i", buffer)[0])
