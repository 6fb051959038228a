"""The one generic runner: a process, a translator and a session lock make a run."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anyio
import anyio.lowlevel

from takopi.adapters.adapter import Adapter
from takopi.adapters.options import EngineOptions
from takopi.adapters.request import RunRequest, build_command
from takopi.adapters.translate import Translator
from takopi.engines.base import SessionLock, get_run_options, session_lock
from takopi.engines.executables import require_executable
from takopi.engines.process import Command, Process, spawn
from takopi.engines.redact import redactor
from takopi.engines.turns import turns_of_loop
from takopi.errors import RunError
from takopi.lines import Line, Oversized
from takopi.logs import get_logger, log_pipeline
from takopi.model import CompletedEvent, ResumeToken, StartedEvent, TakopiEvent
from takopi.paths import get_run_base_dir

logger = get_logger(__name__)

# How long lines may be translated before other tasks get a turn.


class AdapterRunner:
    """Runs one engine as its adapter says. Keeps nothing of a run: any number may go on at once."""

    def __init__(
        self,
        adapter: Adapter,
        options: EngineOptions | None = None,
        *,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.engine = adapter.id
        self.adapter = adapter
        self.options = options or EngineOptions()
        self._environ = environ

    # -- resume lines ------------------------------------------------------------------------

    def format_resume(self, token: ResumeToken) -> str:
        """The resume line in back-ticks; empty for an engine that cannot resume."""
        if token.engine != self.engine:
            raise RuntimeError(f"resume token is for engine '{token.engine}'")
        form = self.adapter.resume
        return f"`{form.format(token.value)}`" if form is not None else ""

    def is_resume_line(self, line: str) -> bool:
        """Whether the whole line is this engine's resume command."""
        return self.adapter.resume is not None and self.adapter.resume.is_line(line)

    def extract_resume(self, text: str | None) -> ResumeToken | None:
        """The token of the last resume line in ``text``."""
        form = self.adapter.resume
        value = form.extract(text) if form is not None else None
        return ResumeToken(self.engine, value) if value is not None else None

    # -- runs --------------------------------------------------------------------------------

    def start(self, prompt: str, resume: ResumeToken | None = None) -> AdapterRun:
        """A run as a handle. Nothing happens until its events are read."""
        return AdapterRun(self, prompt, resume)

    def run(self, prompt: str, resume: ResumeToken | None = None) -> AsyncIterator[TakopiEvent]:
        """The same run as an iterator. Closing it early ends the run's whole process tree."""
        return self.start(prompt, resume).events

    def request(self, prompt: str, resume: ResumeToken | None) -> RunRequest:
        """The request, with the ambient directory and options of the caller."""
        base = get_run_base_dir()
        overrides = get_run_options()
        return RunRequest(
            prompt=prompt,
            resume=resume.value if resume is not None else None,
            cwd=str(_directory(base)),
            model=overrides.model if overrides else None,
            reasoning=overrides.reasoning if overrides else None,
        )

    def environment(self) -> Mapping[str, str]:
        """The environment engines inherit (takopi's own settings are taken out later)."""
        return os.environ if self._environ is None else self._environ


def _directory(base: Path | None) -> Path:
    """The absolute directory a run works in; takopi's own where none is set."""
    try:
        return (base or Path()).absolute()
    except OSError as error:
        raise RunError(f"takopi's own working directory is gone: {error.strerror}") from error


