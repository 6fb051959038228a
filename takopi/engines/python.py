"""Base classes of engines written in Python; the one for a CLI that prints JSON lines is here.

::

    class AcmeRunner(ResumeTokenMixin, JsonlSubprocessRunner):
        engine = "acme"
        resume_re = re.compile(r"(?im)^\\s*`?acme\\s+resume\\s+(?P<token>[^`\\s]+)`?\\s*$")

        def command(self): return "acme"
        def build_args(self, prompt, resume, *, state): return ["--json"]
        def translate(self, data, *, state, resume, found_session): return [...]

A runner is shared by all chats: what belongs to one run is kept in the run's ``state``.
"""

from __future__ import annotations

import errno
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

from anyio.abc import ByteReceiveStream

from takopi.adapters.request import inherited
from takopi.ansi import strip_ansi
from takopi.engines.executables import find_executable
from takopi.engines.process import Command, Process, spawn
from takopi.engines.redact import redactor
from takopi.engines.sessions import BaseRunner, ResumeTokenMixin, close_events
from takopi.engines.streams import ProcessOutput, decode_json, iter_bytes_lines
from takopi.errors import RunError
from takopi.lines import MAX_LINE_BYTES
from takopi.logs import get_logger, log_pipeline
from takopi.model import (
    Action,
    ActionEvent,
    ActionLevel,
    CompletedEvent,
    ResumeToken,
    StartedEvent,
    TakopiEvent,
)
from takopi.paths import get_run_base_dir

__all__ = ["BaseRunner", "JsonlSubprocessRunner", "ResumeTokenMixin"]

logger = get_logger(__name__)

_TAIL_LINES = 20  # of stderr, in the error of a failed run
_TAIL_CHARS = 4096


@dataclass
class JsonlRunState:
    """The default state of a run: the number of its last note."""

    note_seq: int = 0


