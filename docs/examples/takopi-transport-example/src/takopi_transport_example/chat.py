"""What becomes of a message: a run, a job in a session's queue, a cancelled run, or a command."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import anyio
from anyio.abc import TaskGroup
from anyio.from_thread import BlockingPortal

from takopi.api import (
    CommandPlace,
    ConfigError,
    DirectiveError,
    ExecBridgeConfig,
    IncomingMessage,
    MessageRef,
    ProgressTracker,
    RenderedMessage,
    ResumeToken,
    RunContext,
    RunnerUnavailableError,
    RunningTasks,
    SendOptions,
    ThreadJob,
    ThreadScheduler,
    TransportRuntime,
    bind_run_context,
    clear_context,
    handle_message,
    list_command_ids,
    reset_run_base_dir,
    run_command,
    set_run_base_dir,
    watch_config,
)
from takopi_transport_example.transport import CHANNEL, LinePresenter, LineTransport

_REPLY = re.compile(r">(\d+)\b\s*(.*)")
_COMMAND = re.compile(r"/([A-Za-z0-9_]+)(?:\s+(.*))?")


@dataclass(frozen=True, slots=True)
class Message:
    """What a person wrote."""

    ref: MessageRef
    text: str
    reply_to: MessageRef | None


class Chat:
    """One chat. ``group`` is where runs and commands live: each in a task of its own."""

    def __init__(
        self,
        runtime: TransportRuntime,
        transport: LineTransport,
        group: TaskGroup,
        *,
        final_notify: bool = True,
    ) -> None:
        self._runtime = runtime
        self._transport = transport
        self._group = group
        self._cfg = ExecBridgeConfig(transport, LinePresenter(), final_notify)
        self._running: RunningTasks = {}
        self._scheduler = ThreadScheduler(task_group=group, run_job=self._run_job)
        self._numbers = count(1)

    async def receive(self, line: str) -> None:
        """Begin with a line that was written; never waits for a run."""
        text, reply_to = line.strip(), None
        if found := _REPLY.fullmatch(text):
            reply_to, text = MessageRef(CHANNEL, int(found[1])), found[2]
        if not text:
            return
        message = Message(MessageRef(CHANNEL, f"in-{next(self._numbers)}"), text, reply_to)
        command = _COMMAND.fullmatch(text)
        word = command[1].lower() if command else ""
        if word == "cancel":
            await self._cancel(message)
        elif command is not None and word in self._command_ids():
            self._group.start_soon(self._command, message, word, command[2] or "")
        else:
            self._group.start_soon(self._answer, message)

    # -- messages ----------------------------------------------------------------------------

    async def _answer(self, message: Message) -> None:
        """Run a message at once, or queue it behind its session's."""
        runtime = self._runtime  # ask it each time: a reload changes what it says
        try:
            resolved = runtime.resolve_message(
                text=message.text, reply_text=self._replied_text(message), chat_id=CHANNEL
            )
            token = resolved.resume_token or await self._session_of(message.reply_to)
            if token is None:
                engine = runtime.resolve_engine(
                    engine_override=resolved.engine_override, context=resolved.context
                )
                await self._run(message.ref, resolved.prompt, None, engine, resolved.context)
            else:
                queued = self._cfg.presenter.render_progress(
                    ProgressTracker(engine=token.engine).snapshot(), elapsed_s=0, label="queued"
                )
                placeholder = await self._reply(message.ref, queued, notify=False)
                await self._scheduler.enqueue_resume(
                    CHANNEL,
                    message.ref.message_id,
                    resolved.prompt,
                    token,
                    resolved.context,
                    progress_ref=placeholder,
                )
        except (ConfigError, DirectiveError, RunnerUnavailableError) as error:
            await self._reply(message.ref, RenderedMessage(f"error:\n{error}"))

    def _replied_text(self, message: Message) -> str | None:
        return self._transport.texts.get(message.reply_to) if message.reply_to else None

    async def _session_of(self, ref: MessageRef | None) -> ResumeToken | None:
        """The session of the run that a message shows, as soon as it is known."""
        task = self._running.get(ref) if ref is not None else None
        if task is None:
            return None
        async with anyio.create_task_group() as either:

            async def wait(event: anyio.Event) -> None:
                await event.wait()
                either.cancel_scope.cancel()

            either.start_soon(wait, task.resume_ready)
            either.start_soon(wait, task.done)  # a run that fails early never has a session
        return task.resume

    async def _run_job(self, job: ThreadJob) -> None:
        """Run a message whose turn it is. The scheduler calls this, in a task for each session."""
        ref = MessageRef(job.chat_id, job.user_msg_id)
        engine = job.resume_token.engine
        try:
            await self._run(ref, job.text, job.resume_token, engine, job.context, job.progress_ref)
        except (ConfigError, RunnerUnavailableError) as error:
            await self._reply(ref, RenderedMessage(f"error:\n{error}"))

    async def _run(
        self,
        ref: MessageRef,
        prompt: str,
        token: ResumeToken | None,
        engine: str,
        context: RunContext | None,
        progress_ref: MessageRef | None = None,
    ) -> None:
        runtime = self._runtime
        entry = runtime.resolve_runner(resume_token=token, engine_override=engine)
        context_line = runtime.format_context_line(context)
        if not entry.available:
            state = ProgressTracker(engine=entry.engine).snapshot(context_line=context_line)
            answer = f"error:\n{entry.issue or 'engine unavailable'}"
            final = self._cfg.presenter.render_final(
                state, elapsed_s=0, status="error", answer=answer
            )
            await self._reply(ref, final, replace=progress_ref)
            return
        cwd = await runtime.resolve_run_cwd_async(context)
        base = set_run_base_dir(cwd)
        bind_run_context(channel_id=ref.channel_id, message_id=ref.message_id)
        try:
            # A chat with settings of its own for an engine: `with apply_run_options(...):`
            await handle_message(
                self._cfg,
                runner=entry.runner,
                incoming=IncomingMessage(ref.channel_id, ref.message_id, prompt),
                resume_token=token,
                context=context,
                context_line=context_line,
                strip_resume_line=runtime.is_resume_line,
                running_tasks=self._running,
                on_thread_known=self._scheduler.note_thread_known,
                progress_ref=progress_ref,
            )
        finally:
            reset_run_base_dir(base)
            clear_context()

    async def _reply(
        self,
        to: MessageRef,
        message: RenderedMessage,
        *,
        notify: bool = True,
        replace: MessageRef | None = None,
    ) -> MessageRef | None:
        options = SendOptions(reply_to=to, notify=notify, replace=replace)
        return await self._transport.send(channel_id=CHANNEL, message=message, options=options)

    # -- commands ----------------------------------------------------------------------------

    async def _cancel(self, message: Message) -> None:
        """End the run that a message shows, or take it out of the queue."""
        ref = message.reply_to
        if ref is not None and ref in self._running:
            self._running[ref].cancel_requested.set()
        elif ref is not None and (
            job := await self._scheduler.cancel_queued(CHANNEL, ref.message_id)
        ):
            state = ProgressTracker(engine=job.resume_token.engine).snapshot()
            label = "`cancelled`"
            cancelled = self._cfg.presenter.render_progress(state, elapsed_s=0, label=label)
            await self._transport.edit(ref=ref, message=cancelled)
        else:
            usage = "there is nothing to cancel; write `>N /cancel` about a message N that runs"
            await self._reply(message.ref, RenderedMessage(usage))

    def _command_ids(self) -> set[str]:
        """Plugins' commands; the name of an engine or a project comes first."""
        runtime = self._runtime
        taken = {*runtime.engine_ids, *(alias.lower() for alias in runtime.project_aliases())}
        return set(list_command_ids(allowlist=runtime.allowlist)) - taken

    async def _command(self, message: Message, command_id: str, args_text: str) -> None:
        place = CommandPlace(
            cfg=self._cfg,
            runtime=self._runtime,
            message=message.ref,
            running_tasks=self._running,
            on_thread_known=self._scheduler.note_thread_known,
        )
        await run_command(
            place,
            command_id,
            text=message.text,
            args_text=args_text,
            reply_to=message.reply_to,
            reply_text=self._replied_text(message),
        )