class AdapterRun:
    """One run: its ``events``, `cancel`, and the ``outcome`` once it is there.

    ``events`` can be read once; closing it early ends the run. Errors that keep a run from starting
    are raised there: `RunError`, and RuntimeError for another engine's token.
    """

    def __init__(self, runner: AdapterRunner, prompt: str, resume: ResumeToken | None) -> None:
        self.outcome: CompletedEvent | None = None
        self.cancelled = False
        self.pid: int | None = None
        self._runner = runner
        self._prompt = prompt
        self._resume = resume
        self._work: _Work | None = None
        self._waiting: anyio.CancelScope | None = None
        self._held: dict[ResumeToken, SessionLock] = {}
        self.events: AsyncIterator[TakopiEvent] = self._events()

    async def cancel(self) -> None:
        """End the run and its whole process tree; nothing if it has ended already.

        The events still end with one ``completed``: the outcome the engine had already given, else
        a failure that says ``cancelled``.
        """
        if self.outcome is not None:
            return
        self.cancelled = True
        if self._waiting is not None:
            self._waiting.cancel()
        if self._work is not None:
            await self._work.stop("cancelled")

    async def _events(self) -> AsyncIterator[TakopiEvent]:
        engine, resume = self._runner.engine, self._resume
        if resume is not None and resume.engine != engine:
            raise RuntimeError(f"resume token is for engine '{resume.engine}', not '{engine}'")
        try:
            if resume is not None:
                await self._hold(resume)
            if self.cancelled:
                self.outcome = CompletedEvent(engine, False, "", resume, "cancelled")
                yield self.outcome
                return
            self._work = work = await self._start()
            while self.outcome is None:
                for event in await work.next_events():
                    if isinstance(event, StartedEvent):
                        await self._hold(event.resume)
                    elif isinstance(event, CompletedEvent):
                        self.outcome = event
                    yield event
        finally:
            try:
                if self.outcome is None and self._work is not None:
                    await self._work.stop("closed")
            finally:
                for lock in self._held.values():
                    lock.release()
                self._held.clear()

    async def _start(self) -> _Work:
        """Start the process. Does not suspend, so that no cancellation can lose it."""
        runner = self._runner
        adapter, options = runner.adapter, runner.options
        request = runner.request(self._prompt, self._resume)
        line = build_command(adapter, request, options, runner.environment())
        executable = require_executable(adapter, line.command, line.env)
        hide = redactor(line.env, options.values)
        translator = Translator(adapter, line.run, options.values, redact=hide)
        command = Command((executable, *line.args), Path(request.cwd), line.env, line.stdin)
        process = await spawn(command)
        self.pid = process.pid
        resume = self._resume.value if self._resume is not None else None
        logger.info(
            "runner.start", engine=runner.engine, resume=resume, prompt_len=len(self._prompt)
        )
        shown = [
            f"<prompt: {len(a)}>" if self._prompt and self._prompt in a else a for a in line.args
        ]
        logger.info("subprocess.spawn", cmd=executable, args=shown, pid=process.pid)
        if line.stdin is not None:
            logger.info("subprocess.stdin.send", pid=process.pid, bytes=len(line.stdin))
        return _Work(process, translator, options.timeout_s)

    async def _hold(self, token: ResumeToken) -> None:
        """Wait for a session's lock, unless the run is cancelled.

        A new session's is taken before anybody hears of the session.
        """
        if self.cancelled or token in self._held:
            return
        lock = session_lock(token)
        with anyio.CancelScope() as scope:
            self._waiting = scope
            try:
                await lock.acquire()
                self._held[token] = lock
            finally:
                self._waiting = None