class JsonlSubprocessRunner(BaseRunner):
    """Runs a CLI that prints one JSON value per line. The methods up to `run_impl` may be overridden."""

    max_line_bytes: int = MAX_LINE_BYTES
    """A longer line is skipped with a note."""
    completed_grace_s: float = 10.0
    """How long the CLI may go on after its ``completed``, to store its session."""

    # -- what to start -----------------------------------------------------------------------

    def command(self) -> str:
        """The executable."""
        raise NotImplementedError

    def build_args(self, prompt: str, resume: ResumeToken | None, *, state: Any) -> list[str]:
        """The arguments."""
        raise NotImplementedError

    def stdin_payload(self, prompt: str, resume: ResumeToken | None, *, state: Any) -> bytes | None:
        """What the CLI reads from stdin, which is closed then; None: nothing."""
        return prompt.encode("utf-8", "replace")  # half an emoji must not cost the prompt

    def env(self, *, state: Any) -> dict[str, str] | None:
        """The whole environment; None: takopi's. Its own settings are taken out of both."""
        return None

    def new_state(self, prompt: str, resume: ResumeToken | None) -> Any:
        """What all other hooks get as ``state``; `note_event` counts in its ``note_seq``."""
        return JsonlRunState()

    def start_run(self, prompt: str, resume: ResumeToken | None, *, state: Any) -> None:
        """Called first, with a fresh state."""

    def tag(self) -> str:
        """The engine's name in messages and note ids."""
        return self.engine

    def pipes_error_message(self) -> str:
        return f"{self.tag()} failed to open subprocess pipes"

    def get_logger(self) -> Any:
        """``self.logger`` if there is one."""
        return getattr(self, "logger", None) or logger

    # -- what its output means ---------------------------------------------------------------

    def iter_json_lines(self, stream: ByteReceiveStream) -> AsyncIterator[bytes]:
        """The lines of stdout without ``\\n``. ``stream`` gives bytes as any anyio stream does."""
        return iter_bytes_lines(stream)

    def decode_jsonl(self, *, line: bytes) -> Any | None:
        """The value of a stripped line; None if it is not JSON."""
        try:
            return decode_json(line)
        except ValueError:
            return None

    def translate(
        self,
        data: Any,
        *,
        state: Any,
        resume: ResumeToken | None,
        found_session: ResumeToken | None,
    ) -> list[TakopiEvent]:
        """The events of one value; none for what it does not know."""
        raise NotImplementedError

    def handle_started_event(
        self,
        event: StartedEvent,
        *,
        expected_session: ResumeToken | None,
        found_session: ResumeToken | None,
    ) -> tuple[ResumeToken | None, bool]:
        """The session from now on, and whether to emit the event. Raises RuntimeError for a wrong one.

        An engine that answers a resume with another session must override this: a session that changed
        silently means a lost conversation.
        """
        tag, session = self.tag(), event.resume
        wanted = found_session or expected_session
        problem = None
        if event.engine != self.engine or session.engine != self.engine:
            engine = event.engine if event.engine != self.engine else session.engine
            problem = f"{tag} emitted session token for engine '{engine}'"
        elif wanted is not None and session != wanted:
            problem = f"{tag} emitted session id {session.value} but expected {wanted.value}"
        if problem is not None:
            log_pipeline(self.get_logger(), "runner.started.error", tag=tag, error=problem)
            raise RuntimeError(problem)
        reason = "first_seen" if wanted is None else "matched_expected"
        if found_session is not None:
            reason = "duplicate"
        log_pipeline(
            self.get_logger(), "runner.started.seen", tag=tag, resume=session.value, reason=reason
        )
        return session, found_session is None

    # -- what went wrong ---------------------------------------------------------------------

    def invalid_json_events(self, *, raw: str, line: str, state: Any) -> list[TakopiEvent]:
        """The events of a line that is not JSON; ``line`` is ``raw`` stripped."""
        message = f"invalid JSON from {self.tag()}; ignoring line"
        return [self.note_event(message, state=state, detail={"line": line})]

    def decode_error_events(
        self, *, raw: str, line: str, error: Exception, state: Any
    ) -> list[TakopiEvent]:
        """The events of a line on which `decode_jsonl` raised."""
        message = f"invalid event from {self.tag()}; ignoring line"
        detail = {"line": line, "error": str(error)}
        return [self.note_event(message, state=state, detail=detail)]

    def translate_error_events(
        self, *, data: Any, error: Exception, state: Any
    ) -> list[TakopiEvent]:
        """The events of a value on which `translate` raised."""
        detail: dict[str, Any] = {"error": str(error)}
        if isinstance(data, dict):
            detail["type"] = data.get("type")
            if isinstance(item := data.get("item"), dict):
                detail["item_type"] = item.get("type") or item.get("item_type")
        detail = {key: value for key, value in detail.items() if value is not None}
        message = f"{self.tag()} translation error; ignoring event"
        return [self.note_event(message, state=state, detail=detail)]

    def process_error_events(
        self,
        rc: int,
        *,
        resume: ResumeToken | None,
        found_session: ResumeToken | None,
        state: Any,
    ) -> list[TakopiEvent]:
        """The end of a run that failed without ``completed``; the end of stderr is added to it."""
        message = f"{self.tag()} failed (rc={rc})."
        token = found_session or resume
        end = CompletedEvent(self.engine, ok=False, answer="", resume=token, error=message)
        return [self.note_event(message, state=state), end]

    def stream_end_events(
        self, *, resume: ResumeToken | None, found_session: ResumeToken | None, state: Any
    ) -> list[TakopiEvent]:
        """The end of a run that ended well, but without ``completed``."""
        message = f"{self.tag()} finished without a result event"
        token = found_session or resume
        return [CompletedEvent(self.engine, ok=False, answer="", resume=token, error=message)]

    def note_event(
        self, message: str, *, state: Any, ok: bool = False, detail: dict[str, Any] | None = None
    ) -> ActionEvent:
        """Something the user should see, as a completed action."""
        action = Action(self.next_note_id(state), "warning", message, detail or {})
        level: ActionLevel = "info" if ok else "warning"
        return ActionEvent(self.engine, action, "completed", ok, message, level)

    def next_note_id(self, state: Any) -> str:
        """``<tag>.note.<n>``, from 1. Raises RuntimeError if ``state`` cannot count."""
        if not hasattr(state, "note_seq"):
            raise RuntimeError("state must define note_seq or override next_note_id")
        state.note_seq += 1
        return f"{self.tag()}.note.{state.note_seq}"

    # -- the run -----------------------------------------------------------------------------

    async def run_impl(self, prompt: str, resume: ResumeToken | None) -> AsyncIterator[TakopiEvent]:
        """Start the CLI, feed it, translate its lines; ends when the CLI has ended.

        Closed before that, even after ``completed``, it ends the CLI's whole process tree.
        """
        state = self.new_state(prompt, resume)
        command = self._prepare(prompt, resume, state)
        run = _Run(self, state, resume, redactor(command.env))
        process = await self._spawn(command)
        lines = None
        try:
            run.spawned(process, command, prompt)
            output = ProcessOutput(process, run.stderr)
            lines = self.iter_json_lines(output)
            async for raw in lines:
                events = run.skipped(output) + run.line(raw)
                if run.completed:
                    output.end_within(self.completed_grace_s)
                for event in events:
                    yield event
                if run.completed:
                    break
            run.dropped(await output.drain())
            self.get_logger().info("subprocess.exit", pid=process.pid, rc=process.returncode)
            if not run.completed:
                for event in run.skipped(output) + run.end(process.returncode or 0):
                    yield event
        except BaseException:
            # What a CLI that has done its work left running is meant to stay.
            if not run.completed or process.returncode is None:
                await process.stop()
            raise
        finally:
            await close_events(lines)
            process.release()

    def _prepare(self, prompt: str, resume: ResumeToken | None, state: Any) -> Command:
        self.start_run(prompt, resume, state=state)
        program = self.command()
        args = self.build_args(prompt, resume, state=state)
        payload = self.stdin_payload(prompt, resume, state=state)
        env = self.env(state=state)
        log = self.get_logger()
        log.info(
            "runner.start",
            engine=self.engine,
            resume=resume.value if resume is not None else None,
            prompt_len=len(prompt),
        )
        log.debug("runner.prompt", engine=self.engine, prompt=prompt)
        env = inherited(os.environ if env is None else env)
        # Where it is not found, starting it says so.
        program = find_executable(program, env) or program
        # Paths are arguments too; anything else is a mistake to be found before there are pipes.
        return Command((program, *map(os.fsdecode, args)), get_run_base_dir(), env, payload)

    async def _spawn(self, command: Command) -> Process:
        try:
            return await spawn(command, max_line_bytes=self.max_line_bytes)
        except RunError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
                raise RunError(f"{self.pipes_error_message()}: {cause.strerror}") from cause
            raise


