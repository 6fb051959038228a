"""Effects become runs and messages. The only part of the road that waits for anybody.

Every run, of a new session or a queued one, goes through `handle_message`, the door that plugins'
transports use. `Executor.runs` is what the next snapshot says about them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from takopi.bridge import delivery
from takopi.bridge.delivery import MessageRef, RenderedMessage
from takopi.bridge.handle import ExecBridgeConfig, IncomingMessage, RunningTask, handle_message
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
    QueueRun,
    Reply,
    RunCommand,
    RunRequest,
    StartRun,
)
from takopi.errors import TakopiError
from takopi.logs import bind_run_context, clear_context, get_logger
from takopi.model import ResumeToken
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


class _Tasks(dict[MessageRef, RunningTask]):
    """Where one run is found while it lasts. A request to end it that came too early is kept."""

    cancelled = False

    def __setitem__(self, ref: MessageRef, task: RunningTask) -> None:
        super().__setitem__(ref, task)
        if self.cancelled:
            task.cancel_requested.set()

    def cancel(self) -> None:
        self.cancelled = True
        for task in self.values():
            task.cancel_requested.set()


@dataclass(slots=True, eq=False)
class _Run:
    """One run from its message to its end.

    ``followers`` wait for the session it opens, each with it as ``behind``. If it told none, its
    ``heir`` has them.
    """

    request: RunRequest
    token: ResumeToken | None = None
    placeholder: MessageRef | None = None
    begun: bool = False
    ended: bool = False
    else_new: bool = True
    behind: _Run | None = None
    heir: _Run | None = None
    tasks: _Tasks = field(default_factory=_Tasks)
    followers: list[_Run] = field(default_factory=list)

    def to_active(self) -> ActiveRun:
        """What others see of it."""
        return ActiveRun(
            asked=self.request.asked,
            engine=self.request.engine,
            queued=not self.begun,
            shown=next(iter(self.tasks), self.placeholder),
            resume=self.token,
            context=self.request.context,
        )


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
        self._runs[request.asked] = run
        if self._idle.is_set():
            self._idle = anyio.Event()
        self._memory.started(request, run.token, opens=opens)
        logger.info(
            "run.planned",
            engine=request.engine,
            engine_source=request.why.engine,
            context_source=request.why.context,
            session_source=request.why.session,
            message_id=request.asked.message_id,
        )
        return run

    async def _queue(self, run: _Run) -> None:
        """Show that it waits, then let it wait for its session."""
        run.placeholder = await self._answer(run).send(self._render(run, "queued"), notify=False)
        await self._enqueue(run)

    async def _enqueue(self, run: _Run) -> None:
        assert run.token is not None
        if run.tasks.cancelled:
            await self._take_back(run)
            return
        asked, incoming = run.request.asked, run.request
        await self._scheduler.enqueue_resume(
            asked.channel_id,
            asked.message_id,
            incoming.prompt,
            run.token,
            context=incoming.context,
            thread_id=asked.thread_id,
            session_key=asked,
            progress_ref=run.placeholder,
        )

    async def _follow(self, effect: FollowRun) -> None:
        """Show that it waits, then let it wait for the session that another run opens."""
        opener = self._runs.get(effect.behind)
        run = self._register(_Run(effect.request, else_new=effect.else_new))
        run.placeholder = await self._answer(run).send(self._render(run, "queued"), notify=False)
        while opener is not None and opener.heir is not None:  # much may have happened meanwhile
            opener = opener.heir
        if opener is not None and not opener.ended and opener.token is None:
            run.behind = opener
            opener.followers.append(run)
            if run.tasks.cancelled:
                await self._cancel(run.request.asked)
            return
        run.token = opener.token if opener is not None else None
        if run.token is not None:
            await self._enqueue(run)
        else:
            await self._go_on_without(None, [run])

    async def _go_on_without(self, opener: _Run | None, followers: list[_Run]) -> None:
        """No session was told: the first that may opens one, and the others follow it."""
        text = "resume token not ready yet; try replying to the final message."
        leaders = [run for run in followers if run.else_new]
        if leaders:
            leader = leaders[0]
            leader.behind, leader.begun = None, True
            leader.followers = leaders[1:]
            for run in leader.followers:
                run.behind = leader
            if opener is not None:
                opener.heir = leader
            self._tasks.start_soon(self._perform, leader)
        for run in followers:
            if not run.else_new:
                await self._end_with(run, RenderedMessage(text))

    async def _cancel(self, asked: MessageRef) -> None:
        run = self._runs.get(asked)
        if run is None:
            return
        run.tasks.cancel()  # whoever has it sees the request; otherwise nobody has to
        if run.begun:
            return
        if run.behind is not None:
            run.behind.followers.remove(run)
            run.behind = None
            await self._take_back(run)
        elif run.placeholder is not None and await self._scheduler.cancel_queued(
            asked.channel_id, run.placeholder.message_id
        ):
            await self._take_back(run)

    async def _take_back(self, run: _Run) -> None:
        await self._end_with(run, self._render(run, "`cancelled`"))

    # -- running -----------------------------------------------------------------------------

    async def _run_job(self, job: ThreadJob) -> None:
        asked = job.session_key
        assert isinstance(asked, MessageRef)
        await self._perform(self._runs[asked])

    async def _perform(self, run: _Run) -> None:
        run.begun = True
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
        followers, run.followers = run.followers, []
        for follower in followers:
            follower.behind, follower.token = None, token
            await self._enqueue(follower)

    async def _end(self, run: _Run) -> None:
        """Forget a run, and let those that wait for its session go on without."""
        run.ended = True
        if self._runs.get(run.request.asked) is run:
            del self._runs[run.request.asked]
        heir = next((each.request for each in run.followers if each.else_new), None)
        self._memory.ended(run.request, heir)
        if not self._runs:
            self._idle.set()
        followers, run.followers = run.followers, []
        await self._go_on_without(run, followers)

    # -- messages ----------------------------------------------------------------------------

    async def _end_with(self, run: _Run, message: RenderedMessage) -> None:
        """End a run that never began."""
        await self._show(run, message)
        await self._end(run)

    async def _show(self, run: _Run, message: RenderedMessage) -> None:
        """Say how a run ended that had no progress, in the place of its placeholder."""
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
