"""A plugin's command at work: what it posts, and the engine runs it asks for.

A command and its runs end together. While it works it is in the chat's `RunningTasks` under its own
message, so that `/cancel` finds it there; its emitted runs are there under theirs, as all runs are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Protocol

import anyio
from anyio import to_thread

from takopi.bridge.commands import (
    CommandBackend,
    CommandContext,
    CommandExecutor,
    RunMode,
    RunRequest,
    RunResult,
    get_command,
    split_args,
)
from takopi.bridge.delivery import MessageRef, RenderedMessage, Reply
from takopi.bridge.handle import (
    ExecBridgeConfig,
    IncomingMessage,
    OnThreadKnown,
    RunningTask,
    RunningTasks,
    error_text,
    handle_message,
)
from takopi.bridge.observed import CANCELLED, Capture, ObservedRunner
from takopi.bridge.progress import ProgressState, ProgressTracker
from takopi.bridge.runtime import TransportRuntime
from takopi.engines.base import EngineRunOptions, Runner, apply_run_options
from takopi.errors import ConfigError, TakopiError
from takopi.logs import bind_run_context, get_logger
from takopi.model import EngineId, ResumeToken, RunContext
from takopi.paths import set_run_base_dir

logger = get_logger(__name__)

_GOODBYE_S = 5.0  # to say that a run was taken back


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandPlace:
    """Where a command was written, and what the chat adds to the runs that it starts.

    ``message``          the command's own; whatever it posts replies to it
    ``running_tasks``    the chat's
    ``on_thread_known``  as for `handle_message`; told the sessions of captured runs, too
    ``context``          the chat's or topic's; without one, that of the project bound to the chat
    ``default_engine``   the chat's or topic's engine, None if it has none of its own
    ``run_options``      what the chat sets for an engine
    ``wrap_runner``      what it puts around a runner, in order to hide resume lines for instance
    """

    cfg: ExecBridgeConfig
    runtime: TransportRuntime
    message: MessageRef
    running_tasks: RunningTasks
    on_thread_known: OnThreadKnown | None = None
    context: RunContext | None = None
    default_engine: Callable[[RunContext | None], Awaitable[EngineId | None]] | None = None
    run_options: Callable[[EngineId], Awaitable[EngineRunOptions | None]] | None = None
    wrap_runner: Callable[[Runner], Runner] | None = None


class ChatRun(Protocol):
    """A command's run among its chat's."""

    async def turn(self) -> None:
        """Wait until the session that it goes on with is free."""
        ...

    async def learn(self, token: ResumeToken, done: anyio.Event) -> None:
        """It knows its session: an `OnThreadKnown`."""
        ...

    def leave(self) -> None:
        """It is over."""
        ...


class ChatRuns(Protocol):
    """The runs of a chat, which those of its commands join."""

    async def join(
        self,
        request: RunRequest,
        *,
        engine: EngineId,
        context: RunContext | None,
        tasks: RunTasks,
        silent: bool,
    ) -> ChatRun:
        """Take in a run, which from now on waits for its session, if it goes on with one.

        It is cancelled by ``tasks``; nobody sees it if it is ``silent``. Does not suspend.
        """
        ...


class RunTasks(dict[MessageRef, RunningTask]):
    """Where one run is found while it lasts; ``everybodys`` are told.

    A request to end it is kept: whether it comes too early, or while another task takes over.
    """

    def __init__(self, everybodys: RunningTasks | None = None) -> None:
        super().__init__()
        self.cancelled = False
        self._everybodys = {} if everybodys is None else everybodys

    def __setitem__(self, ref: MessageRef, task: RunningTask) -> None:
        self._note(self.get(ref))
        super().__setitem__(ref, task)
        self._everybodys[ref] = task
        if self.cancelled:
            task.cancel_requested.set()

    def __delitem__(self, ref: MessageRef) -> None:
        self._note(self[ref])
        if self._everybodys.get(ref) is self[ref]:
            del self._everybodys[ref]
        super().__delitem__(ref)

    def cancel(self) -> None:
        """Ask the run to end."""
        self.cancelled = True
        for task in self.values():
            task.cancel_requested.set()

    def _note(self, task: RunningTask | None) -> None:
        self.cancelled |= task is not None and task.cancel_requested.is_set()


async def run_command(
    place: CommandPlace,
    command_id: str,
    *,
    text: str,
    args_text: str,
    reply_to: MessageRef | None = None,
    reply_text: str | None = None,
) -> None:
    """Let a plugin answer a message; start it in a task of its own.

    ``text`` is the message, ``args_text`` what follows the command's word. What goes wrong is
    replied and logged, nothing is raised.
    """
    await BridgeExecutor(place).answer(
        command_id, text=text, args_text=args_text, reply_to=reply_to, reply_text=reply_text
    )


class BridgeExecutor(CommandExecutor):
    """The executor of one command in one place. Its runs join those of the chat, if it has any."""

    def __init__(self, place: CommandPlace, chat_runs: ChatRuns | None = None) -> None:
        self._place = place
        self._chat_runs = chat_runs
        self._runs: list[_CommandRun] = []
        self._numbers = count(1)
        self._ended = False

    async def answer(
        self,
        command_id: str,
        *,
        text: str,
        args_text: str,
        reply_to: MessageRef | None,
        reply_text: str | None,
    ) -> None:
        """Let the command handle its message: see `run_command`."""
        place, runtime = self._place, self._place.runtime
        try:
            context = CommandContext(
                command=command_id,
                text=text,
                args_text=args_text,
                args=split_args(args_text),
                message=place.message,
                reply_to=reply_to,
                reply_text=reply_text,
                config_path=runtime.config_path,
                plugin_config=runtime.plugin_config(command_id),
                runtime=runtime,
                executor=self,
            )
        except ConfigError as error:
            await self.send(_refusal(error))
            return
        task = RunningTask(context=place.context)
        place.running_tasks[place.message] = task
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._obey_cancel, task, group.cancel_scope)
                # In a task of its own: what it cancels or leaves open there is nobody else's.
                group.start_soon(self._handle, context, group.cancel_scope)
        except Exception:  # a task with open cancel scopes cannot even end well
            logger.exception("command.left_open", command=command_id)
        finally:
            task.done.set()
            if place.running_tasks.get(place.message) is task:
                del place.running_tasks[place.message]
        if not self._ended:
            logger.info("command.cancelled", command=command_id)
            await self.send(CANCELLED, notify=False)

    async def _handle(self, context: CommandContext, scope: anyio.CancelScope) -> None:
        load = partial(get_command, context.command, allowlist=context.runtime.allowlist)
        try:
            # Its first use imports it, which takes as long as it likes.
            backend: CommandBackend = await to_thread.run_sync(load, abandon_on_cancel=True)
            result = await backend.handle(context)
            if result is not None:
                await self.send(result.text, reply_to=result.reply_to, notify=result.notify)
            self._ended = True
        except (anyio.get_cancelled_exc_class(), KeyboardInterrupt):
            raise
        except BaseException as error:  # whatever it is, the chat goes on
            logger.exception("command.failed", command=context.command)
            await self.send(_refusal(error))
            self._ended = True
        finally:
            scope.cancel()

    async def _obey_cancel(self, task: RunningTask, scope: anyio.CancelScope) -> None:
        await task.cancel_requested.wait()
        for run in self._runs:
            run.tasks.cancel()
        scope.cancel()

    async def send(
        self,
        message: RenderedMessage | str,
        *,
        reply_to: MessageRef | None = None,
        notify: bool = True,
    ) -> MessageRef | None:
        """Post into the command's chat and thread; None if it was not delivered."""
        here = self._place.message
        target = here if reply_to is None else reply_to
        rendered = RenderedMessage(message) if isinstance(message, str) else message
        reply = Reply(self._place.cfg.transport, here.channel_id, target.message_id, here.thread_id)
        return await reply.send(rendered, notify=notify)

    async def run_one(self, request: RunRequest, *, mode: RunMode = "emit") -> RunResult:
        """Run an engine and wait for its end. Raises ValueError for an unknown mode."""
        (result,) = await self.run_many([request], mode=mode)
        return result

    async def run_many(
        self, requests: Sequence[RunRequest], *, mode: RunMode = "emit", parallel: bool = False
    ) -> list[RunResult]:
        """Run several, one after the other or at once. Raises ValueError for an unknown mode."""
        if mode not in ("emit", "capture"):
            raise ValueError(f"unknown mode {mode!r}; expected 'emit' or 'capture'")
        numbered = list(enumerate(requests))
        results: dict[int, RunResult] = {}

        async def run(index: int, request: RunRequest) -> None:
            results[index] = await self._run(request, mode)

        for batch in [numbered] if parallel else [[one] for one in numbered]:
            # In tasks of their own: a run sets context variables that are none of the caller's.
            async with anyio.create_task_group() as group:
                for index, request in batch:
                    group.start_soon(run, index, request)
        return [results[index] for index, _ in numbered]

    async def _run(self, request: RunRequest, mode: RunMode) -> RunResult:
        """Run a request. In a task of its own."""
        here = self._place.message
        bind_run_context(channel_id=here.channel_id, message_id=here.message_id, mode=mode)
        capture = None
        if mode == "capture":
            capture = Capture(MessageRef(here.channel_id, f"captured-{next(self._numbers)}"))
        run = _CommandRun(self._place, request, capture)
        self._runs.append(run)
        try:
            return await run.perform(self._chat_runs)
        finally:
            self._runs.remove(run)


