"""The one generic runner: a process, a translator and a session lock make a run."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anyio
import anyio.lowlevel

from takopi.adapters.adapter import Adapter
from takopi.adapters.options import EngineOptions
from takopi.adapters.request import RunRequest, build_command
from takopi.adapters.translate import Translator
from takopi.engines.base import get_run_options, session_lock
from takopi.engines.executables import require_executable
from takopi.engines.process import Batch, Command, Process, spawn
from takopi.engines.redact import redactor
from takopi.lines import Oversized
from takopi.model import CompletedEvent, ResumeToken, StartedEvent, TakopiEvent
from takopi.paths import get_run_base_dir

logger = logging.getLogger(__name__)

# How long lines may be translated before other tasks get a turn.
_TURN_S = 0.004


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

    def start(self, prompt: str, resume: ResumeToken | None = None) -> Run:
        """A run as a handle. Nothing happens until its events are read."""
        return Run(self, prompt, resume)

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
            cwd=str(base if base is not None else Path.cwd()),
            model=overrides.model if overrides else None,
            reasoning=overrides.reasoning if overrides else None,
        )

    def environment(self) -> Mapping[str, str]:
        """The environment engines inherit (takopi's own settings are taken out later)."""
        return os.environ if self._environ is None else self._environ


class Run:
    """One run: its ``events``, `cancel`, and the ``outcome`` once it is there.

    ``events`` can be read once. Errors that keep a run from starting are raised there: `RunError`,
    and RuntimeError for another engine's token.
    """

    def __init__(self, runner: AdapterRunner, prompt: str, resume: ResumeToken | None) -> None:
        self.outcome: CompletedEvent | None = None
        self.cancelled = False
        self.pid: int | None = None
        self._runner = runner
        self._prompt = prompt
        self._resume = resume
        self._process: Process | None = None
        self._waiting: anyio.CancelScope | None = None
        self._held: dict[ResumeToken, object] = {}
        self.events: AsyncIterator[TakopiEvent] = self._events()

    async def cancel(self) -> None:
        """End the run and its whole process tree.

        The events still end with one ``completed``: the outcome the engine had already given, else
        a failure that says ``cancelled``.
        """
        self.cancelled = True
        if self._waiting is not None:
            self._waiting.cancel()
        if self._process is not None:
            await self._process.stop()

    # -- the run -----------------------------------------------------------------------------

    async def _events(self) -> AsyncIterator[TakopiEvent]:
        runner, resume = self._runner, self._resume
        if resume is not None and resume.engine != runner.engine:
            raise RuntimeError(
                f"resume token is for engine '{resume.engine}', not '{runner.engine}'"
            )
        try:
            if resume is not None:
                await self._hold(resume)
            translator, command = self._prepare()
            if self.cancelled:
                for event in translator.finish(None, failure="cancelled"):
                    yield self._noted(event)
                return
            self._process = process = await spawn(command)
            self.pid = process.pid
            logger.info("run.process.started engine=%s pid=%s", runner.engine, process.pid)
            if self.cancelled:
                await process.stop()
            async for event in self._translate(process, translator):
                if isinstance(event, StartedEvent) and event.resume != resume:
                    await self._hold(event.resume)
                yield self._noted(event)
        finally:
            with anyio.CancelScope(shield=True):
                if self._process is not None and self.outcome is None:
                    await self._process.stop()
            self._release()

    def _prepare(self) -> tuple[Translator, Command]:
        runner = self._runner
        environ = runner.environment()
        request = runner.request(self._prompt, self._resume)
        line = build_command(runner.adapter, request, runner.options, environ)
        executable = require_executable(runner.adapter, line.command, line.env)
        translator = Translator(
            runner.adapter, line.run, runner.options.values, redact=redactor(line.env)
        )
        command = Command((executable, *line.args), Path(request.cwd), line.env, line.stdin)
        return translator, command

    async def _translate(
        self, process: Process, translator: Translator
    ) -> AsyncIterator[TakopiEvent]:
        clock = _Clock(translator, self._runner.options.timeout_s)
        batch = Batch([], [], ended=False)
        failure: str | None = None
        while not batch.ended:
            batch = await process.read(clock.wait_s())
            if batch.stdout or batch.stderr:
                clock.output()
            async for event in self._lines(batch, translator):
                yield event
            if batch.stdout:
                clock.output()
            if translator.ended:  # another session than the one asked for
                await process.stop()
                return
            if not batch.ended and clock.due():
                failure = clock.overdue()
                if failure is not None or clock.settled():
                    await process.stop()
                    break
                for event in clock.quiet():
                    yield event
        stopped = self.cancelled or not batch.ended
        if self.cancelled:
            failure = failure or "cancelled"
        if not stopped:
            logger.info("run.process.exited pid=%s rc=%s", process.pid, process.returncode)
            process.release()
        for event in translator.finish(None if stopped else process.returncode, failure=failure):
            yield event

    @staticmethod
    async def _lines(batch: Batch, translator: Translator) -> AsyncIterator[TakopiEvent]:
        for raw in batch.stderr:
            for event in translator.stderr(raw):
                yield event
        turn_ends = anyio.current_time() + _TURN_S
        for line in batch.stdout:
            events = (
                translator.skipped(line) if isinstance(line, Oversized) else translator.line(line)
            )
            for event in events:
                yield event
            if anyio.current_time() >= turn_ends:
                await anyio.lowlevel.checkpoint()
                turn_ends = anyio.current_time() + _TURN_S

    def _noted(self, event: TakopiEvent) -> TakopiEvent:
        if isinstance(event, CompletedEvent):
            self.outcome = event
        return event

    # -- locks -------------------------------------------------------------------------------

    async def _hold(self, token: ResumeToken) -> None:
        """Wait for a session's lock. A new session's is taken before anybody hears of it."""
        if token in self._held:
            return
        lock = session_lock(token)
        with anyio.CancelScope() as scope:
            self._waiting = scope
            try:
                await lock.acquire()
                self._held[token] = lock
            finally:
                self._waiting = None

    def _release(self) -> None:
        for lock in self._held.values():
            lock.release()  # type: ignore[attr-defined]
        self._held.clear()


class _Clock:
    """The three clocks of a run: settle, quiet and timeout."""

    def __init__(self, translator: Translator, timeout_s: float | None) -> None:
        now = anyio.current_time()
        self._translator = translator
        self._timeout_s = timeout_s
        self._ends = now + timeout_s if timeout_s is not None else None
        self._last = now
        self._said_quiet = False

    def output(self) -> None:
        """Something was printed."""
        self._last = anyio.current_time()
        self._said_quiet = False

    def wait_s(self) -> float | None:
        """How long nothing can be due."""
        due = self._next()
        return None if due is None else max(0.0, due - anyio.current_time())

    def due(self) -> bool:
        """Whether one of the clocks has run out."""
        due = self._next()
        return due is not None and anyio.current_time() >= due

    def overdue(self) -> str | None:
        """Why the whole run must end, if it must."""
        if self._ends is None or anyio.current_time() < self._ends:
            return None
        name = self._translator.adapter.name
        return f"{name} ran longer than {self._timeout_s:g} s and was stopped (option `timeout`)"

    def settled(self) -> bool:
        """Whether an outcome has stood for long enough."""
        at = self._settles_at()
        return at is not None and anyio.current_time() >= at

    def quiet(self) -> list[TakopiEvent]:
        """The note about a silence, once for each."""
        self._said_quiet = True
        return self._translator.quiet(self._translator.adapter.spec.quiet)

    def _settles_at(self) -> float | None:
        settle = self._translator.settle_s
        return None if settle is None else self._last + settle

    def _next(self) -> float | None:
        quiet = None if self._said_quiet else self._last + self._translator.adapter.spec.quiet
        moments = [m for m in (self._ends, self._settles_at(), quiet) if m is not None]
        return min(moments, default=None)