class _Work:
    """A started process and what its lines mean."""

    def __init__(self, process: Process, translator: Translator, timeout_s: float | None) -> None:
        self._process = process
        self._translator = translator
        self._clock = _Clock(translator, timeout_s)
        self._turns = turns_of_loop()
        self._lines: deque[Line] = deque()  # read but not translated
        self._all_read = False
        self._stopped: str | None = None  # why takopi ended it

    async def stop(self, reason: str) -> None:
        """End the whole process tree; what it had printed can still be read."""
        self._stopped = self._stopped or reason
        await self._process.stop()

    async def next_events(self) -> list[TakopiEvent]:
        """The next events, perhaps none yet; a `CompletedEvent` is the last.

        Other tasks get a turn in every call, and no call translates for long.
        """
        translator, clock = self._translator, self._clock
        events: list[TakopiEvent] = []
        if not self._lines:
            events += await self._read()
        if self._stopped is None or not translator.outcomes:
            events += await self._translate()
        elif not translator.ended:
            # The outcome stands: a farewell does not change it.
            await self._process.stop()
            return [*events, *translator.finish(None)]
        if translator.ended:  # the session is not the one asked for
            await self.stop("wrong session")
        elif not self._lines and self._all_read:
            events += self._finish()
        elif not self._lines and self._stopped is None:
            reason = clock.overdue()
            if reason is not None:
                await self.stop(reason)
            else:
                events += clock.silence()
        return events

    async def _read(self) -> list[TakopiEvent]:
        """Wait for output, or for a clock. Gives the events of stderr."""
        batch = await self._process.read(self._clock.wait_s())
        self._lines.extend(batch.stdout)
        self._all_read = batch.ended
        if batch.stdout or batch.stderr:
            self._clock.output()
        for raw in batch.stderr:
            text = raw.decode("utf-8", "replace")
            log_pipeline(logger, "subprocess.stderr", pid=self._process.pid, line=text)
        return [event for raw in batch.stderr for event in self._translator.stderr(raw)]

    async def _translate(self) -> list[TakopiEvent]:
        """The events of waiting lines, for as long as a turn may last."""
        lines, translator = self._lines, self._translator
        translate, now = translator.line, time.monotonic
        events: list[TakopiEvent] = []
        if not lines:
            return events
        ends = await self._turns.begin()
        try:
            while lines:
                line = lines.popleft()
                found = translator.skipped(line) if isinstance(line, Oversized) else translate(line)
                if found:
                    events += found
                if now() >= ends:
                    break
        finally:
            self._turns.end()
        self._clock.translated()
        return events

    def _finish(self) -> list[TakopiEvent]:
        if self._stopped is not None:
            return self._translator.finish(None, failure=self._stopped)
        process = self._process
        logger.info("subprocess.exit", pid=process.pid, rc=process.returncode)
        process.release()
        return self._translator.finish(process.returncode)


class _Clock:
    """The three clocks of a run: settle, quiet and timeout."""

    def __init__(self, translator: Translator, timeout_s: float | None) -> None:
        now = anyio.current_time()
        self._translator = translator
        self._quiet_s = translator.adapter.spec.quiet
        self._timeout_s = timeout_s
        self._ends = now + timeout_s if timeout_s is not None else None
        self._speaks_up: float | None = now + self._quiet_s
        self._settles: float | None = None
        self._outcomes = 0

    def output(self) -> None:
        """Something was printed."""
        self._speaks_up = anyio.current_time() + self._quiet_s

    def translated(self) -> None:
        """Lines were translated: each may be an outcome, or something that comes after one."""
        translator = self._translator
        if translator.settle_s is None:
            self._settles = None
        elif translator.outcomes != self._outcomes:
            self._settles = anyio.current_time() + translator.settle_s
        self._outcomes = translator.outcomes

    def wait_s(self) -> float | None:
        """How long nothing can be due."""
        moments = [m for m in (self._ends, self._settles, self._speaks_up) if m is not None]
        due = min(moments, default=None)
        return None if due is None else max(0.0, due - anyio.current_time())

    def overdue(self) -> str | None:
        """Why the process must be ended now, if it must."""
        now = anyio.current_time()
        if self._ends is not None and now >= self._ends:
            name = self._translator.adapter.name
            return (
                f"{name} ran longer than {self._timeout_s:g} s and was stopped (option `timeout`)"
            )
        if self._settles is not None and now >= self._settles:
            return "settled"
        return None

    def silence(self) -> list[TakopiEvent]:
        """The note about a silence, once for each."""
        if self._speaks_up is None or anyio.current_time() < self._speaks_up:
            return []
        self._speaks_up = None
        return self._translator.quiet(self._quiet_s)
