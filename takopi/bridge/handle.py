"""One message becomes one run: progress while it lasts, then exactly one final message.

Whatever happens, the runner's iterator is closed in the task that reads it, and the session is free
before the final message is posted. Each run has a task of its own that nobody cancels from outside:
`/cancel` and the end of the program are requests to it (`RunningTask.cancel_requested` and
`_Run.interrupt`), so that it can always say good-bye.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel

from takopi.bridge.delivery import (
    ChannelId,
    MessageId,
    MessageRef,
    Presenter,
    ProgressEdits,
    RenderedMessage,
    Reply,
    ThreadId,
    Transport,
)
from takopi.bridge.markdown import MarkdownPresenter, render_event_cli
from takopi.bridge.progress import ProgressState, ProgressTracker
from takopi.engines.base import Runner
from takopi.logs import bind_run_context, get_logger
from takopi.model import CompletedEvent, ResumeToken, RunContext, StartedEvent, TakopiEvent

CONTINUE = "continue"  # the prompt of a message that is nothing but a resume line

_CLOSE_S = 10.0  # for a runner to clean up; those that end processes need about 2
_GOODBYE_S = 5.0  # for the final message when the program ends

logger = get_logger(__name__)

Clock: TypeAlias = Callable[[], float]
Sleep: TypeAlias = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class ExecBridgeConfig:
    """How runs answer.

    ``final_notify``    a new, loud message for the answer; else it takes the place of the progress
    ``refresh_s``       how often the elapsed time of a silent run moves on; None for never
    ``edit_spacing_s``  how long a run's progress rests after an edit; what happens meanwhile is in
                        the next one
    """

    transport: Transport
    presenter: Presenter
    final_notify: bool
    refresh_s: float | None = 15.0
    edit_spacing_s: float = 0.0


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """A user's message. ``reply_to`` is for transports; the bridge does not read it."""

    channel_id: ChannelId
    message_id: MessageId
    text: str
    reply_to: MessageRef | None = None
    thread_id: ThreadId | None = None


@dataclass(slots=True)
class RunningTask:
    """A run as others see it. ``resume_ready`` is set once ``resume`` is there, which may be never:
    whoever waits for it must wait for ``done`` as well. Set ``cancel_requested`` to end the run.
    """

    resume: ResumeToken | None = None
    resume_ready: anyio.Event = field(default_factory=anyio.Event)
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)
    done: anyio.Event = field(default_factory=anyio.Event)
    context: RunContext | None = None


RunningTasks: TypeAlias = dict[MessageRef, RunningTask]
"""Active runs by their progress message."""

OnThreadKnown: TypeAlias = Callable[[ResumeToken, anyio.Event], Awaitable[None]]


async def handle_message(
    cfg: ExecBridgeConfig,
    *,
    runner: Runner,
    incoming: IncomingMessage,
    resume_token: ResumeToken | None,
    context: RunContext | None = None,
    context_line: str | None = None,
    strip_resume_line: Callable[[str], bool] | None = None,
    running_tasks: RunningTasks | None = None,
    on_thread_known: OnThreadKnown | None = None,
    progress_ref: MessageRef | None = None,
    clock: Clock = time.monotonic,
    sleep: Sleep = anyio.sleep,
) -> None:
    """Run a message and post what comes of it; failures of engine and chat do not raise.

    ``strip_resume_line``  which lines are not part of the prompt (default: the runner's own)
    ``running_tasks``      where the run can be found and cancelled while it lasts
    ``on_thread_known``    told the session, once, and an event that is set when the run has ended
    ``progress_ref``       a message that is there already, to show the progress
    ``clock``, ``sleep``   seconds; for the elapsed time and for `ExecBridgeConfig.refresh_s`

    When it is cancelled, the run ends, a message says so, and the cancellation goes on. That takes
    a few seconds at most for a runner that cleans up when it is told to.
    """
    run = _Run(
        cfg=cfg,
        runner=runner,
        incoming=incoming,
        resume=resume_token,
        context_line=context_line,
        is_resume_line=strip_resume_line or runner.is_resume_line,
        tasks={} if running_tasks is None else running_tasks,
        on_thread_known=on_thread_known,
        ref=progress_ref,
        clock=clock,
        sleep=sleep,
        task=RunningTask(context=context),
    )
    async with anyio.create_task_group() as group:
        group.start_soon(run.main)
        try:
            await run.finished.wait()
        except anyio.get_cancelled_exc_class():
            run.interrupt()
            raise


