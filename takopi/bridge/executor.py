"""A plugin's command at work: what it posts, and the engine runs it asks for.

A command and its runs end together. While it works it is in the chat's `RunningTasks` under its own
message, so that `/cancel` finds it there; its emitted runs are there under theirs, as all runs are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count

import anyio

from takopi.bridge.commands import (
    CommandContext,
    CommandExecutor,
    RunMode,
    RunRequest,
    RunResult,
    get_command,
    split_args,
)
from takopi.bridge.delivery import ChannelId, MessageRef, RenderedMessage, Reply, SendOptions
from takopi.bridge.handle import (
    ExecBridgeConfig,
    IncomingMessage,
    OnThreadKnown,
    RunningTask,
    RunningTasks,
    error_text,
    handle_message,
)
from takopi.bridge.progress import ProgressTracker
from takopi.bridge.runtime import TransportRuntime
from takopi.engines.base import EngineRunOptions, Runner, apply_run_options
from takopi.errors import ConfigError, TakopiError
from takopi.logs import bind_run_context, get_logger
from takopi.model import (
    CompletedEvent,
    EngineId,
    ResumeToken,
    RunContext,
    StartedEvent,
    TakopiEvent,
)
from takopi.paths import set_run_base_dir

logger = get_logger(__name__)

CANCELLED = "cancelled"


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
    executor = BridgeExecutor(place)
    runtime = place.runtime
    try:
        backend = get_command(command_id, allowlist=runtime.allowlist)
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
            executor=executor,
        )
    except ConfigError as error:
        await executor.send(_refusal(error))
        return
    task = RunningTask(context=place.context)
    place.running_tasks[place.message] = task
    ended = False
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_obey_cancel, task, executor, group.cancel_scope)
            try:
                result = await backend.handle(context)
                if result is not None:
                    await executor.send(result.text, reply_to=result.reply_to, notify=result.notify)
            except (Exception, SystemExit) as error:
                logger.exception("command.failed", command=command_id)
                await executor.send(_refusal(error))
            ended = True
            group.cancel_scope.cancel()
    finally:
        task.done.set()
        if place.running_tasks.get(place.message) is task:
            del place.running_tasks[place.message]
    if not ended:
        logger.info("command.cancelled", command=command_id)
        await executor.send(CANCELLED, notify=False)


async def _obey_cancel(
    task: RunningTask, executor: BridgeExecutor, scope: anyio.CancelScope
) -> None:
    await task.cancel_requested.wait()
    executor.cancel()
    scope.cancel()


def _refusal(error: BaseException) -> str:
    return f"error:\n{error_text(error)}"


class BridgeExecutor(CommandExecutor):
    """The executor of one command in one place."""

    def __init__(self, place: CommandPlace) -> None:
        self._place = place
        self._emitted = _OwnTasks(place.running_tasks)
        self._captured: RunningTasks = {}
        self._numbers = count(1)

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

    def cancel(self) -> None:
        """Ask all runs to end."""
        for task in [*self._emitted.values(), *self._captured.values()]:
            task.cancel_requested.set()

    # -- one run -----------------------------------------------------------------------------

    async def _run(self, request: RunRequest, mode: RunMode) -> RunResult:
        """Run a request. In a task of its own."""
        place, runtime = self._place, self._place.runtime
        context = (
            request.context
            or place.context
            or runtime.default_context_for_chat(place.message.channel_id)
        )
        engine = request.engine or runtime.default_engine
        bind_run_context(
            channel_id=place.message.channel_id, message_id=place.message.message_id, mode=mode
        )
        try:
            engine = await self._choose_engine(request, context)
            bind_run_context(engine=engine)
            found = runtime.resolve_runner(resume_token=request.resume, engine_override=engine)
            if not found.available:
                return await self._refuse(
                    mode, engine, self._unavailable(engine, context, found.issue), found.issue
                )
            set_run_base_dir(await runtime.resolve_run_cwd_async(context))
            options = await place.run_options(engine) if place.run_options is not None else None
            runner = _ObservedRunner(
                place.wrap_runner(found.runner) if place.wrap_runner is not None else found.runner
            )
        except Exception as error:
            log = logger.warning if isinstance(error, TakopiError) else logger.exception
            log("command.run_refused", engine=engine, error=error_text(error))
            return await self._refuse(
                mode, engine, RenderedMessage(_refusal(error)), error_text(error)
            )
        with apply_run_options(options):
            message = await self._handle(request, runner, context, mode)
        return runner.result(message, request.resume)

    async def _choose_engine(self, request: RunRequest, context: RunContext | None) -> EngineId:
        if request.resume is not None:
            return request.resume.engine
        engine = request.engine
        if engine is None and self._place.default_engine is not None:
            engine = await self._place.default_engine(context)
        return self._place.runtime.resolve_engine(engine_override=engine, context=context)

    async def _handle(
        self,
        request: RunRequest,
        runner: Runner,
        context: RunContext | None,
        mode: RunMode,
    ) -> RenderedMessage | None:
        """The run, through the door that all messages take; what was rendered last if captured."""
        place, here = self._place, self._place.message
        capture = _Capture(MessageRef(here.channel_id, f"captured-{next(self._numbers)}"))
        cfg = place.cfg
        tasks: RunningTasks = self._emitted
        if mode == "capture":
            cfg = replace(cfg, transport=capture, final_notify=False, refresh_s=None)
            tasks = self._captured
        await handle_message(
            cfg,
            runner=runner,
            incoming=IncomingMessage(
                here.channel_id, here.message_id, request.prompt, thread_id=here.thread_id
            ),
            resume_token=request.resume,
            context=context,
            context_line=place.runtime.format_context_line(context),
            strip_resume_line=place.runtime.is_resume_line,
            running_tasks=tasks,
            on_thread_known=place.on_thread_known,
        )
        return capture.last

    def _unavailable(
        self, engine: EngineId, context: RunContext | None, issue: str | None
    ) -> RenderedMessage:
        line = self._place.runtime.format_context_line(context)
        return self._place.cfg.presenter.render_final(
            ProgressTracker(engine=engine).snapshot(context_line=line),
            elapsed_s=0.0,
            status="error",
            answer=f"error:\n{issue or 'engine unavailable'}",
        )

    async def _refuse(
        self, mode: RunMode, engine: EngineId, message: RenderedMessage, reason: str | None
    ) -> RunResult:
        """The result of a run that could not even begin."""
        if mode == "emit":
            await self.send(message)
        captured = message if mode == "capture" else None
        return RunResult(engine, captured, ok=False, error=reason or "engine unavailable")


class _OwnTasks(dict[MessageRef, RunningTask]):
    """One command's runs, which are also in the map of all."""

    def __init__(self, everybodys: RunningTasks) -> None:
        super().__init__()
        self._everybodys = everybodys

    def __setitem__(self, ref: MessageRef, task: RunningTask) -> None:
        super().__setitem__(ref, task)
        self._everybodys[ref] = task

    def __delitem__(self, ref: MessageRef) -> None:
        if self._everybodys.get(ref) is self[ref]:
            del self._everybodys[ref]
        super().__delitem__(ref)


