"""State in a JSON file that others may edit: read again when it changed, replaced as a whole.

::

    class Notes(JsonStateStore[NotesState]):        # NotesState: a msgspec.Struct with a `version`
        async def add(self, text: str) -> None:
            async with self._lock:
                self._reload_locked_if_needed()
                self._state.notes.append(text)
                self._save_locked()
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import anyio
import msgspec

from takopi.json_state import atomic_write_json
from takopi.logs import Logger

State = TypeVar("State")
_Stamp: TypeAlias = tuple[int, int, int] | None


class _Unreadable(Exception):
    """Says what is wrong with a state file; never what is in it."""


class JsonStateStore(Generic[State]):
    """One state file. Subclasses work on ``_state`` while they hold ``_lock``.

    A file that cannot be understood is put aside as ``<name>.bad-<unix time>``, and the state is a
    fresh one. What the file system refuses is raised as `OSError`, and nothing is overwritten.
    """

    def __init__(
        self,
        path: Path,
        *,
        version: int,
        state_type: type[State],
        state_factory: Callable[[], State],
        log_prefix: str,
        logger: Logger,
    ) -> None:
        self._path = path
        self._version = version
        self._state_type = state_type
        self._state_factory = state_factory
        self._log_prefix = log_prefix
        self._logger = logger
        self._lock = anyio.Lock()
        self._state: State = state_factory()
        self._stamp: _Stamp = None  # of the file that `_state` is

    def _upgrade(self, data: dict[str, Any], version: object) -> dict[str, Any] | None:
        """What an older file says, in today's shape; None for a version that is not known."""
        return None

    def _reload_locked_if_needed(self) -> None:
        """Read the file if it is not the one last seen. Call it before every use of ``_state``."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        state = None
        try:
            state = self._decode(self._path.read_bytes())
        except FileNotFoundError:
            stamp = None
        except _Unreadable as error:
            self._put_aside(str(error))
            stamp = None
        self._state = state if state is not None else self._state_factory()
        self._stamp = stamp

    def _save_locked(self) -> None:
        """Replace the file by ``_state``."""
        payload = msgspec.to_builtins(self._state, str_keys=True)
        atomic_write_json(self._path, {**payload, "version": self._version})
        self._stamp = _stamp(self._path)

    def _decode(self, raw: bytes) -> State:
        try:
            data = json.loads(raw.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise _Unreadable(f"not JSON ({type(error).__name__})") from None
        if not isinstance(data, dict):
            raise _Unreadable("not an object")
        version = data.get("version", self._version)
        if version != self._version:
            upgraded = self._upgrade(data, version)
            if upgraded is None:
                raise _Unreadable("unknown version")
            data = {**upgraded, "version": self._version}
        try:
            return msgspec.convert(data, self._state_type, str_keys=True)
        except (msgspec.ValidationError, RecursionError) as error:
            raise _Unreadable(str(error)) from None

    def _put_aside(self, problem: str) -> None:
        now = int(time.time())
        aside = self._path.with_name(f"{self._path.name}.bad-{now}")
        while os.path.lexists(aside):
            now += 1
            aside = self._path.with_name(f"{self._path.name}.bad-{now}")
        os.rename(self._path, aside)
        self._logger.warning(
            f"{self._log_prefix}.unreadable",
            path=str(self._path),
            problem=problem,
            kept_as=str(aside),
        )


def _stamp(path: Path) -> _Stamp:
    """Tells one version of a file from the next; None for a missing file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
