"""A conversation in the terminal: its messages take the road of all chats, one after the other."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup, TaskStatus

from takopi.bridge.commands import list_command_ids
from takopi.bridge.delivery import MessageRef
from takopi.bridge.execute import Executor
from takopi.bridge.executor import CommandPlace
from takopi.bridge.handle import ExecBridgeConfig, RunningTasks
from takopi.bridge.intent import parse_intent
from takopi.bridge.markdown import MarkdownParts
from takopi.bridge.plan import error_reply, plan
from takopi.bridge.reload import watch_config
from takopi.bridge.runtime import TransportRuntime
from takopi.bridge.vocabulary import (
    ActiveRun,
    CancelRun,
    Command,
    Effect,
    FollowRun,
    Inbound,
    QueueRun,
    RunCommand,
    RunRequest,
    Scope,
    Session,
    Snapshot,
    StartRun,
    Words,
    number_of,
)
from takopi.ids import RESERVED_COMMAND_IDS
from takopi.logs import get_logger, suppress_logs
from takopi.model import EngineId, ResumeToken, RunContext
from takopi.terminal.screen import PlainScreen, Screen
from takopi.terminal.transport import TerminalPresenter, TerminalTransport

CHANNEL = "terminal"
HISTORY_FILE = "terminal_history"

_REFRESH_S = 1.0
_EDIT_SPACING_S = 0.1
_COMMANDS = {
    "new": " [PROMPT]: begin a new session; running ones go on",
    "cancel": " [NUMBER]: end a run, or take back a queued one; so does Ctrl-C",
    "help": ": this list",
    "quit": ": end the chat and its runs; so does Ctrl-D",
}
_NUMBERED = (StartRun, QueueRun, FollowRun, RunCommand)  # effects that people may cancel

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How to chat: ``first`` is a message that is there already, ``ring`` a bell for answers."""

    config_path: Path
    first: str | None = None
    ring: bool = False
    default_engine_override: str | None = None


def run_chat(runtime: TransportRuntime, options: ChatOptions) -> int:
    """Chat until the user, or a signal, ends it. The exit code: 0, or 128 + N after signal N."""
    wanted = os.environ.get("TAKOPI_LOG_FILE") or os.environ.get("TAKOPI_LOG_LEVEL")
    # What goes wrong is part of the conversation; nobody wants to read it twice.
    with nullcontext() if wanted else suppress_logs("critical"):
        return anyio.run(Chat(runtime, options).main)


@dataclass(slots=True)
class ChatMemory:
    """What plain messages go on with: the engine and place of the last one, a session per engine.

    Nothing is remembered of an engine for which ``can_run`` is false: its error would be the answer
    to all that follows.
    """

    can_run: Callable[[EngineId], bool] = lambda engine: True
    engine: EngineId | None = None
    context: RunContext | None = None
    sessions: dict[EngineId, Session] = field(default_factory=dict)

    def started(self, request: RunRequest, token: ResumeToken | None, *, opens: bool) -> None:
        """The message decides where the next one goes."""
        if not self.can_run(request.engine):
            return
        if request.command is None:
            self.engine, self.context = request.engine, request.context
        if opens or token is not None:
            self.sessions[request.engine] = Session(token, request.asked, request.context)

    def learned(self, request: RunRequest, token: ResumeToken) -> None:
        """A session that was not left meanwhile has a token."""
        session = self.sessions.get(request.engine)
        if session is not None and session.run == request.asked:
            self.sessions[request.engine] = Session(token, request.asked, request.context)

    def ended(self, request: RunRequest, heir: RunRequest | None) -> None:
        """What opened no session is not gone on with."""
        session = self.sessions.get(request.engine)
        if session is None or session.run != request.asked or session.token is not None:
            return
        if heir is not None:
            self.sessions[request.engine] = Session(run=heir.asked, context=heir.context)
        else:
            del self.sessions[request.engine]

    def forget(self, at: MessageRef) -> None:
        """Begin again, from the configured defaults."""
        self.engine = self.context = None
        self.sessions.clear()