@dataclass(slots=True, kw_only=True)
class _Run:
    """One run from the first message to the last. ``ref`` is the progress message, if there is one."""

    cfg: ExecBridgeConfig
    runner: Runner
    incoming: IncomingMessage
    resume: ResumeToken | None
    context_line: str | None
    is_resume_line: Callable[[str], bool]
    tasks: RunningTasks
    on_thread_known: OnThreadKnown | None
    ref: MessageRef | None
    clock: Clock
    sleep: Sleep
    task: RunningTask
    finished: anyio.Event = field(default_factory=anyio.Event)
    reply: Reply = field(init=False)
    tracker: ProgressTracker = field(init=False)
    edits: ProgressEdits = field(init=False)
    started_at: float = field(init=False)
    # How it ended
    completed: CompletedEvent | None = None
    error: BaseException | None = None
    interrupted: bool = False
    _work: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _delivery: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def __post_init__(self) -> None:
        incoming = self.incoming
        self.started_at = self.clock()
        self.reply = Reply(
            self.cfg.transport, incoming.channel_id, incoming.message_id, incoming.thread_id
        )
        self.tracker = ProgressTracker(engine=self.runner.engine)
        rest = partial(self.sleep, self.cfg.edit_spacing_s) if self.cfg.edit_spacing_s > 0 else None
        self.edits = ProgressEdits(self.reply, self._render_working, rest)

    def interrupt(self) -> None:
        """The program ends: end the run as well, and be quick about the rest."""
        self.interrupted = True
        self._work.cancel()
        self._delivery.deadline = anyio.current_time() + _GOODBYE_S

    async def main(self) -> None:
        """Everything, in a task of its own."""
        text, resume = self.incoming.text, self.resume
        logger.info(
            "handle.incoming",
            engine=self.runner.engine,
            channel_id=self.incoming.channel_id,
            message_id=self.incoming.message_id,
            resume=resume.value if resume is not None else None,
            text_len=len(text),
        )
        logger.debug("handle.incoming.text", text=text)
        try:
            with anyio.CancelScope(shield=True):
                with self._work:
                    try:
                        await self._run_and_show()
                    except Exception as error:
                        self._note_failure(error)
                await self._deliver()
        finally:
            self.finished.set()

    # -- the run -----------------------------------------------------------------------------

    async def _run_and_show(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                if self.ref is not None:
                    self.tasks[self.ref] = self.task
                group.start_soon(self._obey_cancel)
                if self.ref is None:
                    await self._announce()
                # A message that is there may be edited only after a pause: the run does not wait.
                group.start_soon(self._show, self.ref)
                group.start_soon(self._follow)
                await self.task.done.wait()
                await anyio.lowlevel.checkpoint()  # a last turn for the edits
                group.cancel_scope.cancel()
        finally:
            self._release()

    def _release(self) -> None:
        """The runner has ended: its session is free, and there is nothing left to cancel."""
        self.task.done.set()
        if self.ref is not None and self.tasks.get(self.ref) is self.task:
            del self.tasks[self.ref]

    async def _obey_cancel(self) -> None:
        await self.task.cancel_requested.wait()
        self._work.cancel()

    async def _refresh(self, every_s: float) -> None:
        while True:
            await self.sleep(every_s)
            self.edits.wake()

    async def _show(self, shown: MessageRef | None) -> None:
        """Keep the progress up to date; ``shown``: in the message that is there."""
        if self.edits.delivered is None and shown is not None:
            await self._announce()
        if self.ref is None:
            return
        async with anyio.create_task_group() as group:
            group.start_soon(self.edits.work, self.ref)
            if self.cfg.refresh_s is not None:
                group.start_soon(self._refresh, self.cfg.refresh_s)

    async def _announce(self) -> None:
        """Post the first progress, or show it in the message that is there."""
        placeholder = self.ref
        message = self._render_label("starting", elapsed_s=0.0)
        shown = None
        if placeholder is not None:
            shown = await self.reply.edit(placeholder, message, wait=True)
        if shown is None:
            shown = await self.reply.send(message, notify=False, replace=placeholder)
        if shown is None:
            return  # a placeholder that cannot be reached now may be later
        if placeholder is not None and self.tasks.get(placeholder) is self.task:
            del self.tasks[placeholder]
        self.ref = shown
        self.tasks[shown] = self.task
        self.edits.delivered = message
        logger.debug("progress.sent", message_id=shown.message_id)

    async def _follow(self) -> None:
        """Read the runner's events to their end, however that comes.

        In a task of its own: one that a runner leaves with open cancel scopes is good for nothing.
        """
        try:
            # A task that is cancelled before it starts has its first step nevertheless.
            if not (self._work.cancel_called or self.task.cancel_requested.is_set()):
                await self._read_events()
        except (Exception, BaseExceptionGroup) as error:
            self._note_failure(error)
        finally:
            self._release()

    def _note_failure(self, error: BaseException) -> None:
        """Remember why the run failed, unless it did because it was told to end."""
        logger.exception("handle.runner_failed", engine=self.runner.engine)
        if self.error is None and not self._work.cancel_called:
            self.error = error

    async def _read_events(self) -> None:
        # Entered before the runner enters scopes of its own, which may be open when it is closed:
        # then only a scope around them all can shield the closing.
        with anyio.CancelScope() as guard:
            events = aiter(self.runner.run(self._prompt(), self.resume))
            try:
                async for event in events:
                    if self.completed is None:
                        await self._note(event)
            finally:
                await _close(events, guard)
        if self.completed is None and not self._work.cancel_called:
            raise RuntimeError("runner finished without a completed event")

    def _prompt(self) -> str:
        lines = self.incoming.text.split("\n")
        kept = (line for line in lines if not self.is_resume_line(line.rstrip("\r")))
        return "\n".join(kept).strip() or CONTINUE

    async def _note(self, event: TakopiEvent) -> None:
        _log_event(event)
        if isinstance(event, CompletedEvent):
            self.completed = event
        if self.tracker.note_event(event):
            self.edits.wake()
        if isinstance(event, StartedEvent) and self.task.resume is None:
            await self._note_session(event.resume)

    async def _note_session(self, token: ResumeToken) -> None:
        self.task.resume = token
        bind_run_context(resume=token.value)
        try:
            if self.on_thread_known is not None:
                await self.on_thread_known(token, self.task.done)
        except Exception:
            logger.exception("handle.thread_known_failed", resume=token.value)
        finally:
            self.task.resume_ready.set()

    # -- the final message -------------------------------------------------------------------

    async def _deliver(self) -> None:
        if self.interrupted:
            self._delivery.deadline = anyio.current_time() + _GOODBYE_S
        with self._delivery:
            if self.completed is not None:
                message = self._render_completed(self.completed)
                await self._post(message, anew=self.cfg.final_notify)
            else:
                await self._post(self._render_failure(), anew=False)
        if self._delivery.cancelled_caught:
            logger.warning("handle.final.undelivered", seconds=_GOODBYE_S)

    def _render_completed(self, event: CompletedEvent) -> RenderedMessage:
        said = answer = event.answer or ""
        if not event.ok and event.error:
            answer = f"{answer}\n\n{event.error}" if answer.strip() else event.error
        status = "done" if event.ok and answer.strip() else "error"
        self.tracker.set_resume(event.resume)
        elapsed_s = self._elapsed_s()
        resume = self._known_resume()
        logger.info(
            "runner.completed",
            ok=event.ok,
            error=event.error,
            answer_len=len(said),
            elapsed_s=round(elapsed_s, 2),
            action_count=self.tracker.action_count,
            resume=resume.value if resume is not None else None,
        )
        message = self._render_final(status, answer, elapsed_s)
        logger.debug("handle.final.rendered", status=status, text=message.text)
        return message

    def _render_failure(self) -> RenderedMessage:
        elapsed_s = self._elapsed_s()
        if self.error is not None:
            message = self._render_final("error", error_text(self.error), elapsed_s)
            logger.debug("handle.error.rendered", text=message.text)
            return message
        # Neither an answer nor an error nor a request: the program ends, or a cancellation inside
        # of the runner got out of it.
        cancelled = self.task.cancel_requested.is_set()
        logger.info("handle.cancelled" if cancelled else "handle.interrupted", elapsed_s=elapsed_s)
        label = "`cancelled`" if cancelled else "`interrupted`"
        self.tracker.set_resume(self._known_resume())
        return self._render_label(label, elapsed_s)

    async def _post(self, message: RenderedMessage, *, anew: bool) -> None:
        """Post the final message: in place of the progress, or ``anew``, which notifies."""
        ref = self.ref
        posted = None
        if ref is not None and not anew:
            posted = await self.reply.edit(ref, message, wait=True)
        if posted is None:
            posted = await self.reply.send(message, notify=anew, replace=ref)
        if posted is None and ref is not None and anew:  # rather silently than not at all
            await self.reply.edit(ref, message, wait=True)

    # -- rendering ---------------------------------------------------------------------------

    def _elapsed_s(self) -> float:
        return self.clock() - self.started_at

    def _known_resume(self) -> ResumeToken | None:
        """The session; the one asked for, if the engine named none."""
        return self.tracker.resume or self.resume

    def _state(self) -> ProgressState:
        return self.tracker.snapshot(
            resume_formatter=self._format_resume, context_line=self.context_line
        )

    def _format_resume(self, token: ResumeToken) -> str:
        try:
            return self.runner.format_resume(token)
        except Exception:
            logger.exception("handle.format_resume_failed", engine=token.engine)
            return ""

    def _render_working(self) -> RenderedMessage:
        return self.cfg.presenter.render_progress(self._state(), elapsed_s=self._elapsed_s())

    def _render_label(self, label: str, elapsed_s: float) -> RenderedMessage:
        state = self._state()
        try:
            return self.cfg.presenter.render_progress(state, elapsed_s=elapsed_s, label=label)
        except Exception:
            return _render_plain(state, label, "", elapsed_s)

    def _render_final(self, status: str, answer: str, elapsed_s: float) -> RenderedMessage:
        self.tracker.set_resume(self._known_resume())
        state = self._state()
        try:
            return self.cfg.presenter.render_final(
                state, elapsed_s=elapsed_s, status=status, answer=answer
            )
        except Exception:
            return _render_plain(state, status, answer, elapsed_s)


async def _close(events: AsyncIterator[TakopiEvent], guard: anyio.CancelScope) -> None:
    """Close what may be a generator, even if ``guard`` is in a scope that was cancelled."""
    aclose: Callable[[], Awaitable[Any]] | None = getattr(events, "aclose", None)
    if aclose is None:
        return
    guard.shield = True
    guard.deadline = anyio.current_time() + _CLOSE_S
    try:
        await aclose()
    finally:
        if guard.cancel_called:
            logger.warning("handle.runner_close_timed_out", seconds=_CLOSE_S)


def error_text(error: BaseException) -> str:
    """What an exception says; of a group, what its members say, a line each, cancellations aside."""
    leaves = _leaves(error)
    said = [text for leaf in leaves if (text := str(leaf).strip())]
    if said:
        return "\n".join(said)
    only = leaves[0] if len(leaves) == 1 else error
    return str(only).strip() or type(only).__name__


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [] if isinstance(error, anyio.get_cancelled_exc_class()) else [error]


def _log_event(event: TakopiEvent) -> None:
    if not logger.is_enabled_for("debug"):
        return  # of fifty busy runs this would be a fifth of the work
    try:
        for line in render_event_cli(event):
            logger.debug("runner.event.cli", line=line)
    except Exception:  # a plugin's odd event
        logger.exception("runner.event.unprintable")


def _render_plain(
    state: ProgressState, status: str, answer: str, elapsed_s: float
) -> RenderedMessage:
    """An answer must not be lost because a presenter failed on it."""
    logger.exception("handle.render_failed", status=status)
    presenter = MarkdownPresenter()
    return presenter.render_final(state, elapsed_s=elapsed_s, status=status, answer=answer)
