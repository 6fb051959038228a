"""A stand-in for an engine's CLI: a shell script that plays what it is told and notes how it was called."""

from __future__ import annotations

import os
import shlex
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType

import anyio


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """What the CLI does, in this order.

    ``reads_stdin``  to its end, before anything else
    ``stdout``       pieces, each written by itself
    ``holds_at``     before the piece of that number it waits for `Stage.go`, and so does a child of it
    ``swap``         if it was given the second text (an argument, stdin), it prints that wherever
                     the first one stands
    ``exit_code``    negative: it dies of that signal
    """

    stdout: Sequence[bytes] = ()
    stderr: str = ""
    exit_code: int = 0
    reads_stdin: bool = True
    holds_at: int | None = None
    swap: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """How the CLI was called."""

    cwd: Path
    arguments: tuple[str, ...]
    stdin: str


class Stage:
    """A folder in which CLIs are played, as a context manager; what it started ends with it.

    ``folder`` is a good working directory for runs. Needs a POSIX system.
    """

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="takopi-stage-")
        self._root = Path(self._temporary.name).resolve()
        self._numbers = count()
        self.folder = self._root / "project"
        self.folder.mkdir()
        self._journal.touch()
        os.mkfifo(self._pipe)
        self._reader = os.open(self._pipe, os.O_RDONLY | os.O_NONBLOCK)

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.is_busy:
            for _, pid in self.journal:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        os.close(self._reader)
        self._temporary.cleanup()

    def cli(self, play: Play) -> str:
        """The path of an executable that plays; it can be started any number of times."""
        script = self._root / f"cli-{next(self._numbers)}"
        script.write_text(self._script(script, play), encoding="utf-8")
        script.chmod(0o700)
        return str(script)

    def go(self) -> None:
        """Let everything go on that holds, now and later."""
        self._gate.touch()

    @property
    def journal(self) -> list[tuple[str, int]]:
        """What happened so far, in order: a word (``start``, ``child``, ``hold``, ``end``) and a pid."""
        lines = self._journal.read_text().split("\n")[:-1]
        return [(word, int(pid)) for word, pid in map(str.split, lines)]

    def happened(self, word: str) -> int:
        """How often."""
        return sum(found == word for found, _ in self.journal)

    @property
    def calls(self) -> list[Call]:
        """The calls so far, in order."""
        return [self._call(pid) for word, pid in self.journal if word == "start"]

    @property
    def is_busy(self) -> bool:
        """Whether any process of a CLI is left."""
        try:
            # All of them have the pipe open: at its end there is none.
            return os.read(self._reader, 1) != b""
        except BlockingIOError:
            return True

    async def wait(self, word: str, times: int = 1, *, within_s: float = 10.0) -> None:
        """Wait until something has happened. Raises TimeoutError."""
        with anyio.move_on_after(within_s) as scope:
            while self.happened(word) < times:  # noqa: ASYNC110 (another process's doing)
                await anyio.sleep(0.005)
        if scope.cancelled_caught:
            found = self.happened(word)
            raise TimeoutError(f"the CLI has {found} times {word!r} instead of {times}")

    async def wait_until_idle(self, *, within_s: float = 5.0) -> bool:
        """Wait until no process is left; False if one stays."""
        with anyio.move_on_after(within_s):
            while self.is_busy:  # noqa: ASYNC110 (another process's doing)
                await anyio.sleep(0.005)
        return not self.is_busy

    # -- files -------------------------------------------------------------------------------

    @property
    def _journal(self) -> Path:
        return self._root / "journal"

    @property
    def _gate(self) -> Path:
        return self._root / "gate"

    @property
    def _pipe(self) -> Path:
        return self._root / "pipe"

    def _call(self, pid: int) -> Call:
        cwd, *arguments, _ = self._read(f"call-{pid}").split("\0")
        return Call(Path(cwd), tuple(arguments), self._read(f"stdin-{pid}"))

    def _read(self, name: str) -> str:
        path = self._root / name
        return path.read_bytes().decode("utf-8", "replace") if path.exists() else ""

    def _script(self, script: Path, play: Play) -> str:
        """The text of an executable. Only what the system has is used: it must start at once."""
        root, journal = shlex.quote(str(self._root)), shlex.quote(str(self._journal))
        lines = [
            "#!/bin/sh",
            f"exec 9>{shlex.quote(str(self._pipe))}",
            f"""printf '%s\\0' "$PWD" "$@" > {root}/call-$$""",
            f"cat > {root}/stdin-$$" if play.reads_stdin else "",
            f"echo start $$ >> {journal}",
            "swapped=",
        ]
        if play.swap is not None:
            marker = shlex.quote(play.swap[1])
            found = f"cat {root}/call-$$ {root}/stdin-$$ 2>/dev/null | grep -qaF -e {marker}"
            lines.append(f"if {found}; then swapped=.swapped; fi")
        for number, piece in enumerate(play.stdout):
            if number == play.holds_at:
                lines += self._hold()
            lines.append(f"cat {shlex.quote(self._piece(script, number, piece, play))}$swapped")
        lines.append(f"printf %s {shlex.quote(play.stderr)} >&2")
        lines.append(f"echo end $$ >> {journal}")
        leave = f"kill -{-play.exit_code} $$" if play.exit_code < 0 else f"exit {play.exit_code}"
        return "\n".join([*lines, leave, ""])

    def _hold(self) -> list[str]:
        journal, gate = shlex.quote(str(self._journal)), shlex.quote(str(self._gate))
        return [
            "sleep 60 &",
            f"echo child $! >> {journal}",
            f"echo hold $$ >> {journal}",
            f"while [ ! -e {gate} ]; do sleep 0.01; done",
            "kill $!",
        ]

    def _piece(self, script: Path, number: int, piece: bytes, play: Play) -> str:
        path = script.with_name(f"{script.name}.{number}")
        path.write_bytes(piece)
        if play.swap is not None:
            old, new = (text.encode() for text in play.swap)
            path.with_name(f"{path.name}.swapped").write_bytes(piece.replace(old, new))
        return str(path)