class Chat:
    """One conversation, from its first message to the end of its runs."""

    def __init__(self, runtime: TransportRuntime, options: ChatOptions) -> None:
        self._runtime = runtime
        self._options = options
        self._memory = ChatMemory(lambda engine: engine in runtime.available_engine_ids())
        self._number = 1  # of the next run
        self._ended = False
        self._received = 0
        self._commands: dict[MessageRef, str] = {}  # of plugins, at work
        self._command_tasks: RunningTasks = {}
        self._cfg: ExecBridgeConfig
        self._executor: Executor
        self._tasks: TaskGroup
        self._screen: Screen

    async def main(self) -> int:
        """Read messages until there are no more, then end what still runs."""
        self._screen, around = self._open_screen()
        with around:
            self._cfg = ExecBridgeConfig(
                TerminalTransport(self._screen, ring=self._options.ring),
                TerminalPresenter(),
                final_notify=self._options.ring,
                refresh_s=_REFRESH_S,
                edit_spacing_s=_EDIT_SPACING_S,
            )
            async with anyio.create_task_group() as self._tasks:
                self._executor = Executor(
                    self._cfg,
                    self._runtime,
                    task_group=self._tasks,
                    memory=self._memory,
                    run_command=self._start_command,
                    end_chat=self._end,
                )
                await self._tasks.start(self._obey_signals)
                if self._runtime.watch_config:
                    self._tasks.start_soon(self._watch_config)
                await self._converse()
                self._tell_what_was_not_run()
                self._tasks.cancel_scope.cancel()
        return 128 + self._received if self._received else 0

    def interrupt(self) -> None:
        """Ctrl-C: end the newest run that is under way."""
        running = [run for run in self._runs() if not run.queued and run.command is None]
        if running:
            self._tasks.start_soon(self._do, CancelRun(running[-1].asked))
        else:
            self._say("nothing is running; Ctrl-D or `/quit` ends the chat")

    # -- messages ----------------------------------------------------------------------------

    async def _converse(self) -> None:
        self._greet()
        if self._options.first is not None:
            self._screen.echo(self._options.first)
            await self._take(self._options.first)
        while not self._ended:
            text = await self._screen.read()
            if text is None:
                break
            await self._take(text)
        if not self._screen.interactive and not self._ended:
            await self._idle()  # whoever piped this in wants the answers

    def _greet(self) -> None:
        engine = self._runtime.default_engine
        text = f"`{engine}` answers here; `/help` says what else there is, Ctrl-D ends"
        if self._screen.interactive:
            self._say(text)
        elif sys.stdin.isatty():  # its output may be a file's
            print(text.replace("`", ""), file=sys.stderr, flush=True)

    async def _take(self, text: str) -> None:
        """One message, down the whole road."""
        inbound = Inbound(MessageRef(CHANNEL, self._number), text)
        try:
            words = self._words()
            effects = plan(parse_intent(inbound, words), self._snapshot(words))
            if any(isinstance(e, _NUMBERED) and not self._is_choice(e) for e in effects):
                self._number += 1
            for effect in effects:
                if self._is_choice(effect):
                    self._choose(effect.request)
                else:
                    await self._do(effect)
        except Exception as error:  # one message must not end the chat
            logger.exception("chat.message_failed")
            self._say(error_reply(error))

    def _is_choice(self, effect: Effect) -> TypeGuard[StartRun | QueueRun | FollowRun]:
        """Whether somebody named an engine or a project, and has not said what it shall do."""
        return (
            isinstance(effect, StartRun | QueueRun | FollowRun)
            and not effect.request.prompt.strip()
            and self._memory.can_run(effect.request.engine)
        )

    def _choose(self, request: RunRequest) -> None:
        self._memory.engine, self._memory.context = request.engine, request.context
        place = self._runtime.format_context_line(request.context)
        self._say(f"`{request.engine}` answers the next message" + (f"; {place}" if place else ""))

    async def _do(self, effect: Effect) -> None:
        task = self._command_tasks.get(effect.asked) if isinstance(effect, CancelRun) else None
        if task is not None:
            task.cancel_requested.set()
        else:
            await self._executor.execute((effect,))

    async def _start_command(self, command: Command) -> None:
        """A plugin may take its time: the next message does not wait for it."""
        self._commands[command.inbound.at] = f"/{command.command_id}"
        self._tasks.start_soon(self._run_command, command)

    async def _run_command(self, command: Command) -> None:
        at = command.inbound.at
        place = CommandPlace(
            cfg=self._cfg,
            runtime=self._runtime,
            message=at,
            running_tasks=self._command_tasks,
            context=self._memory.context,
            default_engine=self._current_engine,
        )
        await self._executor.answer(command, place)
        del self._commands[at]

    async def _current_engine(self, context: RunContext | None) -> EngineId | None:
        return self._memory.engine

    def _runs(self) -> tuple[ActiveRun, ...]:
        """The runs under way, and the commands, which are cancelled like them, in order.

        A command's own runs have a part of its number: they are not cancelled by themselves.
        """
        commands = (ActiveRun(at, word) for at, word in self._commands.items())
        found = [*self._executor.runs, *commands]
        return tuple(sorted(found, key=lambda run: _number(run.command or run.asked)))

    async def _idle(self) -> None:
        while self._runs():
            await self._executor.idle()
            for task in list(self._command_tasks.values()):
                await task.done.wait()
            await anyio.lowlevel.checkpoint()

    def _snapshot(self, words: Words) -> Snapshot:
        memory = self._memory
        return Snapshot(
            spec=self._runtime.spec,
            words=words,
            runs=self._runs(),
            ambient=memory.context,
            chat=Scope(memory.engine, dict(memory.sessions)),
            numbered=True,
        )

    def _words(self) -> Words:
        spec = self._runtime.spec
        engines = (engine.lower() for engine in spec.router.engine_ids)
        return Words(
            commands=_COMMANDS,
            directives=frozenset((*engines, *spec.projects.projects)),
            plugins=frozenset(list_command_ids(allowlist=self._runtime.allowlist)),
            taken=RESERVED_COMMAND_IDS,
            corrects=True,
        )

    def _completions(self) -> Iterator[str]:
        spec = self._runtime.spec
        yield from (*_COMMANDS, *self._runtime.available_engine_ids(), *spec.projects.projects)

    def _say(self, text: str) -> None:
        self._screen.say(MarkdownParts("", text))

    # -- beginning and end -------------------------------------------------------------------

    def _open_screen(self) -> tuple[Screen, AbstractContextManager[None]]:
        if not is_interactive():
            return PlainScreen(), nullcontext()
        from takopi.terminal.editor import LineScreen

        history = self._options.config_path.parent / HISTORY_FILE
        screen = LineScreen(history, words=self._completions, on_interrupt=self.interrupt)
        return screen, screen.open()

    def _end(self) -> None:
        self._ended = True

    def _tell_what_was_not_run(self) -> None:
        for run in self._executor.runs:
            if run.queued and run.command is None:
                self._say(f"#{number_of(run.asked)} was queued and is not run")

    async def _watch_config(self) -> None:
        await watch_config(
            config_path=self._options.config_path,
            runtime=self._runtime,
            default_engine_override=self._options.default_engine_override,
            on_problem=self._say,
        )

    async def _obey_signals(
        self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Being told to end, and losing the terminal, end the chat; so does Ctrl-C in a script."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        with anyio.open_signal_receiver(*numbers) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGINT and self._screen.interactive:
                    self.interrupt()
                else:
                    self._received = int(number)
                    self._tasks.cancel_scope.cancel()


def _number(asked: MessageRef) -> int:
    return int(asked.message_id)


def is_interactive() -> bool:
    """Whether somebody sits at a terminal that can redraw lines."""
    wanted = not os.environ.get("TAKOPI_NO_INTERACTIVE") and os.environ.get("TERM") != "dumb"
    return wanted and sys.stdin.isatty() and sys.stdout.isatty()
