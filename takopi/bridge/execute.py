"""Effects become runs and messages. The only part of the road that waits for anybody.

Every run, of a new session or a queued one, goes through `handle_message`, the door that plugins'
transports use. `Executor.runs` is what the next snapshot says about them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from takopi.bridge import commands, delivery
from takopi.bridge.delivery import MessageRef, RenderedMessage
from takopi.bridge.executor import BridgeExecutor, CommandPlace, RunTasks
from takopi.bridge.handle import ExecBridgeConfig, IncomingMessage, handle_message
from takopi.bridge.plan import error_reply
from takopi.bridge.progress import ProgressState, ProgressTracker
from takopi.bridge.runtime import TransportRuntime
from takopi.bridge.scheduler import ThreadJob, ThreadScheduler
from takopi.bridge.vocabulary import (
    ActiveRun,
    CancelRun,
    Command,
    Effect,
    EndChat,
    FollowRun,
    ForgetSessions,
    Inbound,
    QueueRun,
    Reply,
    RunCommand,
    RunRequest,
    StartRun,
    Why,
)
from takopi.errors import TakopiError
from takopi.logs import bind_run_context, clear_context, get_logger
from takopi.model import EngineId, ResumeToken, RunContext
from takopi.paths import reset_run_base_dir, set_run_base_dir

logger = get_logger(__name__)

RunCommandFn = Callable[[Command], Awaitable[None]]


class Memory(Protocol):
    """What a chat remembers of its runs, so that messages go on with a session. Raises nothing."""

    def started(self, request: RunRequest, token: ResumeToken | None, *, opens: bool) -> None:
        """A message made a run; with ``opens`` it begins a session."""
        ...

    def learned(self, request: RunRequest, token: ResumeToken) -> None:
        """A run knows its session."""
        ...

    def ended(self, request: RunRequest, heir: RunRequest | None) -> None:
        """A run is over. If it told no session, ``heir`` may open one in its place."""
        ...

    def forget(self, at: MessageRef) -> None:
        """The next message of this place begins a new session."""
        ...


@dataclass(slots=True, eq=False)
class _Run:
    """One run from its message to its end.

    ``announced`` is set once its placeholder is posted, if it has one. Those that have it as their
    ``behind`` wait for the session it opens.
    """

    request: RunRequest
    token: ResumeToken | None = None
    placeholder: MessageRef | None = None
    announced: anyio.Event = field(default_factory=anyio.Event)
    begun: bool = False
    ended: bool = False
    else_new: bool = True
    behind: _Run | None = None
    tasks: RunTasks = field(default_factory=RunTasks)
    silent: bool = False

    @property
    def shown(self) -> MessageRef | None:
        """Its message, once there is one."""
        return None if self.silent else next(iter(self.tasks), self.placeholder)

    def waits_for(self, other: _Run) -> bool:
        """Whether it is behind another run, or behind one that is."""
        ahead = self.behind
        return ahead is not None and (ahead is other or ahead.waits_for(other))

    def to_active(self) -> ActiveRun:
        """What others see of it."""
        return ActiveRun(
            asked=self.request.asked,
            engine=self.request.engine,
            queued=not self.begun,
            shown=self.shown,
            resume=self.token,
            context=self.request.context,
            command=self.request.command,
            silent=self.silent,
        )


@dataclass(slots=True, eq=False)
class _Guest(_Run):
    """A run of a command, which performs it. Here it has its turn, and those that wait for it."""

    its_turn: anyio.Event = field(default_factory=anyio.Event)
    over: anyio.Event = field(default_factory=anyio.Event)


class Executor:
    """Carries out effects; runs live in ``task_group``, and are interrupted with it.

    ``run_command``  handles plugins' commands, if the chat has any
    ``end_chat``     is called for `EndChat`
    """

    def __init__(
        self,
        cfg: ExecBridgeConfig,
        runtime: TransportRuntime,
        *,
        task_group: TaskGroup,
        memory: Memory,
        run_command: RunCommandFn | None = None,
        end_chat: Callable[[], None] = lambda: None,
    ) -> None:
        self._cfg = cfg
        self._runtime = runtime
        self._tasks = task_group
        self._memory = memory
        self._run_command = run_command
        self._end_chat = end_chat
        self._scheduler = ThreadScheduler(task_group=task_group, run_job=self._run_job)
        self._runs: dict[MessageRef, _Run] = {}
        self._idle = anyio.Event()
        self._idle.set()

    @property
    def runs(self) -> tuple[ActiveRun, ...]:
        """The runs that have not ended, in the order in which they were asked for."""
        return tuple(run.to_active() for run in self._runs.values())

    async def idle(self) -> None:
        """Wait until no run is left."""
        while self._runs:
            await self._idle.wait()

    async def execute(self, effects: Iterable[Effect]) -> None:
        """Carry out effects in order. Runs go on after it returns; what it does not wait for are they."""
        for effect in effects:
            match effect:
                case StartRun(request):
                    run = self._register(_Run(request, begun=True), opens=True)
                    run.announced.set()
                    self._tasks.start_soon(self._perform, run)
                case QueueRun(request, token):
                    await self._queue(self._register(_Run(request, token)))
                case FollowRun():
                    await self._follow(effect)
                case CancelRun(asked):
                    await self._cancel(asked)
                case Reply(to, text):
                    await _answer(self._cfg, to).send(RenderedMessage(text), notify=False)
                case ForgetSessions(at):
                    self._memory.forget(at)
                case RunCommand(command):
                    await self._command(command)
                case EndChat():
                    self._end_chat()

    async def answer(self, command: Command, place: CommandPlace) -> None:
        """Let a plugin answer a message: `run_command`, whose runs are among this chat's."""
        inbound = command.inbound
        await BridgeExecutor(place, _CommandRuns(self, inbound.at)).answer(
            command.command_id,
            text=inbound.text,
            args_text=command.args,
            reply_to=inbound.reply_to,
            reply_text=inbound.reply_text,
        )

    async def _command(self, command: Command) -> None:
        if self._run_command is not None:
            await self._run_command(command)
            return
        text = f"error:\nthis chat has no plugin commands; `/{command.command_id}` was not run"
        await _answer(self._cfg, command.inbound.at).send(RenderedMessage(text), notify=False)

    # -- waiting -----------------------------------------------------------------------------

    def _register(self, run: _Run, *, opens: bool = False) -> _Run:
        """Known from here on: to the next snapshot, and to `_cancel`."""
        request = run.request
        self._add(run, opens=opens)
        logger.info(
            "run.planned",
            engine=request.engine,
            engine_source=request.why.engine,
            context_source=request.why.context,
            session_source=request.why.session,
            message_id=request.asked.message_id,
        )
        return run

    def _add(self, run: _Run, *, opens: bool) -> None:
        self._runs[run.request.asked] = run
        if self._idle.is_set():
            self._idle = anyio.Event()
        self._memory.started(run.request, run.token, opens=opens)

    async def _queue(self, run: _Run) -> None:
        """Let it wait for its session, and show that. Its place in the queue comes first: a chat
        may post the placeholders of two messages in any order.
        """
        await self._line_up(run)
        await self._announce(run)

    async def _announce(self, run: _Run) -> None:
        try:
            message = self._render(run, "queued")
            run.placeholder = await self._answer(run).send(message, notify=False)
        finally:
            run.announced.set()

    async def _line_up(self, run: _Run) -> None:
        assert run.token is not None
        request, asked = run.request, run.request.asked
        await self._scheduler.enqueue_resume(
            asked.channel_id,
            asked.message_id,
            request.prompt,
            run.token,
            context=request.context,
            thread_id=asked.thread_id,
            session_key=run,
        )

    async def _follow(self, effect: FollowRun) -> None:
        """Let it wait for the session that another run opens, and show that."""
        opener = self._runs.get(effect.behind)
        run = self._register(_Run(effect.request, else_new=effect.else_new))
        if opener is None or opener.ended:
            await self._announce(run)
            await self._tell(self._go_on_without([run]))
            return
        if opener.token is None:
            run.behind = opener
        else:
            run.token = opener.token
            await self._line_up(run)
        await self._announce(run)

    def _go_on_without(self, followers: list[_Run]) -> list[_Run]:
        """No session was told: the first that may opens one, and the others follow it.

        Those that may not have ended; nobody was told.
        """
        stranded = [run for run in followers if not run.else_new]
        for run in stranded:
            run.behind, run.ended = None, True
        leaders = [run for run in followers if run.else_new]
        if leaders:
            leader = leaders[0]
            leader.behind, leader.begun = None, True
            for run in leaders[1:]:
                run.behind = leader
            self._tasks.start_soon(self._perform, leader)
        return stranded

    async def _tell(self, stranded: list[_Run]) -> None:
        """Tell those that wanted a session which there is none of."""
        text = "resume token not ready yet; try replying to the final message."
        for run in stranded:
            await self._end_with(run, RenderedMessage(text))

    async def _cancel(self, asked: MessageRef) -> None:
        run = self._runs.get(asked)
        if run is None or run.ended:
            return
        run.tasks.cancel()
        if run.begun or isinstance(run, _Guest):
            return  # who performs it sees the request
        run.behind, run.ended = None, True  # when its turn comes, nothing happens
        await self._end_with(run, self._render(run, "`cancelled`"))

    # -- running -----------------------------------------------------------------------------

    async def _run_job(self, job: ThreadJob) -> None:
        run = job.session_key
        assert isinstance(run, _Run)
        if run.ended:
            return  # it was taken back
        if isinstance(run, _Guest):
            run.begun = True
            run.its_turn.set()
            await run.over.wait()
        else:
            await self._perform(run)

    async def _perform(self, run: _Run) -> None:
        run.begun = True
        await run.announced.wait()
        try:
            await self._handle(run)
        except TakopiError as error:
            await self._show(run, RenderedMessage(error_reply(error)))
        except Exception as error:
            logger.exception("execute.run_failed", engine=run.request.engine)
            await self._show(run, RenderedMessage(error_reply(error)))
        await self._end(run)

    async def _handle(self, run: _Run) -> None:
        request, runtime = run.request, self._runtime
        resolved = runtime.resolve_runner(resume_token=run.token, engine_override=request.engine)
        if not resolved.available:
            issue = resolved.issue or "engine unavailable"
            await self._show(run, self._render_error(run, f"error:\n{issue}"))
            return
        folder = await runtime.resolve_run_cwd_async(request.context)
        if run.tasks.cancelled:
            await self._show(run, self._render(run, "`cancelled`"))
            return
        base = set_run_base_dir(folder)
        context = request.context
        if context is not None:
            bind_run_context(project=context.project, branch=context.branch)
        try:
            await handle_message(
                self._cfg,
                runner=resolved.runner,
                incoming=_incoming(request),
                resume_token=run.token,
                context=context,
                context_line=runtime.format_context_line(context),
                strip_resume_line=runtime.is_resume_line,
                running_tasks=run.tasks,
                on_thread_known=partial(self._learn, run),
                progress_ref=run.placeholder,
            )
        finally:
            reset_run_base_dir(base)
            clear_context()

    async def _learn(self, run: _Run, token: ResumeToken, done: anyio.Event) -> None:
        """The session is known: it is busy, and those that wait for it line up."""
        run.token = token
        self._memory.learned(run.request, token)
        await self._scheduler.note_thread_known(token, done)
        waiting = [each for each in self._runs.values() if each.waits_for(run)]
        for each in waiting:
            each.behind, each.token = None, token
            await self._line_up(each)

    async def _end(self, run: _Run) -> None:
        """Forget a run, and let those that wait for its session go on without."""
        await self._tell(self._remove(run))

    def _remove(self, run: _Run) -> list[_Run]:
        """Forget a run. Those that have to be told that they waited for its session in vain."""
        run.ended = True
        if self._runs.get(run.request.asked) is run:
            del self._runs[run.request.asked]
        followers = [each for each in self._runs.values() if each.behind is run]
        heir = next((each.request for each in followers if each.else_new), None)
        self._memory.ended(run.request, heir)
        if not self._runs:
            self._idle.set()
        return self._go_on_without(followers)

    # -- messages ----------------------------------------------------------------------------

    async def _end_with(self, run: _Run, message: RenderedMessage) -> None:
        """End a run that never began."""
        await self._show(run, message)
        await self._end(run)

    async def _show(self, run: _Run, message: RenderedMessage) -> None:
        """Say how a run ended that had no progress, in the place of its placeholder."""
        await run.announced.wait()
        answer, ref = self._answer(run), run.placeholder
        if ref is None or await answer.edit(ref, message, wait=True) is None:
            await answer.send(message, notify=False, replace=ref)

    def _answer(self, run: _Run) -> delivery.Reply:
        return _answer(self._cfg, run.request.asked)

    def _state(self, run: _Run) -> ProgressState:
        line = self._runtime.format_context_line(run.request.context)
        return ProgressTracker(engine=run.request.engine).snapshot(context_line=line)

    def _render(self, run: _Run, label: str) -> RenderedMessage:
        return self._cfg.presenter.render_progress(self._state(run), elapsed_s=0.0, label=label)

    def _render_error(self, run: _Run, text: str) -> RenderedMessage:
        return self._cfg.presenter.render_final(
            self._state(run), elapsed_s=0.0, status="error", answer=text
        )