def run_chat(
    runtime: TransportRuntime,
    config_path: Path,
    final_notify: bool,
    default_engine_override: str | None,
) -> None:
    """Serve stdin until its end, then wait for the runs."""

    async def main() -> None:
        transport = LineTransport(sys.stdout)
        watch = partial(
            watch_config,
            config_path=config_path,
            runtime=runtime,
            default_engine_override=default_engine_override,
            on_problem=_to_stderr,
        )
        async with anyio.create_task_group() as background:
            if runtime.watch_config:
                background.start_soon(watch)
            async with anyio.create_task_group() as group:
                chat = Chat(runtime, transport, group, final_notify=final_notify)
                await _read_lines(chat.receive)
            background.cancel_scope.cancel()

    anyio.run(main)


async def _read_lines(receive: Callable[[str], Awaitable[None]]) -> None:
    """Receive lines until stdin ends."""
    ended = anyio.Event()

    def read() -> None:
        with open(sys.stdin.fileno(), encoding="utf-8", errors="replace", closefd=False) as lines:
            for line in lines:
                portal.call(receive, line)
        portal.call(ended.set)

    async with BlockingPortal() as portal:
        # A thread that waits for a line cannot be interrupted: takopi must be able to end without it.
        threading.Thread(target=read, daemon=True).start()
        await ended.wait()


def _to_stderr(problem: str) -> None:
    print(problem, file=sys.stderr)