class _Run:
    """What is known of one run, and what its lines and its end mean."""

    def __init__(
        self,
        runner: JsonlSubprocessRunner,
        state: Any,
        resume: ResumeToken | None,
        hide: Callable[[str], str],
    ) -> None:
        self.completed = False
        self._runner = runner
        self._state = state
        self._resume = resume
        self._hide = hide
        self._found: ResumeToken | None = None
        self._told: ResumeToken | None = None  # of the `started` that was emitted
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def spawned(self, process: Process, command: Command, prompt: str) -> None:
        """Log what was started, without the prompt and without secrets."""
        log, (program, *args) = self._runner.get_logger(), command.argv
        shown = [self._hide(_without(prompt, arg)) for arg in args]
        log.info("subprocess.spawn", cmd=program, args=shown, pid=process.pid)
        if command.stdin is not None:
            token = self._resume.value if self._resume is not None else None
            size = len(command.stdin)
            log.info("subprocess.stdin.send", pid=process.pid, resume=token, bytes=size)

    def stderr(self, raw: bytes) -> None:
        """Log a line and remember it, in case the run fails."""
        text = self._hide(strip_ansi(raw.decode("utf-8", "replace")))
        if text:
            self._tail.append(text[:_TAIL_CHARS])
            self._trace("subprocess.stderr", line=text)

    def line(self, raw: bytes) -> list[TakopiEvent]:
        """The events of one line of stdout."""
        line = raw.strip()
        if not line:
            return []
        runner, state = self._runner, self._state
        try:
            data = runner.decode_jsonl(line=line)
        except Exception as error:
            texts = {"raw": _text(raw), "line": _text(line)}
            self._trace("jsonl.parse.error", line=texts["line"], error=str(error))
            return self._accept(runner.decode_error_events(**texts, error=error, state=state))
        if data is None:
            texts = {"raw": _text(raw), "line": _text(line)}
            runner.get_logger().info("runner.jsonl.invalid", tag=runner.tag(), line_len=len(line))
            self._trace("jsonl.parse.invalid", line=texts["line"])
            return self._accept(runner.invalid_json_events(**texts, state=state))
        try:
            # A translator that returns nothing has nothing to say.
            events = list(
                runner.translate(data, state=state, resume=self._resume, found_session=self._found)
                or ()
            )
        except Exception as error:
            self._trace("runner.translate.error", error=str(error))
            events = runner.translate_error_events(data=data, error=error, state=state)
        return self._accept(events)

    def skipped(self, output: ProcessOutput) -> list[TakopiEvent]:
        """The notes about lines that were too long to keep."""
        if not output.oversized:
            return []
        sizes, output.oversized = output.oversized, []
        runner = self._runner
        return [
            runner.note_event(
                f"skipped an oversized line of {size / 1_000_000:.1f} MB from {runner.tag()}",
                state=self._state,
            )
            for size in sizes
        ]

    def dropped(self, count: int) -> None:
        """Log that lines came after ``completed``."""
        if count and self.completed:
            self._trace("runner.drop.jsonl_after_completed", lines=count)

    def end(self, rc: int) -> list[TakopiEvent]:
        """The events of a process that ended without ``completed``."""
        runner = self._runner
        where: dict[str, Any] = {
            "resume": self._resume,
            "found_session": self._found,
            "state": self._state,
        }
        if rc != 0:
            events = [self._with_stderr(e) for e in runner.process_error_events(rc, **where)]
        else:
            events = runner.stream_end_events(**where)
        if not any(isinstance(event, CompletedEvent) for event in events):  # the hook forgot it
            events = [*events, *JsonlSubprocessRunner.stream_end_events(runner, **where)]
        return self._accept(events, source="process_error" if rc else "stream_end")

    def _with_stderr(self, event: TakopiEvent) -> TakopiEvent:
        """The event of a failed process, with the last that it wrote to stderr."""
        if not self._tail:
            return event
        tail = "\n".join(self._tail)[-_TAIL_CHARS:]
        if isinstance(event, ActionEvent) and event.action.kind == "warning":
            action = replace(event.action, detail={"stderr": tail, **event.action.detail})
            return replace(event, action=action)
        if isinstance(event, CompletedEvent) and event.error:
            return replace(event, error=f"{event.error}\n{tail}")
        return event

    def _accept(self, events: list[TakopiEvent], *, source: str | None = None) -> list[TakopiEvent]:
        """What of ``events`` is told: one ``started``, and nothing after ``completed``."""
        accepted: list[TakopiEvent] = []
        for event in events:
            if isinstance(event, StartedEvent):
                self._found, emit = self._runner.handle_started_event(
                    event, expected_session=self._resume, found_session=self._found
                )
                if not emit or self._told is not None:
                    continue
                self._told = event.resume
            elif isinstance(event, CompletedEvent):
                self.completed = True
                token = self._told or event.resume or self._found or self._resume
                if event.resume != token:
                    event = replace(event, resume=token)
                accepted.append(event)
                more = {"source": source} if source is not None else {}
                self._trace(
                    "runner.completed.seen", ok=event.ok, has_answer=bool(event.answer), **more
                )
                break
            accepted.append(event)
        return accepted

    def _trace(self, name: str, **fields: Any) -> None:
        log_pipeline(self._runner.get_logger(), name, tag=self._runner.tag(), **fields)


def _without(prompt: str, arg: str) -> str:
    """An argument as logs may show it: with the prompt's length in the place of the prompt."""
    for spelling in (prompt, prompt.strip(), json.dumps(prompt)[1:-1]):
        if spelling:
            arg = arg.replace(spelling, f"<{len(prompt)} characters>")
    return arg


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
