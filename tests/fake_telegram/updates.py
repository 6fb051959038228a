"""The queue that getUpdates reads, and the one poll that may wait at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.fake_telegram.clock import Clock
from tests.fake_telegram.state import Json

KEPT_S = 24 * 3600
BATCH = 100
# Sent only to those who ask for them by name.
ON_REQUEST = ("chat_member", "message_reaction", "message_reaction_count")


@dataclass
class Update:
    id: int
    kind: str
    payload: object
    created: float
    repeated: bool = False  # handed out once more, whatever was confirmed

    def to_api(self) -> Json:
        return {"update_id": self.id, self.kind: self.payload}


@dataclass
class Poll:
    """A getUpdates that waits. Its front asks ``alive`` whether the client is still there."""

    limit: int
    deadline: float
    alive: Callable[[], bool]
    refused: bool = False  # another poll took its place


@dataclass
class UpdateQueue:
    clock: Clock
    next_id: int
    loser: Literal["waiting", "new"] = "waiting"  # who gets the 409 when two polls meet
    batch: int = BATCH  # the driver's upper limit for one answer
    held: bool = False  # nothing is handed out
    rival: bool = False  # another program polls this token
    conflicts: int = 0
    entries: list[Update] = field(default_factory=list)
    waiting: Poll | None = None
    _allowed: frozenset[str] | None = None

    def push(self, kind: str, payload: object, repeat_id: int | None = None) -> int | None:
        """Append an update unless the bot does not want this kind; gives its id.

        ``repeat_id`` is that of an earlier update, which the client has perhaps confirmed.
        """
        wanted = kind not in ON_REQUEST if self._allowed is None else kind in self._allowed
        if not wanted:
            return None
        update_id = self.next_id if repeat_id is None else repeat_id
        self.next_id += repeat_id is None
        created = self.clock.now()
        self.entries.append(Update(update_id, kind, payload, created, repeat_id is not None))
        return update_id

    def allow(self, kinds: Sequence[str]) -> None:
        """What is wanted from now on; an empty list stands for the default."""
        self._allowed = frozenset(kinds) or None

    def confirm(self, offset: int | None) -> None:
        """Forget what the client has seen (see getUpdates), and what is too old."""
        oldest = self.clock.now() - KEPT_S
        self.entries = [entry for entry in self.entries if entry.created >= oldest]
        if offset is not None and offset > 0:
            self.entries = [e for e in self.entries if e.id >= offset or e.repeated]
        elif offset is not None and offset < 0:
            self.entries = self.entries[offset:]

    def batch_of(self, limit: int) -> list[Json]:
        if self.held:
            return []
        chosen = self.entries[: min(limit, self.batch)]
        for entry in chosen:
            entry.repeated = False
        return [entry.to_api() for entry in chosen]

    def enter(self, poll: Poll) -> bool:
        """Let a poll wait; False when it is refused because of another one."""
        other = self.waiting
        if self.rival or (other is not None and other.alive()):
            self.conflicts += 1
            if self.rival or self.loser == "new" or other is None:
                return False
            other.refused = True
        self.waiting = poll
        return True

    def leave(self, poll: Poll) -> None:
        if self.waiting is poll:
            self.waiting = None
