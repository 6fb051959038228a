"""Runs in flight, on disk, so that a crash leaves no prompt without a word and no button alive.

::

    {"version": 1, "runs": {"<chat id>:<message id>": {"thread_id": 7, "footer": "…", "state": "shown"}}}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from takopi.logs import get_logger
from takopi.telegram.state_store import JsonStateStore

FILE_NAME = "telegram_open_runs_state.json"
_VERSION = 1

State: TypeAlias = Literal[
    "asked",  # the message is the prompt: there is no progress message yet, or it is on its way
    "said",  # it is a prompt that got a word, but its progress message may still have a button
    "shown",  # it is the progress message
    "answering",  # it is the progress message, or has become the answer by now
    "answered",  # it is the progress message of a run that ended in another one: it is to be deleted
]

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenRun:
    """One run; ``footer`` has the lines that go on with its session, once it has one."""

    chat_id: int
    message_id: int
    thread_id: int | None = None
    footer: str | None = None
    state: State = "shown"


class _Entry(msgspec.Struct, omit_defaults=True):
    thread_id: int | None = None
    footer: str | None = None
    state: State = "shown"


class _State(msgspec.Struct):
    version: int = _VERSION
    runs: dict[str, _Entry] = msgspec.field(default_factory=dict)


class OpenRuns(JsonStateStore[_State]):
    """The list of them. It runs nothing again: it only says what to mark as interrupted.

    No method suspends, so that none can be cancelled halfway, and none raises: no run fails because
    it could not be noted down.
    """

    def __init__(self, config_path: Path) -> None:
        super().__init__(
            config_path.with_name(FILE_NAME),
            version=_VERSION,
            state_type=_State,
            state_factory=_State,
            log_prefix="open_runs",
            logger=logger,
        )

    def add(self, run: OpenRun, *, instead_of: tuple[int, int] | None = None) -> None:
        """Note a prompt as it comes in, or a progress message as soon as it is posted.

        ``instead_of``: the chat and id of the prompt whose progress this is.
        """
        changes: dict[str, _Entry | None] = {}
        if instead_of is not None:
            changes[_key(*instead_of)] = None
        changes[_key(run.chat_id, run.message_id)] = _Entry(run.thread_id, run.footer, run.state)
        self._change(changes)

    def note(self, chat_id: int, message_id: int, state: State) -> None:
        """A message that is on the list goes on to another state."""
        entry = self._state.runs.get(_key(chat_id, message_id))
        if entry is not None:
            noted = _Entry(entry.thread_id, entry.footer, state)
            self._change({_key(chat_id, message_id): noted})

    def remove(self, chat_id: int, message_id: int) -> None:
        """Forget a prompt that was answered, or a progress message that is replaced or gone."""
        self._change({_key(chat_id, message_id): None})

    def has(self, chat_id: int, message_id: int) -> bool:
        """Whether a message is on the list."""
        return _key(chat_id, message_id) in self._state.runs

    def left_over(self) -> list[OpenRun]:
        """What an earlier process left behind; ask before the first run.

        Each stays on the list until it is removed, so that a crash meanwhile loses none.
        """
        try:
            self._reload_locked_if_needed()
        except OSError as error:
            logger.warning("open_runs.load_failed", error=str(error))
        found = []
        for key, each in self._state.runs.items():
            chat_id, _, message_id = key.partition(":")
            try:
                ids = int(chat_id), int(message_id)
            except ValueError:
                logger.warning("open_runs.bad_key", key=key)
            else:
                found.append(OpenRun(*ids, each.thread_id, each.footer, each.state))
        return found

    def _change(self, changes: dict[str, _Entry | None]) -> None:
        try:
            self._reload_locked_if_needed()
            runs = self._state.runs
            before = dict(runs)
            for key, entry in changes.items():
                if entry is None:
                    runs.pop(key, None)
                else:
                    runs[key] = entry
            if runs != before:
                self._save_locked()
        except OSError as error:
            logger.warning("open_runs.save_failed", error=str(error))


def _key(chat_id: int, message_id: int) -> str:
    return f"{chat_id}:{message_id}"
