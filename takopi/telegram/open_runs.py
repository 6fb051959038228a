"""Progress messages of runs in flight, on disk, so that a crash leaves none that looks alive.

::

    {"version": 1, "runs": {"<chat id>:<message id>": {"thread_id": 7, "footer": "…"}}}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from takopi.logs import get_logger
from takopi.telegram.state_store import JsonStateStore

FILE_NAME = "telegram_open_runs_state.json"
_VERSION = 1

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenRun:
    """One progress message; ``footer`` has the lines that go on with its session, once it has one."""

    chat_id: int
    message_id: int
    thread_id: int | None = None
    footer: str | None = None


class _Entry(msgspec.Struct):
    thread_id: int | None = None
    footer: str | None = None


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

    def add(self, run: OpenRun) -> None:
        """Note a progress message, as soon as it is posted."""
        self._change(_key(run.chat_id, run.message_id), _Entry(run.thread_id, run.footer))

    def remove(self, chat_id: int, message_id: int) -> None:
        """Forget a progress message that is replaced or gone.

        One that is to become the answer itself is forgotten before it is edited: whatever happens in
        between, an answer must not be marked as interrupted.
        """
        self._change(_key(chat_id, message_id), None)

    def left_over(self) -> list[OpenRun]:
        """What an earlier process left behind; ask before the first run.

        Each stays on the list until it is removed, so that a crash meanwhile loses none.
        """
        try:
            self._reload_locked_if_needed()
        except OSError as error:
            logger.warning("open_runs.load_failed", error=str(error))
        found = []
        for key, entry in self._state.runs.items():
            chat_id, _, message_id = key.partition(":")
            try:
                found.append(OpenRun(int(chat_id), int(message_id), entry.thread_id, entry.footer))
            except ValueError:
                logger.warning("open_runs.bad_key", key=key)
        return found

    def _change(self, key: str, entry: _Entry | None) -> None:
        try:
            self._reload_locked_if_needed()
            runs = self._state.runs
            if runs.get(key) == entry:
                return
            if entry is None:
                del runs[key]
            else:
                runs[key] = entry
            self._save_locked()
        except OSError as error:
            logger.warning("open_runs.save_failed", error=str(error))


def _key(chat_id: int, message_id: int) -> str:
    return f"{chat_id}:{message_id}"
