"""What is done about one message or button: the road of all chats, and what Telegram adds to it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskGroup

from takopi.bridge.commands import list_command_ids
from takopi.bridge.delivery import MessageRef, RenderedMessage, SendOptions
from takopi.bridge.execute import Executor, Memory
from takopi.bridge.executor import CommandPlace
from takopi.bridge.handle import ExecBridgeConfig, RunningTasks, error_text
from takopi.bridge.plan import plan
from takopi.bridge.runtime import TransportRuntime
from takopi.bridge.vocabulary import (
    ActiveRun,
    Cancel,
    CancelRun,
    Command,
    FollowRun,
    ForgetSessions,
    Help,
    Inbound,
    Intent,
    NewSession,
    Prompt,
    QueueRun,
    Reply,
    RunRequest,
    Snapshot,
    StartRun,
    Unusable,
    Words,
)
from takopi.logs import get_logger
from takopi.model import ResumeToken, RunContext
from takopi.plugins import plugin_signature, refresh
from takopi.telegram.client import TelegramClient
from takopi.telegram.commands import (
    NO_SESSIONS,
    NOTHING_TO_CLEAR,
    cleared,
    help_text,
    intent_of,
    is_unknown,
    refusal,
    words_of,
)
from takopi.telegram.presenter import CANCEL_DATA
from takopi.telegram.render import render_markdown
from takopi.telegram.sessions import ChatSessions, NoMemory
from takopi.telegram.updates import Callback

DROPPED = "dropped from queue."
_NOTHING_RUNS = "nothing is currently running for that message."
_APPEAR_S, _LOOKS = 0.05, 40  # a button may be pressed before we know the id of its message

logger = get_logger(__name__)


class Conversation:
    """Answers messages and buttons, each in a task of its own in ``tasks``.

    ``on_session``  is told a run and the session that it has from now on
    """

    def __init__(
        self,
        cfg: ExecBridgeConfig,
        runtime: TransportRuntime,
        *,
        tasks: TaskGroup,
        memory: ChatSessions | NoMemory,
        calls: TelegramClient,
        on_session: Callable[[ActiveRun, ResumeToken], None],
    ) -> None:
        self._cfg = cfg
        self._runtime = runtime
        self._tasks = tasks
        self._memory = memory
        self._calls = calls
        self._on_session = on_session
        self._plugin_tasks: RunningTasks = {}
        self._installed = plugin_signature()
        self._executor = Executor(
            cfg,
            runtime,
            task_group=tasks,
            memory=_Noting(memory, self._learned),
            run_command=self._run_plugin,
        )

    @property
    def runs(self) -> tuple[ActiveRun, ...]:
        """The runs that have not ended."""
        return self._executor.runs

    def _learned(self, request: RunRequest, token: ResumeToken) -> None:
        for run in self._executor.runs:
            if run.asked == request.asked:
                self._on_session(run, token)

    def spawn(self, handle: Callable[[], Awaitable[None]], at: MessageRef | None = None) -> None:
        """Handle something; what goes wrong is said in reply to ``at``."""
        self._tasks.start_soon(self._guarded, handle, at)

    async def _guarded(self, handle: Callable[[], Awaitable[None]], at: MessageRef | None) -> None:
        """Whatever one message does, the others are handled."""
        cancelled = anyio.get_cancelled_exc_class()
        try:
            await handle()
        except (Exception, cancelled) as error:
            if isinstance(error, cancelled) and anyio.current_effective_deadline() == -math.inf:
                raise  # we are told to end; else something cancelled itself, and would end us all
            await self.apologize(error, at)

    async def apologize(self, error: BaseException, at: MessageRef | None) -> None:
        """Log what went wrong, and say it in reply to ``at``. Raises nothing."""
        logger.error("bot.handler_failed", exc_info=error)
        try:
            if at is not None:
                await self._send(RenderedMessage(f"error:\n{error_text(error)}"), at)
        except Exception:
            logger.exception("bot.apology_failed")

    # -- what is asked -----------------------------------------------------------------------

    def intent(self, inbound: Inbound) -> Intent:
        """What a message asks for; a word that nobody knows may be that of a plugin of today."""
        words = self.words()
        if is_unknown(inbound.text, words) and self._plugins_changed():
            words = self.words()
        return intent_of(inbound, words)

    def _plugins_changed(self) -> bool:
        before, self._installed = self._installed, plugin_signature()
        if before == self._installed:
            return False
        refresh()
        return True

    async def act(
        self, intent: Intent, inbound: Inbound, complete: Callable[[str], str] = str
    ) -> None:
        """Do what a message asks for. Up to its first effect nothing is awaited, if it can be
        helped: the next message must see what this one did.

        ``complete`` makes the whole prompt of the message's own, which has no directives any more.
        """
        match intent:
            case Help():
                await self.say(inbound.at, self._help(inbound.at))
            case Unusable():
                await self.say(inbound.at, refusal(intent))
            case NewSession(text=""):
                await self._clear(inbound)
            case Cancel() if inbound.reply_to is not None:
                await self._cancel(intent, inbound.reply_to)
            case Prompt() if inbound.reply_to is not None and not self._names_session(inbound):
                await self._run_at(inbound.reply_to)
                await self._plan(intent, inbound, complete)
            case _:
                await self._plan(intent, inbound, complete)

    def _names_session(self, inbound: Inbound) -> bool:
        """Whether a reply says itself with what it goes on."""
        found = self._runtime.spec.router.extract_resume
        return found(inbound.text) is not None or found(inbound.reply_text) is not None

    async def _plan(
        self, intent: Intent, inbound: Inbound, complete: Callable[[str], str] = str
    ) -> None:
        snapshot = Snapshot(
            spec=self._runtime.spec,
            words=self.words(),
            runs=self._executor.runs,
            chat=self._memory.scope(inbound.at),
        )
        for effect in plan(intent, snapshot):
            if isinstance(effect, Reply):
                await self.say(effect.to, effect.text)
            elif isinstance(effect, StartRun | QueueRun | FollowRun):
                request = replace(effect.request, prompt=complete(effect.request.prompt))
                await self._executor.execute((replace(effect, request=request),))
            else:
                await self._executor.execute((effect,))

    async def _clear(self, inbound: Inbound) -> None:
        """`/new` and nothing else."""
        if isinstance(self._memory, NoMemory):
            await self.say(inbound.at, NOTHING_TO_CLEAR)
            return
        if not self._memory.has_place_for(inbound.at):
            await self.say(inbound.at, NO_SESSIONS)
            return
        await self._executor.execute((ForgetSessions(inbound.at),))
        chat_id = inbound.at.channel_id
        in_private = isinstance(chat_id, int) and chat_id > 0
        await self.say(inbound.at, cleared(in_private=in_private))

    async def _cancel(self, intent: Cancel, shown: MessageRef) -> None:
        """`/cancel` in reply to a message."""
        if self._cancel_plugin(shown):
            return
        await self._run_at(shown)
        await self._plan(intent, intent.inbound)

    async def press(self, callback: Callback) -> None:
        """A button. It is answered at once, whatever ending the run takes."""
        if callback.data != CANCEL_DATA:
            await self._calls.answer_callback_query(callback.callback_id)
            return
        shown = MessageRef(callback.chat_id, callback.message_id)
        text = _NOTHING_RUNS
        if self._cancel_plugin(shown):
            text = "cancelling..."
        elif (run := await self._run_at(shown)) is not None:
            text = DROPPED if run.queued else "cancelling..."
            self.spawn(partial(self._executor.execute, (CancelRun(run.asked),)), run.asked)
        await self._calls.answer_callback_query(callback.callback_id, text)

    async def _run_at(self, shown: MessageRef) -> ActiveRun | None:
        """The run with this progress message, which we may be about to learn of."""
        for _ in range(_LOOKS):
            runs = [r for r in self._executor.runs if r.asked.channel_id == shown.channel_id]
            found = next((run for run in runs if run.shown == shown), None)
            if found is not None or not any(map(_appears, runs)):
                return found
            await anyio.sleep(_APPEAR_S)
        return None

    # -- plugins' commands -------------------------------------------------------------------

    async def _run_plugin(self, command: Command) -> None:
        place = CommandPlace(
            cfg=self._cfg,
            runtime=self._runtime,
            message=command.inbound.at,
            running_tasks=self._plugin_tasks,
        )
        await self._executor.answer(command, place)

    def _cancel_plugin(self, shown: MessageRef) -> bool:
        """End a command of a plugin, or a run that it started; whether there is one."""
        task = self._plugin_tasks.get(shown)
        if task is not None:
            task.cancel_requested.set()
        return task is not None

    # -- words and messages ------------------------------------------------------------------

    def words(self) -> Words:
        """What first words mean now."""
        return words_of(self._runtime.spec, list_command_ids(allowlist=self._runtime.allowlist))

    def _help(self, at: MessageRef) -> str:
        context = self._runtime.default_context_for_chat(at.channel_id)
        if context is None and self._runtime.default_project is not None:
            context = RunContext(self._runtime.default_project)
        engine = self._runtime.resolve_engine(engine_override=None, context=context)
        return help_text(
            self._runtime.spec,
            self.words(),
            engine=engine,
            project=context.project if context is not None else None,
            mode="stateless" if isinstance(self._memory, NoMemory) else "chat",
        )

    async def say(self, to: MessageRef, markdown: str) -> None:
        """Reply to a message."""
        await self._send(render(markdown), to)

    async def _send(self, message: RenderedMessage, to: MessageRef) -> None:
        options = SendOptions(reply_to=to, thread_id=to.thread_id)
        await self._cfg.transport.send(channel_id=to.channel_id, message=message, options=options)


def _appears(run: ActiveRun) -> bool:
    """Whether its message may be on its way; one that delivers its answer has none any more."""
    return run.shown is None and not run.silent and (run.queued or run.resume is None)


class _Noting:
    """A memory, and somebody else who wants to know the sessions."""

    def __init__(
        self, inner: Memory, on_learned: Callable[[RunRequest, ResumeToken], None]
    ) -> None:
        self.started = inner.started
        self.ended = inner.ended
        self.forget = inner.forget
        self._inner = inner
        self._on_learned = on_learned

    def learned(self, request: RunRequest, token: ResumeToken) -> None:
        """A run knows its session."""
        self._inner.learned(request, token)
        try:
            self._on_learned(request, token)
        except Exception:  # the run goes on whether it could be noted or not
            logger.exception("bot.session_not_noted", engine=token.engine)


def render(text: str, **extra: Any) -> RenderedMessage:
    """Markdown as a message; ``extra`` as `TelegramTransport` reads it."""
    plain, entities = render_markdown(text)
    return RenderedMessage(plain, {"entities": entities, **extra})