class _CommandRun:
    """One run that a command asked for, from the choice of its engine to its result."""

    def __init__(self, place: CommandPlace, request: RunRequest, capture: Capture | None) -> None:
        here, runtime = place.message, place.runtime
        self._place = place
        self._request = request
        self._capture = capture
        self._cfg = place.cfg
        if capture is not None:
            self._cfg = replace(place.cfg, transport=capture, final_notify=False, refresh_s=None)
        self._reply = Reply(self._cfg.transport, here.channel_id, here.message_id, here.thread_id)
        self._context = (
            request.context or place.context or runtime.default_context_for_chat(here.channel_id)
        )
        self._engine = request.engine or runtime.default_engine
        self._chat_run: ChatRun | None = None
        self._placeholder: MessageRef | None = None
        self.tasks = RunTasks(place.running_tasks if capture is None else None)

    async def perform(self, chat_runs: ChatRuns | None) -> RunResult:
        """Run it, in turn with the others of its session."""
        request = self._request
        try:
            self._engine = await self._choose_engine()
            self._place.runtime.resolve_runner(  # the chat shall not hear of unknown engines
                resume_token=request.resume, engine_override=self._engine
            )
        except Exception as error:
            return await self._refuse(error)
        bind_run_context(engine=self._engine)
        if chat_runs is None:
            return await self._run()
        self._chat_run = chat_run = await chat_runs.join(
            request,
            engine=self._engine,
            context=self._context,
            tasks=self.tasks,
            silent=self._capture is not None,
        )
        try:
            if request.resume is not None and not await self._await_turn(chat_run, request.resume):
                return self._failed(CANCELLED)
            return await self._run()
        finally:
            chat_run.leave()
            for ref in list(self.tasks):  # of a placeholder that did not come to a run
                del self.tasks[ref]

    async def _choose_engine(self) -> EngineId:
        request, place = self._request, self._place
        if request.resume is not None:
            return request.resume.engine
        engine = request.engine
        if engine is None and place.default_engine is not None:
            engine = await place.default_engine(self._context)
        return place.runtime.resolve_engine(engine_override=engine, context=self._context)

    async def _await_turn(self, chat_run: ChatRun, token: ResumeToken) -> bool:
        """Show that it waits for its session; False if it was cancelled before it was free."""
        self._placeholder = await self._reply.send(self._render("queued"), notify=False)
        task = RunningTask(resume=token, context=self._context)
        task.resume_ready.set()
        if self._placeholder is not None:
            self.tasks[self._placeholder] = task
        try:
            async with anyio.create_task_group() as either:
                either.start_soon(_cancel_after, task.cancel_requested, either.cancel_scope)
                await chat_run.turn()
                either.cancel_scope.cancel()
        finally:
            task.done.set()
            cancelled = task.cancel_requested.is_set()
            if cancelled:
                with anyio.move_on_after(_GOODBYE_S, shield=True):
                    await self._show(self._render("`cancelled`"), notify=False)
        return not cancelled

    async def _run(self) -> RunResult:
        """The run, through the door that all messages take."""
        place, request, here = self._place, self._request, self._place.message
        runtime = place.runtime
        try:
            found = runtime.resolve_runner(
                resume_token=request.resume, engine_override=self._engine
            )
            if not found.available:
                return await self._refuse_unavailable(found.issue or "engine unavailable")
            set_run_base_dir(await runtime.resolve_run_cwd_async(self._context))
            options = None
            if place.run_options is not None:
                options = await place.run_options(self._engine)
            wrap = place.wrap_runner
            runner = ObservedRunner(found.runner if wrap is None else wrap(found.runner))
        except Exception as error:
            return await self._refuse(error)
        with apply_run_options(options):
            await handle_message(
                self._cfg,
                runner=runner,
                incoming=IncomingMessage(
                    here.channel_id, here.message_id, request.prompt, thread_id=here.thread_id
                ),
                resume_token=request.resume,
                context=self._context,
                context_line=runtime.format_context_line(self._context),
                strip_resume_line=runtime.is_resume_line,
                running_tasks=self.tasks,
                on_thread_known=self._learn,
                progress_ref=self._placeholder,
            )
        return runner.result(self._captured(), request.resume, cancelled=self.tasks.cancelled)

    async def _learn(self, token: ResumeToken, done: anyio.Event) -> None:
        if self._chat_run is not None:
            await self._chat_run.learn(token, done)
        if self._place.on_thread_known is not None:
            await self._place.on_thread_known(token, done)

    # -- what does not come to a run ---------------------------------------------------------

    async def _refuse(self, error: Exception) -> RunResult:
        log = logger.warning if isinstance(error, TakopiError) else logger.exception
        log("command.run_refused", engine=self._engine, error=error_text(error))
        await self._show(RenderedMessage(_refusal(error)), notify=True)
        return self._failed(error_text(error))

    async def _refuse_unavailable(self, issue: str) -> RunResult:
        message = self._cfg.presenter.render_final(
            self._state(), elapsed_s=0.0, status="error", answer=f"error:\n{issue}"
        )
        await self._show(message, notify=True)
        return self._failed(issue)

    def _failed(self, reason: str) -> RunResult:
        return RunResult(
            self._engine,
            self._captured(),
            ok=False,
            resume=self._request.resume,
            error=reason,
        )

    def _captured(self) -> RenderedMessage | None:
        return self._capture.last if self._capture is not None else None

    async def _show(self, message: RenderedMessage, *, notify: bool) -> None:
        """Post what became of it, in the place of its placeholder."""
        ref = self._placeholder
        if ref is None or await self._reply.edit(ref, message, wait=True) is None:
            await self._reply.send(message, notify=notify, replace=ref)

    def _render(self, label: str) -> RenderedMessage:
        return self._cfg.presenter.render_progress(self._state(), elapsed_s=0.0, label=label)

    def _state(self) -> ProgressState:
        line = self._place.runtime.format_context_line(self._context)
        return ProgressTracker(engine=self._engine).snapshot(context_line=line)


async def _cancel_after(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _refusal(error: BaseException) -> str:
    return f"error:\n{error_text(error)}"
