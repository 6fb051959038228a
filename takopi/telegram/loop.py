"""The bot from its first call to its last: updates in, down the road of all chats, and out again.

Nothing that takes time happens in the poll loop: each message and each button is handled in a task of
its own, and what goes wrong there is said in the chat and stops nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from takopi.bridge.commands import get_command, list_command_ids
from takopi.bridge.delivery import MessageRef, Presenter, RenderedMessage, SendOptions
from takopi.bridge.handle import ExecBridgeConfig
from takopi.bridge.progress import ProgressState
from takopi.bridge.reload import ConfigReload, watch_config
from takopi.bridge.runtime import TransportRuntime
from takopi.bridge.vocabulary import (
    ActiveRun,
    Cancel,
    Command,
    Ignore,
    Inbound,
    NewSession,
    Prompt,
)
from takopi.config import TelegramSettings
from takopi.config.settings import MAIN_TRANSPORT
from takopi.errors import TakopiError
from takopi.logs import get_logger
from takopi.model import ResumeToken
from takopi.telegram.client import BotClient, TelegramClient
from takopi.telegram.conversation import DROPPED, Conversation, render
from takopi.telegram.gather import Album, Gather, Gathered
from takopi.telegram.left_over import LeftOver
from takopi.telegram.mentions import (
    BotIdentity,
    is_for_another_bot,
    replies_to_us,
    without_mention,
)
from takopi.telegram.menu import Entry, menu
from takopi.telegram.open_runs import OpenRun, OpenRuns
from takopi.telegram.outbox import Outbox
from takopi.telegram.polling import Poller
from takopi.telegram.presenter import TelegramPresenter, heartbeat_s
from takopi.telegram.sessions import ChatSessions, NoMemory
from takopi.telegram.startup import (
    Greeting,
    Meanwhile,
    engine_versions,
    open_groups,
    shows_resume_lines,
    startup_text,
)
from takopi.telegram.tracked import TrackedTransport
from takopi.telegram.transport import TelegramTransport
from takopi.telegram.updates import Access, Callback, InboundMessage, Intake
from takopi.telegram.wire import Ok

ANSWERS_FOLDER = "answers"  # those that could not be delivered

_NOT_RUN = "takopi is ending: this was not run, send it again later."
_INTRODUCE_AGAIN_S = 30.0
_EDIT_SPACING_S = 0.25  # no chat takes edits faster, and most far slower
_FAREWELL_S = 0.5  # to hand over the last messages; the outbox has its own time to deliver them

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BotOptions:
    """What a bot is started with."""

    settings: TelegramSettings
    config_path: Path
    runtime: TransportRuntime
    final_notify: bool = True
    default_engine_override: str | None = None


async def run_bot(options: BotOptions) -> None:
    """Serve the chats until cancelled. Raises `ConfigError` for a token that is not accepted."""
    settings = options.settings
    async with (
        BotClient(settings.bot_token, api_url=settings.api_url) as client,
        Outbox() as outbox,
    ):
        await Bot(options, client, outbox).main()


class Bot:
    """One bot, its chats and its runs."""

    def __init__(self, options: BotOptions, client: BotClient, outbox: Outbox) -> None:
        self._options = options
        self._settings = settings = options.settings
        self._runtime = options.runtime
        self._client = client
        self._calls = TelegramClient(client, outbox)
        self._identity = BotIdentity()
        self._open_runs = OpenRuns(options.config_path)
        answers = options.config_path.with_name(ANSWERS_FOLDER)
        telegram = TelegramTransport(client, outbox, answers=answers)
        self._transport = TrackedTransport(telegram, self._open_runs)
        self._left_over = LeftOver(telegram, self._open_runs, telegram.remove_buttons)
        self._cfg = ExecBridgeConfig(
            self._transport,
            _presenter(settings),
            final_notify=options.final_notify,
            refresh_s=max(heartbeat_s(chat) for chat in self._chats()),
            edit_spacing_s=_EDIT_SPACING_S,
        )
        self._memory: ChatSessions | NoMemory = NoMemory()
        if settings.session_mode == "chat":
            self._memory = ChatSessions(
                options.config_path, Path.cwd(), lambda: self._runtime.spec.projects
            )
        self._intake = Intake(self._access)
        self._poller = Poller(client)
        self._gather = Gather(
            forward_coalesce_s=settings.forward_coalesce_s,
            media_group_debounce_s=settings.media_group_debounce_s,
            on_prompt=self._take_prompt,
            on_album=self._take_album,
        )
        self._talk: Conversation
        self._tasks: TaskGroup

    async def main(self) -> None:
        """Begin, then handle updates until cancelled."""
        try:
            await self._serve()
        finally:
            await self._tell_left_over()

    async def _serve(self) -> None:
        failure: TakopiError | None = None
        async with anyio.create_task_group() as self._tasks:
            self._talk = Conversation(
                self._cfg,
                self._runtime,
                tasks=self._tasks,
                memory=self._memory,
                calls=self._calls,
                on_session=self._note_session,
            )
            try:
                await self._begin()
                await self._poller.run(self._take)
            except TakopiError as error:  # which would be in a group with what it ends
                failure = error
            finally:
                await self._tell_waiting()
                self._tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    # -- beginning and end -------------------------------------------------------------------

    async def _begin(self) -> None:
        """Everything before the first update."""
        self._warn()
        self._tasks.start_soon(self._gather.run)
        self._talk.spawn(self._refresh_menu)
        if not await self._introduce():
            self._tasks.start_soon(self._introduce_later)
        if self._runtime.watch_config:
            self._tasks.start_soon(self._watch_config)
        left_over = self._open_runs.left_over()
        skipped = await self._poller.drain(self._intake.is_wanted_message)
        for run in left_over:
            self._talk.spawn(partial(self._left_over.settle, run))
        interrupted = sum(run.state not in ("said", "answered") for run in left_over)
        meanwhile = Meanwhile(skipped, interrupted)
        self._talk.spawn(partial(self._greet, meanwhile))

    def _warn(self) -> None:
        chats = open_groups(self._settings, self._runtime.project_chat_ids())
        if chats:
            advice = "list who may use it in `transports.telegram.allowed_user_ids`"
            logger.warning("access.open_group", chats=chats, help=advice)

    async def _introduce(self) -> bool:
        """Learn who we are; whether that worked."""
        me = await self._client.get_me()
        if not isinstance(me, Ok):
            logger.warning("bot.unknown_identity", reason=type(me).__name__)
            return False
        self._identity = BotIdentity(me.result.id, me.result.username)
        logger.info("bot.identified", username=me.result.username)
        return True

    async def _introduce_later(self) -> None:
        while True:
            await anyio.sleep(_INTRODUCE_AGAIN_S)
            if await self._introduce():
                return

    async def _greet(self, meanwhile: Meanwhile) -> None:
        greeting = Greeting(
            self._runtime,
            self._settings,
            Path.cwd(),
            await engine_versions(self._options.config_path),
            meanwhile,
        )
        await self._tell(render(startup_text(greeting)), notify=True)

    def _note_asked(self, message: InboundMessage) -> None:
        """Keep a prompt before it is confirmed: from now on nobody else does."""
        if not self._gather.continues(message):
            run = OpenRun(message.chat_id, message.message_id, message.thread_id, state="asked")
            self._open_runs.add(run)

    def _forget_asked(self, prompt: Gathered) -> None:
        self._open_runs.remove(prompt.message.chat_id, prompt.message.message_id)

    def _note_session(self, run: ActiveRun, token: ResumeToken) -> None:
        """Keep what it takes to go on with a run, should takopi be killed meanwhile."""
        shown, runtime = run.shown, self._runtime
        if shown is None or not shows_resume_lines(self._settings):
            return
        found = runtime.resolve_runner(resume_token=token, engine_override=None)
        lines = (runtime.format_context_line(run.context), found.runner.format_resume(token))
        footer = "\n".join(line for line in lines if line)
        self._open_runs.add(replace(_open_run(shown), footer=footer or None))

    async def _tell_waiting(self) -> None:
        """Say to whoever still has to send something that it will not run."""
        waiting, _ = self._gather.close()
        await self._hand_over([partial(self._talk.say, _ref(p.message), _NOT_RUN) for p in waiting])

    async def _tell_left_over(self) -> None:
        """All runs have ended: what still looks alive never began, or could not say good-bye."""
        left_over = self._open_runs.left_over()
        await self._hand_over([partial(self._left_over.settle, run) for run in left_over])

    async def _hand_over(self, last: Sequence[Callable[[], Coroutine[Any, Any, Any]]]) -> None:
        """Give the last messages to the outbox, which has its own time to deliver them."""
        with anyio.move_on_after(_FAREWELL_S, shield=True):
            async with anyio.create_task_group() as group:
                for send in last:
                    group.start_soon(send)

    # -- updates -----------------------------------------------------------------------------

    def _chats(self) -> list[int]:
        """The chats that are listened to, private ones of listed users aside."""
        bound = (chat for chat in self._runtime.project_chat_ids() if isinstance(chat, int))
        return [self._settings.chat_id, *bound]

    def _access(self) -> Access:
        return Access(frozenset(self._chats()), frozenset(self._settings.allowed_user_ids))

    async def _take(self, raw: object) -> None:
        """One update. It only decides who handles it."""
        update = self._intake.take(raw)
        if isinstance(update, Callback):
            self._talk.spawn(partial(self._talk.press, update))
        elif isinstance(update, InboundMessage):
            try:
                self._route(update)
            except Exception as error:
                self._talk.spawn(partial(self._talk.apologize, error, _ref(update)))

    def _route(self, message: InboundMessage) -> None:
        has_media = message.attachment is not None or message.voice is not None
        if message.is_forward and not has_media and message.album_id is None:
            self._gather.add_forward(message)
            return
        if is_for_another_bot(message.text, self._identity):
            return
        inbound = self._inbound(message, message.text)
        intent = self._talk.intent(inbound)
        if has_media and (message.is_forward or isinstance(intent, Prompt | Ignore | Command)):
            self._gather.add_album_part(message)
        elif isinstance(intent, Prompt | Ignore):  # a mention alone may comment on forwards
            shown = {run.shown for run in self._talk.runs if run.shown is not None}
            self._note_asked(message)
            self._gather.add_prompt(message, at_once=inbound.reply_to in shown)
        elif isinstance(intent, Cancel) and inbound.reply_to is None and self._take_back(message):
            self._talk.spawn(partial(self._talk.say, inbound.at, DROPPED), inbound.at)
        else:
            if isinstance(intent, NewSession):
                self._take_back(message)
                # The rest of a caption is about its file, and no prompt.
                intent = replace(intent, text="") if has_media else intent
            self._talk.spawn(partial(self._talk.act, intent, inbound), inbound.at)

    def _take_back(self, message: InboundMessage) -> bool:
        """Drop what the sender of a message said just before; whether there was anything."""
        dropped = self._gather.discard(message)
        if dropped is not None:
            self._forget_asked(dropped)
        return dropped is not None

    def _take_prompt(self, gathered: Gathered) -> None:
        """A prompt and what belongs to it."""
        inbound = self._inbound(gathered.message, gathered.text)
        if gathered.prompt(inbound.text):
            act = partial(self._talk.act, Prompt(inbound), inbound, gathered.prompt)
            self._talk.spawn(act, inbound.at)
        else:
            self._forget_asked(gathered)

    def _take_album(self, album: Album) -> None:
        self._talk.spawn(partial(self._refuse_media, album), _ref(album[0]))

    def _inbound(self, message: InboundMessage, text: str) -> Inbound:
        reply = message.reply_to
        at = _ref(message)
        if reply is None:
            return Inbound(at, without_mention(text, self._identity))
        return Inbound(
            at,
            without_mention(text, self._identity),
            MessageRef(message.chat_id, reply.message_id, thread_id=message.thread_id),
            reply.text,
            replies_to_us(message, self._identity),
        )

    async def _refuse_media(self, album: Album) -> None:
        """Files and voice notes: say why nothing happens, where somebody may wait for it."""
        first = album[0]
        if first.voice is not None:
            await self._talk.say(_ref(first), "voice notes are not there yet; type it instead.")
            return
        captioned = next((part for part in album if part.text.strip()), None)
        if captioned is not None or first.is_private:
            await self._talk.say(_ref(captioned or first), "file transfer is not there yet.")

    # -- configuration -----------------------------------------------------------------------

    async def _refresh_menu(self) -> None:
        """Show what can be said now. Without the menu everything works all the same."""
        plugins = await anyio.to_thread.run_sync(_plugin_entries, self._runtime)
        outcome = await self._calls.set_my_commands(menu(self._runtime.spec, plugins))
        if not isinstance(outcome, Ok):
            logger.warning("menu.failed", reason=type(outcome).__name__)

    async def _watch_config(self) -> None:
        await watch_config(
            config_path=self._options.config_path,
            runtime=self._runtime,
            default_engine_override=self._options.default_engine_override,
            on_reload=self._note_reload,
            on_problem=lambda text: self._talk.spawn(partial(self._tell, RenderedMessage(text))),
        )

    def _note_reload(self, reload: ConfigReload) -> None:
        self._talk.spawn(self._refresh_menu)
        text = "config reloaded"
        changed = _changed(self._settings, reload.settings)
        if changed:
            logger.warning("config.reload.transport", keys=changed, restart_required=True)
            text += f"; restart takopi for `{'`, `'.join(changed)}`"
        self._talk.spawn(partial(self._tell, render(text)))

    # -- messages ----------------------------------------------------------------------------

    async def _tell(self, message: RenderedMessage, notify: bool = False) -> None:
        """Say something in the main chat."""
        await self._transport.send(
            channel_id=self._settings.chat_id, message=message, options=SendOptions(notify=notify)
        )


class _WithoutResumeLines:
    """A presenter for chats that go on with their session by themselves."""

    def __init__(self, inner: Presenter) -> None:
        self._inner = inner

    def render_progress(
        self, state: ProgressState, *, elapsed_s: float, label: str = "working"
    ) -> RenderedMessage:
        """A run under way."""
        state = replace(state, resume_line=None)
        return self._inner.render_progress(state, elapsed_s=elapsed_s, label=label)

    def render_final(
        self, state: ProgressState, *, elapsed_s: float, status: str, answer: str
    ) -> RenderedMessage:
        """A run that is over."""
        state = replace(state, resume_line=None)
        return self._inner.render_final(state, elapsed_s=elapsed_s, status=status, answer=answer)


def _presenter(settings: TelegramSettings) -> Presenter:
    presenter = TelegramPresenter(overflow=settings.message_overflow)
    return presenter if shows_resume_lines(settings) else _WithoutResumeLines(presenter)


def _open_run(ref: MessageRef) -> OpenRun:
    thread_id = int(ref.thread_id) if ref.thread_id is not None else None
    return OpenRun(int(ref.channel_id), int(ref.message_id), thread_id)


def _ref(message: InboundMessage) -> MessageRef:
    return MessageRef(
        message.chat_id,
        message.message_id,
        raw=message.raw,
        thread_id=message.thread_id,
        sender_id=message.sender_id,
    )


def _plugin_entries(runtime: TransportRuntime) -> list[Entry]:
    """Plugins' commands with what they say about themselves. Blocks: it imports them."""
    entries = []
    for command_id in list_command_ids(allowlist=runtime.allowlist):
        try:
            backend = get_command(command_id, allowlist=runtime.allowlist)
            entries.append((command_id, backend.description))
        except Exception as error:  # one that is broken keeps no other out of the menu
            logger.warning("menu.plugin_failed", command=command_id, error=str(error))
    return entries


def _changed(before: TelegramSettings, settings: Any) -> list[str]:
    """The keys that are only read at the start."""
    if settings.transport != MAIN_TRANSPORT:
        return ["transport"]
    now = settings.transports.telegram
    return [
        f"transports.telegram.{name}"
        for name in type(before).model_fields
        if getattr(before, name) != getattr(now, name, None)
    ]