class _Capture:
    """A chat that nobody sees. ``last`` is what it would show."""

    def __init__(self, ref: MessageRef) -> None:
        self.last: RenderedMessage | None = None
        self._ref = ref

    async def send(
        self,
        *,
        channel_id: ChannelId,
        message: RenderedMessage,
        options: SendOptions | None = None,
    ) -> MessageRef:
        self.last = message
        return self._ref

    async def edit(
        self, *, ref: MessageRef, message: RenderedMessage, wait: bool = True
    ) -> MessageRef:
        self.last = message
        return ref

    async def delete(self, *, ref: MessageRef) -> bool:
        return True

    async def close(self) -> None:
        """There is nothing to release."""


class _ObservedRunner:
    """A runner for one run, and what became of it."""

    def __init__(self, runner: Runner) -> None:
        self.engine = runner.engine
        self._runner = runner
        self._resume: ResumeToken | None = None
        self._completed: CompletedEvent | None = None
        # What stays until the events end is what a run dies of that somebody ended.
        self._failure = CANCELLED

    def run(self, prompt: str, resume: ResumeToken | None) -> AsyncIterator[TakopiEvent]:
        try:
            return _Events(self._runner.run(prompt, resume), self)
        except Exception as error:
            self.failed(error_text(error))
            raise

    def format_resume(self, token: ResumeToken) -> str:
        return self._runner.format_resume(token)

    def is_resume_line(self, line: str) -> bool:
        return self._runner.is_resume_line(line)

    def extract_resume(self, text: str | None) -> ResumeToken | None:
        return self._runner.extract_resume(text)

    def note(self, event: TakopiEvent) -> None:
        """Take in an event; the first end counts."""
        if isinstance(event, StartedEvent):
            self._resume = event.resume
        elif isinstance(event, CompletedEvent) and self._completed is None:
            self._completed = event

    def failed(self, reason: str) -> None:
        """Take in that there will be no events any more."""
        self._failure = reason

    def result(self, message: RenderedMessage | None, resume: ResumeToken | None) -> RunResult:
        """What became of the run, ``resume`` being the session it was asked for."""
        known = self._resume or resume
        end = self._completed
        if end is None:
            return RunResult(self.engine, message, ok=False, resume=known, error=self._failure)
        return RunResult(self.engine, message, end.ok, end.answer, end.resume or known, end.error)


class _Events:
    """The events of a run, seen by its observer. No generator: it must close when its source does."""

    def __init__(self, events: AsyncIterator[TakopiEvent], observer: _ObservedRunner) -> None:
        self._events = aiter(events)
        self._observer = observer

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> TakopiEvent:
        try:
            event = await anext(self._events)
        except StopAsyncIteration:
            self._observer.failed("runner finished without a completed event")
            raise
        except Exception as error:
            self._observer.failed(error_text(error))
            raise
        self._observer.note(event)
        return event

    async def aclose(self) -> None:
        """Close the source, in the task that reads it."""
        aclose = getattr(self._events, "aclose", None)
        if aclose is not None:
            await aclose()
