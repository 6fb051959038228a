"""takopi as a Telegram bot: the process, its home with every engine, and a project in a git repository."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil

from tests.e2e_engines.homes import MARK, Home, make_home
from tests.e2e_engines.processes import POLL_S, processes_of, sweep, waiting_commands
from tests.fake_telegram import FakeTelegram, Room

PROJECT, BRANCH = "site", "side"
NOTE = "note.txt"  # says something else on each branch
NOTES = {"main": "the-trunk-4711", BRANCH: "the-side-0815"}

_START_S = 60.0
_COMMAND_S = 20.0  # from a step that is shown to its process
_FAREWELL_S = 30.0  # how long takopi may take to end after a signal


def make_bot_home(
    urls: Mapping[str, str], root: Path, path: Sequence[Path], tg: FakeTelegram, rooms: list[Room]
) -> Home:
    """A home where each engine finds its server, and takopi the chats and the project."""
    takopi = f"""\
default_engine = "{next(iter(urls))}"
default_project = "{PROJECT}"
[projects.{PROJECT}]
path = "{root / "project"}"
[transports.telegram]
api_url = "{tg.url}"
bot_token = "{tg.token}"
chat_id = {rooms[0].id}
allowed_user_ids = {[room.id for room in rooms]}
"""
    home = make_home(urls, root, path, uuid4().hex, takopi=takopi)
    _git(home, "init", "--quiet", "--initial-branch=main")
    for branch, words in NOTES.items():
        if branch != "main":
            _git(home, "switch", "--quiet", "--create", branch)
        (home.project / NOTE).write_text(words + "\n", "utf-8")
        _git(home, "add", ".")
        _git(home, "commit", "--quiet", "--message", f"The note of {branch}")
    _git(home, "switch", "--quiet", "main")
    return home


def _git(home: Home, *args: str) -> None:
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", *who, *args], cwd=home.project, env=dict(home.env), check=True)


class Bot:
    """The process. ``main`` is the chat that it greets; its log goes into a file in ``logs``."""

    def __init__(self, home: Home, tg: FakeTelegram, main: Room, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.home, self.tg, self.main = home, tg, main
        self._log = logs / "takopi.txt"
        self._mark = home.env[MARK]
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0  # how much of the log was asked for

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> list[str]:
        """Start takopi; what is wrong with its greeting."""
        last = max((message.id for message in self.main.messages), default=0)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [Path(sys.executable).parent / "takopi"],
                env=dict(self.home.env),
                cwd=self.home.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        with suppress(AssertionError):
            self.tg.wait_for(lambda: self._greeting(last) or not self.runs, _START_S)
        greeting = self._greeting(last)
        if not greeting:
            return [*self.stop(), f"takopi does not start: {self.new_log()[-2000:].strip()}"]
        # It tells of runs that an earlier takopi could not end properly.
        return [f"runs were lost: {greeting}"] if "interrupted" in greeting else []

    def _greeting(self, after: int) -> str:
        found = self.main.find("takopi is ready", after=after)
        return found.text if found is not None else ""

    def stop(self) -> list[str]:
        """End takopi with SIGTERM; what is wrong with how it ended."""
        if self._process is None:
            return []
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return [f"takopi did not end {_FAREWELL_S:g} s after SIGTERM", *self.left()]
        expected = 128 + signal.SIGTERM
        wrong = [] if code == expected else [f"takopi's exit code is {code}, not {expected}"]
        return wrong + self.left()

    def left(self) -> list[str]:
        """Processes that must not be while nothing runs; they are ended."""
        return sweep(self._mark, but={self._process.pid} if self._process is not None else ())

    def new_log(self) -> str:
        """What takopi logged since this was asked last."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            text = log.read().decode("utf-8", "replace")
            self._read = log.tell()
        return text

    def let_go_on(self) -> None:
        """End the commands that wait, so that what follows them happens."""
        for process in self.wait_for_commands(1):
            with suppress(psutil.Error):
                process.terminate()

    def wait_for_commands(
        self, number: int, limit_s: float = _COMMAND_S
    ) -> Sequence[psutil.Process]:
        """The commands that wait, as soon as they are ``number``; fewer when the others never come."""
        ends = time.monotonic() + limit_s
        while len(found := waiting_commands(processes_of(self._mark))) < number:
            if time.monotonic() > ends or not self.runs:
                break
            time.sleep(POLL_S)
        return found