class _CommandRuns:
    """The door through which the runs of one command come to those of its chat."""

    def __init__(self, executor: Executor, command: MessageRef) -> None:
        self._executor = executor
        self._command = command
        self._numbers = count(1)

    async def join(
        self,
        request: commands.RunRequest,
        *,
        engine: EngineId,
        context: RunContext | None,
        tasks: RunTasks,
        silent: bool,
    ) -> _CommandTurn:
        """Take in a run under a name of its own: a message may ask for one only, a command for many."""
        command, resume = self._command, request.resume
        name = replace(command, message_id=f"{command.message_id}/{next(self._numbers)}")
        asked = RunRequest(
            Inbound(name, request.prompt),
            request.prompt,
            engine,
            context,
            Why("resume" if resume is not None else "directive", "none", "new"),
            command,
        )
        run = _Guest(asked, resume, begun=resume is None, tasks=tasks, silent=silent)
        self._executor._add(run, opens=resume is None)
        if resume is not None:
            await self._executor._line_up(run)
        return _CommandTurn(self._executor, run)


@dataclass(frozen=True, slots=True)
class _CommandTurn:
    """A command's run among its chat's."""

    executor: Executor
    run: _Guest

    async def turn(self) -> None:
        """Wait for the session."""
        await self.run.its_turn.wait()

    async def learn(self, token: ResumeToken, done: anyio.Event) -> None:
        """The session is known."""
        await self.executor._learn(self.run, token, done)

    def leave(self) -> None:
        """It is over: who waited for its session goes on."""
        executor, run = self.executor, self.run
        run.over.set()
        stranded = executor._remove(run)
        if stranded:
            executor._tasks.start_soon(executor._tell, stranded)


def _answer(cfg: ExecBridgeConfig, to: MessageRef) -> delivery.Reply:
    return delivery.Reply(cfg.transport, to.channel_id, to.message_id, to.thread_id)


def _incoming(request: RunRequest) -> IncomingMessage:
    asked = request.asked
    return IncomingMessage(
        channel_id=asked.channel_id,
        message_id=asked.message_id,
        text=request.prompt,
        reply_to=request.inbound.reply_to,
        thread_id=asked.thread_id,
    )
