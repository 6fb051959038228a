"""Every type on the road from a message to what is done about it.

::

    Inbound -> parse_intent -> Intent -> plan(intent, snapshot) -> Effects -> Executor.execute

All are values: the first two steps are pure, and tests compare what they give. A run is known by the
message that asked for it (``asked``), from before it has a progress message until it has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from takopi.bridge.delivery import MessageId, MessageRef
from takopi.bridge.runtime import ContextSource, EngineSource, RuntimeSpec
from takopi.model import EngineId, ResumeToken, RunContext

SessionSource: TypeAlias = Literal["text", "reply", "run", "topic", "chat", "new"]


# -- what came in ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Inbound:
    """A user's message. ``reply_text`` is what it replies to, and ``reply_from_bot`` whose that is."""

    at: MessageRef
    text: str
    reply_to: MessageRef | None = None
    reply_text: str | None = None
    reply_from_bot: bool = True


@dataclass(frozen=True, slots=True)
class Words:
    """What first words mean in a chat, in lower case.

    ``commands``    its own commands, and for `/help` what follows the word
    ``directives``  engines and projects, which begin prompts
    ``plugins``     commands that plugins add
    ``taken``       words that other chats use: they never become prompts
    ``corrects``    a word that looks like a misspelt one is asked about
    """

    commands: Mapping[str, str] = field(default_factory=dict)
    directives: frozenset[str] = frozenset()
    plugins: frozenset[str] = frozenset()
    taken: frozenset[str] = frozenset()
    corrects: bool = False


# -- what is asked ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ignore:
    """Nothing to do; ``reason`` is for the log."""

    reason: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """Run this."""

    inbound: Inbound


@dataclass(frozen=True, slots=True)
class NewSession:
    """Forget the sessions; then run ``text``, if there is any."""

    inbound: Inbound
    text: str = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a run: the one of the message replied to, or of that number."""

    inbound: Inbound
    number: str | None = None


@dataclass(frozen=True, slots=True)
class Help:
    """Say what can be said."""

    inbound: Inbound


@dataclass(frozen=True, slots=True)
class Quit:
    """End the chat."""


@dataclass(frozen=True, slots=True)
class Command:
    """A plugin's command; ``args`` is the rest of the text, as it was written."""

    inbound: Inbound
    command_id: str
    args: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """A command that is none here; ``advice`` says what to do instead."""

    inbound: Inbound
    word: str
    advice: str


Intent: TypeAlias = Ignore | Prompt | NewSession | Cancel | Help | Quit | Command | Unusable


# -- what there is ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Session:
    """What a topic or chat goes on with: a token, or the run that will know it.

    It works in ``context``; a message for elsewhere begins another session, unless ``anywhere``.
    """

    token: ResumeToken | None = None
    run: MessageRef | None = None
    context: RunContext | None = None
    anywhere: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """What a topic or chat remembers: the engine for its messages, and a session per engine."""

    engine: EngineId | None = None
    sessions: Mapping[EngineId, Session] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run that has not ended. ``shown`` is its progress message, once there is one.

    ``command`` is the message whose command started it, if one did. A ``silent`` one is never shown.
    """

    asked: MessageRef
    engine: EngineId
    queued: bool = False
    shown: MessageRef | None = None
    resume: ResumeToken | None = None
    context: RunContext | None = None
    command: MessageRef | None = None
    silent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a plan depends on, at one moment.

    ``runs``      of all chats, the oldest first
    ``ambient``   where messages of this place work unless they say otherwise
    ``numbered``  whether people call runs by the number of the message that asked for them
    """

    spec: RuntimeSpec
    words: Words = field(default_factory=Words)
    runs: tuple[ActiveRun, ...] = ()
    ambient: RunContext | None = None
    topic: Scope = field(default_factory=Scope)
    chat: Scope = field(default_factory=Scope)
    numbered: bool = False


# -- what to do ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Why:
    """What decided about a run."""

    engine: EngineSource
    context: ContextSource
    session: SessionSource


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A prompt without directives, and everything chosen for it.

    ``command`` is the message whose command asked for it, which may ask for many: then ``inbound``
    stands for this one, and is no message.
    """

    inbound: Inbound
    prompt: str
    engine: EngineId
    context: RunContext | None
    why: Why
    command: MessageRef | None = None

    @property
    def asked(self) -> MessageRef:
        """The message that asked for the run."""
        return self.inbound.at


@dataclass(frozen=True, slots=True)
class StartRun:
    """Run in a new session, now."""

    request: RunRequest


@dataclass(frozen=True, slots=True)
class QueueRun:
    """Run in this session, as soon as it is free."""

    request: RunRequest
    token: ResumeToken


@dataclass(frozen=True, slots=True)
class FollowRun:
    """Run in the session that another run is about to open.

    If it ends without one: begin a new session if ``else_new``, otherwise say so.
    """

    request: RunRequest
    behind: MessageRef
    else_new: bool


@dataclass(frozen=True, slots=True)
class CancelRun:
    """End a run, or take it back while it is queued."""

    asked: MessageRef


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a message, silently."""

    to: MessageRef
    text: str


@dataclass(frozen=True, slots=True)
class ForgetSessions:
    """The next message of this place begins a new session."""

    at: MessageRef


@dataclass(frozen=True, slots=True)
class RunCommand:
    """Let a plugin handle its command."""

    command: Command


@dataclass(frozen=True, slots=True)
class EndChat:
    """No more messages."""


Effect: TypeAlias = (
    StartRun | QueueRun | FollowRun | CancelRun | Reply | ForgetSessions | RunCommand | EndChat
)


def number_of(asked: MessageRef) -> MessageId:
    """What people call a run."""
    return asked.message_id
