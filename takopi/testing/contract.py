"""The run contract as tests that any engine can be put to. pytest finds them; nothing here needs it.

::

    class TestAcme(EngineContract):  # an engine in Python
        def stream(self):
            return Path("tests/acme.jsonl").read_bytes()

        def runner(self, command):
            return AcmeRunner(command=command)


    class TestZulu(AdapterContract):  # an engine in YAML
        adapter = "zulu.yaml"
        recordings = "fixtures/streams/zulu"

The engine's own CLI is never started: a stand-in prints the stream, whole, in pieces, cut off, with
rubbish in it. Every test that fails raises AssertionError with a reason.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import anyio

from takopi.engines.base import Runner, start_run
from takopi.model import ResumeToken, StartedEvent, TakopiEvent
from takopi.paths import reset_run_base_dir, set_run_base_dir
from takopi.testing.checks import check, check_run, close_events, collect, end_of, read_into
from takopi.testing.stage import Call, Play, Stage

_PROMPT = "--help \"it\" is 'not' a $HOME `flag`; \\n\n\tünï 😀 %s {} </x>"
_GARBAGE = (
    b"this is not JSON",
    b"\xff\xfe\x00",
    b"null",
    b"3",
    b'"text"',
    b"[1, [2]]",
    b"{}",
    b'{"type": "nobody has heard of it", "event": "nor of this"}',
    b'{"type": ["a list"], "event": {"an": "object"}}',
    b'{"type": null, "message": 1, "item": [], "part": "x"}',
    b'{"type": "cut o',
    b"[" * 3000,
    b"x" * 100_000,
)

_T = TypeVar("_T", bound="EngineContract")


def _staged(test: Callable[[_T, Stage], Coroutine[Any, Any, None]]) -> Callable[[_T], None]:
    """A test that gets a stage, as a plain method: whoever runs it needs no event loop."""

    def run(self: _T) -> None:
        with Stage() as stage:
            token = set_run_base_dir(stage.folder)
            try:
                anyio.run(test, self, stage)
            finally:
                reset_run_base_dir(token)

    run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
    return run


class EngineContract:
    """Tests of one engine; a subclass says what the engine is. Needs a POSIX system.

    Each test is independent, takes no arguments, and may be called by any test runner.
    """

    def runner(self, command: str) -> Runner:
        """A new runner that starts ``command``, an executable, in the place of the engine's CLI."""
        raise NotImplementedError

    def stream(self) -> bytes:
        """What the CLI prints in a run that succeeds: lines that tell its session and an answer."""
        raise NotImplementedError

    @_staged
    async def test_a_good_run_starts_answers_and_completes(self, stage: Stage) -> None:
        """One ``started``, one ``completed``, the latter last, with the same token and an answer."""
        events = await self._run(stage, Play(stdout=[self.stream()]))
        end = end_of(events)
        check(end.ok, f"the stream is one of a run that succeeds, but {end.error!r}", events)
        check(end.answer.strip(), "there is no answer", events)
        check(await stage.wait_until_idle(), "the CLI is still there")

    @_staged
    async def test_the_prompt_and_the_folder_reach_the_cli(self, stage: Stage) -> None:
        """As an argument or on stdin, whole, whatever characters it holds; and stdin has an end."""
        await self._run(stage, Play(stdout=[self.stream()]), prompt=_PROMPT)
        calls = stage.calls
        check(len(calls) == 1, f"the CLI was started {len(calls)} times for one run")
        check(_mentions(calls[0], _PROMPT), f"the prompt did not arrive whole: {calls[0]}")
        where = calls[0].cwd.resolve()
        check(where == stage.folder, f"the run's folder is {stage.folder}, the CLI ran in {where}")

    @_staged
    async def test_the_session_to_resume_reaches_the_cli(self, stage: Stage) -> None:
        """And the run that resumes it carries the same token."""
        token = await self._session(stage)
        if token is None:
            return
        events = await self._run(stage, Play(stdout=[self.stream()]), resume=token)
        check(end_of(events).ok, "a run that resumes fails", events)
        check(end_of(events).resume == token, f"it was asked to resume {token}", events)
        call = stage.calls[-1]
        check(_mentions(call, token.value), f"the CLI was not told {token.value}: {call}")

    @_staged
    async def test_any_chunking_gives_the_same_events(self, stage: Stage) -> None:
        """Bytes arrive as they like, lines end in either way, empty ones and the last newline may be."""
        token, stream = await self._session(stage), self.stream()
        expected = await self._run(stage, Play(stdout=[stream]), resume=token)
        size = max(1, len(stream) // 30)
        variants = {
            "in small pieces": [stream[i : i + size] for i in range(0, len(stream), size)],
            "with \\r\\n": [stream.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")],
            "without the last newline": [stream.rstrip(b"\r\n")],
            "with blank lines": [b"\n" + stream.replace(b"\n", b"\n \n\n")],
        }
        for name, pieces in variants.items():
            events = await self._run(stage, Play(stdout=pieces), resume=token)
            check(events == expected, f"the same stream {name} gives other events", events)

    @_staged
    async def test_garbage_between_the_lines_does_no_harm(self, stage: Stage) -> None:
        """Lines that are not JSON, or no object, or of a type that comes some day: at most notes."""
        token, lines = await self._session(stage), self._lines()
        expected = _ending(await self._run(stage, Play(stdout=lines), resume=token))
        garbage = b"\n".join(_GARBAGE) + b"\n"
        for at in sorted({0, len(lines) // 2, len(lines) - 1}):
            play = Play(stdout=[*lines[:at], garbage, *lines[at:]])
            events = await self._run(stage, play, resume=token)
            same = _ending(events) == expected
            check(same, f"garbage before line {at + 1} changed how the run ended", events)

    @_staged
    async def test_lines_after_the_end_do_no_harm(self, stage: Stage) -> None:
        """A CLI that says everything twice has one ``started`` and one ``completed`` all the same."""
        token = await self._session(stage)
        await self._run(stage, Play(stdout=[self.stream()] * 2), resume=token)

    @_staged
    async def test_a_crash_after_any_line_is_one_outcome(self, stage: Stage) -> None:
        """The process is killed, fails or just ends after some of its lines."""
        token, lines = await self._session(stage), self._lines()
        cuts = sorted({len(lines) * part // 4 for part in range(4)} | {len(lines) - 1})
        for number, cut in enumerate(cuts):
            for exit_code in (-9, (1, 0)[number % 2]):
                play = Play(stdout=[b"".join(lines[:cut])], exit_code=exit_code)
                events = await self._run(stage, play, resume=token)
                silent = cut == 0 and exit_code != 0
                check(
                    not (silent and end_of(events).ok),
                    f"a CLI that prints nothing and exits with {exit_code} did not succeed",
                    events,
                )

    @_staged
    async def test_a_cli_that_fails_at_once_is_a_failed_run(self, stage: Stage) -> None:
        """Of a new session too, where no token is known."""
        play = Play(exit_code=3, stderr="error: the model does not exist\n", reads_stdin=False)
        events = await self._run(stage, play)
        check(not end_of(events).ok, "exit code 3 and no line, and the run succeeded", events)

    @_staged
    async def test_a_cli_that_reads_no_stdin_is_not_waited_for(self, stage: Stage) -> None:
        """A prompt larger than a pipe, and nobody who takes it."""
        play = Play(stdout=[self.stream()], reads_stdin=False)
        events = await self._run(stage, play, prompt="long " * 20_000)
        check(end_of(events).ok, "the CLI did its work without reading stdin", events)

    @_staged
    async def test_a_run_that_is_cancelled_leaves_nothing(self, stage: Stage) -> None:
        """Its events end with one ``completed``, its processes are gone, its session is free."""
        token = await self._session(stage)
        runner = self._holding(stage)
        run = start_run(runner, "do it", token)
        events: list[TakopiEvent] = []
        async with _background(read_into(run.events, events)):
            await stage.wait("hold")
            await run.cancel()
        check_run(events, engine=runner.engine, resume=token.value if token else None)
        await self._check_left_nothing(stage, runner, token, "cancelled")

    @_staged
    async def test_a_run_whose_reader_is_cancelled_leaves_nothing(self, stage: Stage) -> None:
        """As when takopi itself ends: the task that reads the events is cancelled, and closes them."""
        token = await self._session(stage)
        runner = self._holding(stage)
        with anyio.CancelScope() as scope:
            async with _background(read_into(runner.run("do it", token), [])):
                await stage.wait("hold")
                scope.cancel()
        await self._check_left_nothing(stage, runner, token, "left by its reader")

    @_staged
    async def test_a_run_closed_after_its_first_event_leaves_nothing(self, stage: Stage) -> None:
        """The reader has seen enough. (An engine may well say nothing before its last line.)"""
        token = await self._session(stage)
        runner = self._holding(stage)
        events = runner.run("do it", token)
        with anyio.move_on_after(1.0):
            await anext(events)
        await close_events(events)
        await self._check_left_nothing(stage, runner, token, "closed")

    @_staged
    async def test_runs_of_one_session_come_one_after_the_other(self, stage: Stage) -> None:
        """Also of two runners: a changed configuration makes new ones while runs go on."""
        token = await self._session(stage)
        if token is None:
            return
        calls = stage.happened("start")
        command = stage.cli(Play(stdout=self._lines(), holds_at=len(self._lines()) - 1))
        runners = [self.runner(command), self.runner(command)]
        found: dict[int, list[TakopiEvent]] = {0: [], 1: []}
        async with (
            _background(read_into(runners[0].run("one", token), found[0])),
            _background(read_into(runners[1].run("two", token), found[1])),
        ):
            await _patience(stage.wait("hold"))
            started = stage.happened("start") - calls
            stage.go()
            await stage.wait("start", calls + 2)
        check(started == 1, f"{started} runs of one session were under way at once")
        for events in found.values():
            check_run(events, engine=token.engine, resume=token.value)
        words = [word for word, _ in stage.journal if word in ("start", "end")]
        check(words[-4:] == ["start", "end"] * 2, f"runs of one session overlap: {words[-4:]}")

    @_staged
    async def test_a_new_session_is_taken_once_it_is_known(self, stage: Stage) -> None:
        """Who resumes it meanwhile waits until the run that began it has ended."""
        token = await self._session(stage)
        runner = self._holding(stage)
        first: list[TakopiEvent] = []
        second: list[TakopiEvent] = []
        calls = stage.happened("start")
        async with _background(read_into(runner.run("one", None), first)):
            patience_s = await _patience(stage.wait("hold"))
            if token is None or not any(isinstance(e, StartedEvent) for e in first):
                stage.go()  # told by the last line, if at all: nobody can wait for it
                return
            known = next(e.resume for e in first if isinstance(e, StartedEvent))
            async with _background(read_into(runner.run("two", known), second)):
                await anyio.sleep(patience_s)
                started = stage.happened("start") - calls
                stage.go()
        check(started == 1, "a session was resumed while the run that began it was under way")
        check_run(first, engine=runner.engine)
        check_run(second, engine=runner.engine, resume=known.value)

    @_staged
    async def test_runs_side_by_side_do_not_mix(self, stage: Stage) -> None:
        """One runner serves all chats: what belongs to a run must not be kept on it."""
        token = await self._session(stage)
        if token is None or token.value.encode() not in self.stream():
            return
        other = replace(token, value=_another(token.value))
        lines, swap = self._lines(), (token.value, other.value)
        runner = self.runner(stage.cli(Play(stdout=lines, swap=swap)))
        alone = [await collect(runner, f"go on with {t.value}", t) for t in (token, other)]
        runner = self.runner(stage.cli(Play(stdout=lines, swap=swap, holds_at=len(lines) // 2)))
        both: list[list[TakopiEvent]] = [[], []]
        async with (
            _background(read_into(runner.run(f"go on with {token.value}", token), both[0])),
            _background(read_into(runner.run(f"go on with {other.value}", other), both[1])),
        ):
            await stage.wait("hold", 2)
            stage.go()
        for expected, events in zip(alone, both, strict=True):
            check(events == expected, "a run gives other events while another goes on", events)

    @_staged
    async def test_tokens_of_other_engines_are_refused(self, stage: Stage) -> None:
        """Before anything is started."""
        runner = self.runner(stage.cli(Play(stdout=[self.stream()])))
        foreign = ResumeToken(f"not_{runner.engine}"[:32], "s1")
        for what in ("run", "format_resume"):
            try:
                if what == "run":
                    await collect(runner, "do it", foreign)
                else:
                    runner.format_resume(foreign)
            except RuntimeError:
                continue
            raise AssertionError(f"`{what}` takes a token of another engine")
        check(not stage.calls, "the CLI was started for a token of another engine")

    @_staged
    async def test_resume_lines_can_be_read_back(self, stage: Stage) -> None:
        """The line of a session gives its token again, alone, in a text, and after another one."""
        token = await self._session(stage)
        runner = self.runner(stage.cli(Play()))
        for text in (None, "", "hello\nworld", f"{runner.engine}"):
            check(runner.extract_resume(text) is None, f"there is a token in {text!r}")
        check(not runner.is_resume_line("hello"), "`hello` is a resume line")
        if token is None:
            return
        line = runner.format_resume(token)
        check("\n" not in line, f"a resume line must be one line: {line!r}")
        for form in (line, line.strip("`"), f" {line} "):
            check(runner.is_resume_line(form), f"{form!r} is not taken for a resume line")
            check(runner.extract_resume(form) == token, f"{form!r} does not give {token}")
        text = f"The answer.\n\n{line}\n"
        check(runner.extract_resume(text) == token, f"{text!r} does not give {token}")
        said = f"run {line.strip('`')} please"
        check(not runner.is_resume_line(said), f"{said!r} is taken for a resume line")
        other = replace(token, value=_another(token.value))
        two = f"{runner.format_resume(other)}\n{line}"
        check(runner.extract_resume(two) == token, f"{two!r} does not give its last token")

    # -- what they have in common ------------------------------------------------------------

    def _lines(self) -> list[bytes]:
        return self.stream().splitlines(keepends=True)

    def _holding(self, stage: Stage) -> Runner:
        """A runner whose CLI stops before its last line, having a child."""
        lines = self._lines()
        return self.runner(stage.cli(Play(stdout=lines, holds_at=len(lines) - 1)))

    async def _session(self, stage: Stage) -> ResumeToken | None:
        """The session of the stream; None for an engine that cannot resume."""
        play = Play(stdout=[self.stream()])
        token = end_of(await self._run(stage, play)).resume
        if token is None or not self.runner(stage.cli(play)).format_resume(token):
            return None
        # Where takopi chooses the id of a new session, the stream's is another one.
        return end_of(await collect(self.runner(stage.cli(play)), "hello", token)).resume

    async def _run(
        self,
        stage: Stage,
        play: Play,
        *,
        prompt: str = "do it",
        resume: ResumeToken | None = None,
    ) -> list[TakopiEvent]:
        """The events of one run, which must obey the contract."""
        runner = self.runner(stage.cli(play))
        events = await collect(runner, prompt, resume)
        check_run(events, engine=runner.engine, resume=resume.value if resume else None)
        return events

    async def _check_left_nothing(
        self, stage: Stage, runner: Runner, token: ResumeToken | None, how: str
    ) -> None:
        gone = await stage.wait_until_idle()
        check(gone, f"the run was {how}, but a process of its CLI is still there")
        stage.go()
        try:
            await collect(runner, "go on", token)
        except AssertionError as error:
            message = f"the run was {how}, and now its session cannot go on: {error}"
            raise AssertionError(message) from None


async def _patience(something: Awaitable[None]) -> float:
    """Wait for something that happens, and then as long for what must not: on a slow machine, longer."""
    began = anyio.current_time()
    await something
    patience_s = 0.1 + 2 * (anyio.current_time() - began)
    await anyio.sleep(patience_s)
    return patience_s


def _ending(events: Sequence[TakopiEvent]) -> tuple[bool, str, ResumeToken | None]:
    end = end_of(events)
    return end.ok, end.answer, end.resume


def _mentions(call: Call, text: str) -> bool:
    """Whether a text arrived, also inside of JSON."""
    forms = (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    return any(form in given for form in forms for given in (*call.arguments, call.stdin))


def _another(value: str) -> str:
    """A session of the same shape: its last digit, else its last letter, is another one."""
    places = [i for i, c in enumerate(value) if c.isdigit()] or [len(value) - 1]
    at = places[-1]
    return f"{value[:at]}{'1' if value[at] != '1' else '2'}{value[at + 1 :]}"


def _background(work: Coroutine[Any, Any, None]) -> AbstractAsyncContextManager[None]:
    """Do something beside the block and wait for it; what it raises ends the block and comes out."""

    @asynccontextmanager
    async def beside() -> AsyncIterator[None]:
        failures: list[Exception] = []
        group = anyio.create_task_group()

        async def run() -> None:
            try:
                await work
            except Exception as error:
                failures.append(error)
                group.cancel_scope.cancel()

        try:
            async with group:
                group.start_soon(run)
                yield
        except BaseExceptionGroup as errors:  # the block's own
            raise errors.exceptions[0] from None
        if failures:
            raise failures[0]

    return beside()
