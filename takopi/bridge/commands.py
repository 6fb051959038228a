"""Commands that plugins add to the chat: ``/<id>``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol, cast, overload, runtime_checkable

from takopi.errors import ConfigError
from takopi.ids import RESERVED_COMMAND_IDS
from takopi.plugins import COMMAND_GROUP, backend_validator, list_ids, load_backend


@runtime_checkable
class CommandBackend(Protocol):
    """A command, as an entry point gives it."""

    id: str
    description: str

    async def handle(self, ctx: Any) -> Any:
        """Answer one message: a ``CommandContext`` in, a ``CommandResult`` or None out."""
        ...


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
