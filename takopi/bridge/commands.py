"""Commands that plugins add to the chat: ``/<id>``. What runs them is `takopi.bridge.executor`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, cast, overload, runtime_checkable

from takopi.bridge.delivery import MessageRef, RenderedMessage
from takopi.bridge.runtime import TransportRuntime
from takopi.errors import ConfigError
from takopi.ids import RESERVED_COMMAND_IDS
from takopi.model import EngineId, ResumeToken, RunContext
from takopi.plugins import COMMAND_GROUP, backend_validator, list_ids, load_backend

RunMode: TypeAlias = Literal[
    "emit",  # posted like the run of a user's message
    "capture",  # nothing is posted; the result has it all
]


@dataclass(frozen=True, slots=True)
class CommandResult:
    """A command's answer: plain text, in reply to ``reply_to`` or to the command."""

    text: str
    notify: bool = True
    reply_to: MessageRef | None = None


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One run of an engine: of a new session, or of the one that ``resume`` names.

    A ``resume`` says which engine, whatever ``engine`` is. What is None is the chat's, see
    `CommandExecutor`.
    """

    prompt: str
    engine: EngineId | None = None
    context: RunContext | None = None
    resume: ResumeToken | None = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a run. ``message`` is what a captured run would have shown last, else None.

    ``ok``      whether the engine says that it did it; None where nobody tells
    ``answer``  the engine's own words, without header and footer
    ``resume``  the session, if it became known
    ``error``   why it is not ``ok``: ``cancelled``, or the reason
    """

    engine: EngineId
    message: RenderedMessage | None
    ok: bool | None = None
    answer: str | None = None
    resume: ResumeToken | None = None
    error: str | None = None


class CommandExecutor(Protocol):
    """What a command can do in the chat it was written in.

    A run without a context is one of the chat's project. Its engine, if it names none, is the chat's,
    else its project's, else the default one. Engines that fail do not raise: see `RunResult`.
    """

    async def send(
        self,
        message: RenderedMessage | str,
        *,
        reply_to: MessageRef | None = None,
        notify: bool = True,
    ) -> MessageRef | None:
        """Post into the command's chat and thread, in reply to the command or to ``reply_to``.

        None: not delivered.
        """
        ...

    async def run_one(self, request: RunRequest, *, mode: RunMode = "emit") -> RunResult:
        """Run an engine and wait for its end."""
        ...

    async def run_many(
        self, requests: Sequence[RunRequest], *, mode: RunMode = "emit", parallel: bool = False
    ) -> list[RunResult]:
        """Run several, one after the other or at once; results in the order of the requests."""
        ...


@dataclass(frozen=True, slots=True)
class CommandContext:
    """One use of a command.

    ``command``        its id
    ``text``           the message as received
    ``args_text``      what follows the command's word, further lines included
    ``args``           the same split as a shell would; at blanks if its quotes do not match
    ``message``        the message; with ``thread_id``, ``sender_id`` and ``raw`` where the chat has them
    ``plugin_config``  a copy of ``[plugins.<id>]``, ``{}`` if absent
    """

    command: str
    text: str
    args_text: str
    args: tuple[str, ...]
    message: MessageRef
    reply_to: MessageRef | None
    reply_text: str | None
    config_path: Path | None
    plugin_config: dict[str, Any]
    runtime: TransportRuntime
    executor: CommandExecutor


@runtime_checkable
class CommandBackend(Protocol):
    """A command, as an entry point gives it."""

    id: str
    description: str

    async def handle(self, ctx: CommandContext) -> CommandResult | None:
        """Answer one message; None for no answer. What it raises is shown in the chat."""
        ...


def split_args(args_text: str) -> tuple[str, ...]:
    """The arguments of a command as a shell would split them; at blanks if quotes do not match."""
    try:
        return tuple(shlex.split(args_text))
    except ValueError:
        return tuple(args_text.split())


_VALIDATOR = backend_validator(CommandBackend, "a")


def list_command_ids(*, allowlist: Iterable[str] | None = None) -> list[str]:
    """The ids of all commands, sorted; none is imported."""
    return list_ids(COMMAND_GROUP, allowlist=allowlist, reserved_ids=RESERVED_COMMAND_IDS)


@overload
def get_command(
    command_id: str, *, allowlist: Iterable[str] | None = None, required: Literal[True] = True
) -> CommandBackend: ...


@overload
def get_command(
    command_id: str, *, allowlist: Iterable[str] | None = None, required: bool
) -> CommandBackend | None: ...


def get_command(
    command_id: str, *, allowlist: Iterable[str] | None = None, required: bool = True
) -> CommandBackend | None:
    """The command with that id; None for an unknown one that is not ``required``.

    Raises `ConfigError` for an id that is reserved, unknown, or whose plugin does not load.
    """
    if command_id.lower() in RESERVED_COMMAND_IDS:
        raise ConfigError(f"Command id '{command_id}' is reserved.")
    if not required and command_id not in list_command_ids(allowlist=allowlist):
        return None
    loaded = load_backend(
        COMMAND_GROUP,
        command_id,
        allowlist=allowlist,
        validator=_VALIDATOR,
        reserved_ids=RESERVED_COMMAND_IDS,
    )
    return cast("CommandBackend", loaded)
