"""One `takopi run ENGINE --json` as a process, and what it printed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.e2e_engines.homes import MARK, Home
from tests.e2e_engines.processes import POLL_S, processes_of, sweep

Event = dict[str, Any]

_FAREWELL_S = 30.0  # how long takopi may take to end after a signal


@dataclass
class Result:
    """What a run gave. ``code`` is takopi's exit code, negative when a signal killed it."""

    events: list[Event]
    stderr: str
    code: int
    seconds: float
    problems: list[str] = field(default_factory=list)  # seen while it ran
    ended_s: float = 0.0  # from the signal to the end, when one was sent

    @property
    def outcome(self) -> Event:
        """The last event, `{}` where there is none that ends the run."""
        last = self.events[-1] if self.events else {}
        return last if last.get("type") == "completed" else {}

    @property
    def token(self) -> str | None:
        resume = self.outcome.get("resume")
        return resume["value"] if resume else None

    @property
    def actions(self) -> list[Event]:
        return [event for event in self.events if event["type"] == "action"]

    @property
    def unmapped(self) -> dict[str, int]:
        return dict((self.outcome.get("usage") or {}).get("unmapped") or {})


class TakopiRun:
    """A run that goes on in the background; its output goes into files in ``logs``."""

    def __init__(
        self, engine: str, prompt: str, home: Home, logs: Path, *, resume: str | None = None
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._stdout, self._stderr = logs / "events.jsonl", logs / "stderr.txt"
        self._mark = home.env[MARK]
        self._signalled: float | None = None
        self._problems: list[str] = []
        takopi = str(Path(sys.executable).parent / "takopi")
        more = ["--resume", resume] if resume is not None else []
        command = [takopi, "run", engine, "--json", "--cwd", str(home.project), *more, prompt]
        self._began = time.monotonic()
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(home.env),
                cwd=home.project,
            )

    def wait(self, limit_s: float) -> Result:
        """Wait for the end; a run that takes too long is ended, which is a problem."""
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self._problems.append(f"still running after {limit_s:g} s")
            self.interrupt()
        ended = time.monotonic()
        self._problems += sweep(self._mark)
        events = [json.loads(line) for line in self._stdout.read_bytes().splitlines()]
        result = Result(
            events,
            self._stderr.read_text("utf-8", "replace"),
            self._process.returncode,
            ended - self._began,
            self._problems,
        )
        if self._signalled is not None:
            result.ended_s = ended - self._signalled
        return result

    def wait_for(self, ready: Callable[[Sequence[psutil.Process]], object], limit_s: float) -> bool:
        """Wait until the run's processes are as they should be; False when that never happens."""
        ends = time.monotonic() + limit_s
        while time.monotonic() < ends and self._process.poll() is None:
            if ready(processes_of(self._mark)):
                return True
            time.sleep(POLL_S)
        return False

    def interrupt(self) -> None:
        """Ctrl-C for takopi alone, as a terminal's is for its foreground; then wait for its end."""
        self._signalled = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            self._problems.append(f"takopi did not end {_FAREWELL_S:g} s after SIGINT")
            self._process.kill()
            self._process.wait()
