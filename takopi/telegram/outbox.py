"""Everything that is written to Telegram goes through here: in order, at its pace, and not lost.

Each chat is a lane: one operation at a time, the most urgent first, with a pause after it. Lanes do
not wait for each other, except for a budget that all chats share. What a server is asked without
writing to a chat has a lane per method, without pauses.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar

import anyio
from anyio.abc import TaskGroup

from takopi.logs import get_logger
from takopi.telegram.wire import ChatId, RateLimited, Result, Transient

T = TypeVar("T")

logger = get_logger(__name__)

Clock: TypeAlias = Callable[[], float]
Sleep: TypeAlias = Callable[[float], Awaitable[object]]

SEND, DELETE, EDIT = 0, 1, 2  # priorities: the smallest goes first

_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 30.0
_GIVE_UP_S = 600.0  # after the first failure
_MINOR_RETRIES = 3  # of what is not essential
_MINOR_FLOODS = 5
_MIN_NAP_S = 0.001  # a shorter one may end before the clock has moved
_IDLE_LANES = 256


@dataclass(frozen=True, slots=True)
class Dropped:
    """It was not carried out: a later one took its place, or the outbox was closed or full."""

    reason: Literal["superseded", "closed", "full", "failed"]


Outcome: TypeAlias = Result[T] | Dropped


@dataclass(frozen=True, slots=True)
class Rates:
    """Operations per second: in a private chat, in a group, in all chats. 0 or less: no limit.

    A group takes 20 a minute; one of them is kept for what may not wait (`ahead_s`).
    """

    private_per_s: float = 1.0
    group_per_s: float = 19 / 60
    total_per_s: float = 30.0

    def interval_s(self, chat_id: ChatId | None) -> float:
        """The pause between two operations in a chat."""
        rate = self.group_per_s if _is_group(chat_id) else self.private_per_s
        return 1 / rate if rate > 0 else 0.0

    def ahead_s(self, chat_id: ChatId | None) -> float:
        """How much of a pause something essential may skip; the next pause is longer for that.

        A group's limit is counted by the minute: an answer need not wait for a progress just shown.
        """
        return self.interval_s(chat_id) if _is_group(chat_id) else 0.0


def _is_group(chat_id: ChatId | None) -> bool:
    return isinstance(chat_id, int) and chat_id < 0


@dataclass(slots=True, eq=False)
class Operation(Generic[T]):
    """One thing to do, and what became of it.

    ``lane``       the chat, or the method if that is not paced
    ``key``        a later operation of the lane with the same key takes the place of this one
    ``essential``  must get through: is retried for long, and outlives what is not essential
    ``action``     may be called again after a rate limit or a transient failure
    ``repeatable`` doing it twice is as good as once
    ``on_done``    called once with the outcome; may submit what comes next
    """

    lane: ChatId
    action: Callable[[], Awaitable[Result[T]]]
    key: Hashable = None
    priority: int = SEND
    paced: bool = True
    essential: bool = False
    repeatable: bool = False
    on_done: Callable[[Outcome[T]], None] | None = None
    # The outbox's own
    outcome: Outcome[T] | None = None
    superseded: bool = False
    seq: int = -1
    not_before: float = 0.0
    failing_since: float | None = None
    failures: int = 0
    uncertain: int = 0
    floods: int = 0
    _done: anyio.Event = field(default_factory=anyio.Event)

    async def wait(self) -> Outcome[T]:
        """What became of it. It goes on if this is cancelled."""
        await self._done.wait()
        assert self.outcome is not None
        return self.outcome

    def finish(self, outcome: Outcome[T]) -> None:
        """Give everybody the outcome; only the first one counts."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        self._done.set()
        if self.on_done is not None:
            try:
                self.on_done(outcome)
            except Exception:
                logger.exception("outbox.callback_failed", lane=self.lane)


class _Lane:
    """What waits for one chat or method, and when it may go on."""

    __slots__ = (
        "ahead_s",
        "free_at",
        "id",
        "nap",
        "pending",
        "retry_at",
        "running",
        "scope",
        "slot",
    )

    def __init__(self, lane_id: ChatId, ahead_s: float) -> None:
        self.id = lane_id
        self.ahead_s = ahead_s  # of the pause, what is essential may skip
        self.pending: dict[Hashable, Operation[Any]] = {}
        self.running: Operation[Any] | None = None
        self.free_at = 0.0  # the pause after the last operation
        self.retry_at = 0.0  # what the last 429 asked for
        self.slot: float | None = None  # its place in the budget of all chats
        self.scope: anyio.CancelScope | None = None
        self.nap: anyio.CancelScope | None = None

    def next(self) -> Operation[Any]:
        return min(self.pending.values(), key=lambda op: (op.priority, op.seq))

    def due_at(self, op: Operation[Any]) -> float:
        free_at = self.free_at - self.ahead_s if op.essential else self.free_at
        return max(free_at, self.retry_at, op.not_before)

    def wake(self) -> None:
        if self.nap is not None:
            self.nap.cancel()


class _Budget:
    """Slots for at most ``rate`` operations in any second."""

    def __init__(self, rate: float) -> None:
        size = max(1, round(rate))
        self._window_s = size / rate if rate > 0 else 0.0
        self._slots: deque[float] = deque(maxlen=size)

    def reserve(self, now: float) -> float:
        """The next free moment, which is taken then."""
        full = len(self._slots) == self._slots.maxlen
        slot = max(now, self._slots[0] + self._window_s) if full else now
        self._slots.append(slot)
        return slot


class Outbox:
    """Carries out operations while it is open: ``async with Outbox() as outbox``.

    ``clock``, ``sleep``  in seconds
    ``close_s``           how long `close` lets essential operations go on
    ``max_pending``       how many may wait; of more, the least important one is dropped
    """

    def __init__(
        self,
        *,
        rates: Rates = Rates(),
        clock: Clock = time.monotonic,
        sleep: Sleep = anyio.sleep,
        close_s: float = 5.0,
        max_pending: int = 10_000,
    ) -> None:
        self._rates = rates
        self._clock = clock
        self._sleep = sleep
        self._close_s = close_s
        self._max_pending = max_pending
        self._budget = _Budget(rates.total_per_s)
        self._state: Literal["new", "open", "closing", "closed"] = "new"
        self._group: TaskGroup = anyio.create_task_group()
        self._lanes: dict[ChatId, _Lane] = {}
        self._active: set[_Lane] = set()
        self._idle = anyio.Event()
        self._ended = anyio.Event()
        self._seq = 0
        self._count = 0

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._state = "open"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
        # The owner's error is not the workers': it should not come out in an exception group.
        await self._group.__aexit__(None, None, None)

    # -- putting in and taking out ---------------------------------------------------------------

    def submit(self, op: Operation[T], *, follows: bool = False) -> Operation[T]:
        """Queue an operation, in the place of one with the same key; gives it back.

        ``follows``: it completes another one that was carried out, and is taken while closing, too.
        """
        if self._state != "open" and not (follows and self._state == "closing"):
            op.finish(Dropped("closed"))
            return op
        lane = self._lane(op.lane)
        self._seq += 1
        op.seq = self._seq
        if op.key is None:
            op.key = ("", op.seq)
        older = lane.pending.get(op.key)
        if older is not None:
            if older.essential and not op.essential:
                op.finish(Dropped("superseded"))
                return op
            op.seq = older.seq
            self._take(lane, older)
        self._put(lane, op)
        self._start(lane)
        # Whoever is told may submit something at once: everything is in order by now.
        if older is not None:
            older.finish(Dropped("superseded"))
        if self._count > self._max_pending:
            self._drop_one()
        return op

    def drop(self, lane_id: ChatId, key: Hashable) -> None:
        """Forget what is queued under a key; what is under way is not tried again."""
        lane = self._lanes.get(lane_id)
        if lane is None:
            return
        if lane.running is not None and lane.running.key == key:
            lane.running.superseded = True
        op = lane.pending.get(key)
        if op is not None:
            self._take(lane, op)
            op.finish(Dropped("superseded"))

    @property
    def pending(self) -> int:
        """How many operations wait."""
        return self._count

    def _lane(self, lane_id: ChatId) -> _Lane:
        lane = self._lanes.get(lane_id)
        if lane is None:
            if len(self._lanes) >= _IDLE_LANES:
                self._forget_idle_lanes()
            lane = self._lanes[lane_id] = _Lane(lane_id, self._rates.ahead_s(lane_id))
        return lane

    def _forget_idle_lanes(self) -> None:
        now = self._clock()
        self._lanes = {
            lane.id: lane
            for lane in self._lanes.values()
            if lane in self._active or max(lane.free_at, lane.retry_at) > now
        }

    def _put(self, lane: _Lane, op: Operation[Any]) -> None:
        lane.pending[op.key] = op
        self._count += 1

    def _take(self, lane: _Lane, op: Operation[Any]) -> None:
        del lane.pending[op.key]
        self._count -= 1

    def _drop_one(self) -> None:
        waiting = ((lane, op) for lane in self._lanes.values() for op in lane.pending.values())
        lane, op = min(
            waiting, key=lambda found: (found[1].essential, -found[1].priority, found[1].seq)
        )
        logger.warning("outbox.full", lane=lane.id, essential=op.essential, limit=self._max_pending)
        self._take(lane, op)
        op.finish(Dropped("full"))

    # -- carrying out ------------------------------------------------------------------------------

    def _start(self, lane: _Lane) -> None:
        """Let a lane go on, now that there is something new in it."""
        if lane in self._active:
            lane.wake()
        else:
            self._active.add(lane)
            self._group.start_soon(self._work, lane)

    async def _work(self, lane: _Lane) -> None:
        """Empty a lane. Only `close` ends it before: not the end of whoever opened the outbox."""
        try:
            with anyio.CancelScope(shield=True) as lane.scope:
                while lane.pending:
                    op = lane.next()
                    wait_s = self._wait_s(lane, op)
                    if wait_s > 0:
                        with anyio.CancelScope() as lane.nap:
                            await self._sleep(max(wait_s, _MIN_NAP_S))
                        lane.nap = None
                        continue
                    self._take(lane, op)
                    lane.running = op
                    await self._run(lane, op)
                    lane.running = None
        finally:
            if lane.running is not None:
                lane.running.finish(Dropped("closed"))
                lane.running = None
            lane.slot = lane.scope = None
            self._active.discard(lane)
            if not self._active:
                self._idle.set()

    def _wait_s(self, lane: _Lane, op: Operation[Any]) -> float:
        now = self._clock()
        wait_s = lane.due_at(op) - now
        if wait_s > 0 or not op.paced:
            lane.slot = None  # it was for one that went first: later, it would be one too many
            return wait_s
        if lane.slot is None:
            lane.slot = self._budget.reserve(now)
        if lane.slot > now and op.essential:
            self._overtake(lane, lane.slot)
        return lane.slot - now

    def _overtake(self, lane: _Lane, slot: float) -> None:
        """Give what is essential the place of another chat's progress, if that comes before."""
        ahead = (
            other
            for other in self._active
            if other.slot is not None
            and other.slot < slot
            and other.pending
            and not other.next().essential
        )
        first = min(ahead, key=lambda other: other.slot or 0.0, default=None)
        if first is not None:
            lane.slot, first.slot = first.slot, slot

    async def _run(self, lane: _Lane, op: Operation[Any]) -> None:
        started = self._clock()
        if op.paced:
            lane.slot = None
        try:
            result = await op.action()
        except Exception:
            logger.exception("outbox.operation_failed", lane=lane.id)
            op.finish(Dropped("failed"))
            return
        now = self._clock()
        if isinstance(result, RateLimited):
            op.floods += 1
            # Whoever says 0 again and again is not believed.
            wait_s = max(result.seconds, _backoff_s(op.floods - 3) if op.floods > 3 else 0.0)
            lane.retry_at = max(lane.retry_at, now + wait_s)
            logger.info("outbox.rate_limited", lane=lane.id, seconds=wait_s)
            again = op.essential or op.floods < _MINOR_FLOODS
        else:
            if op.paced:
                lane.free_at = max(lane.free_at, started) + self._rates.interval_s(lane.id)
            again = isinstance(result, Transient) and _may_retry(op, result, now)
        if again:
            self._put_back(lane, op, result)
        else:
            op.finish(result)

    def _put_back(self, lane: _Lane, op: Operation[Any], result: Result[Any]) -> None:
        """Try an operation again in its old place, unless something newer waits there."""
        newer = lane.pending.get(op.key)
        if op.superseded or (newer is not None and (newer.essential or not op.essential)):
            op.finish(Dropped("superseded"))
        elif self._state == "closed":
            op.finish(Dropped("closed"))
        elif self._state == "closing" and not op.essential:
            op.finish(result)
        else:
            if newer is not None:
                self._take(lane, newer)
                newer.finish(Dropped("superseded"))
            self._put(lane, op)

    # -- the end -----------------------------------------------------------------------------------

    async def close(self) -> None:
        """Let essential operations finish for up to ``close_s``, then end everything.

        Anybody may call it, also while somebody else does. Nobody's cancellation cuts it short.
        """
        with anyio.CancelScope(shield=True):
            if self._state in ("new", "closed"):
                self._state = "closed"
                return
            if self._state == "closing":
                await self._ended.wait()
                return
            self._state = "closing"
            for lane in list(self._active):
                for op in [op for op in lane.pending.values() if not op.essential]:
                    self._take(lane, op)
                    op.finish(Dropped("closed"))
                lane.wake()
            try:
                await self._drain()
            finally:
                self._stop()
                await self._all_idle()
                self._ended.set()

    async def _drain(self) -> None:
        async with anyio.create_task_group() as group:

            async def give_up() -> None:
                await self._sleep(self._close_s)
                group.cancel_scope.cancel()

            group.start_soon(give_up)
            await self._all_idle()
            group.cancel_scope.cancel()

    async def _all_idle(self) -> None:
        while self._active:
            self._idle = anyio.Event()
            await self._idle.wait()

    def _stop(self) -> None:
        self._state = "closed"
        for lane in list(self._active):
            if lane.scope is not None:
                lane.scope.cancel()
            for op in list(lane.pending.values()):
                self._take(lane, op)
                op.finish(Dropped("closed"))


def _may_retry(op: Operation[Any], result: Transient, now: float) -> bool:
    """Whether to try again after a transient failure, and when (`Operation.not_before`)."""
    op.failures += 1
    op.uncertain += result.maybe_done
    if op.failing_since is None:
        op.failing_since = now
    # A duplicate is better than a lost message, but one is enough.
    duplicates = 0 if op.repeatable else op.uncertain
    if duplicates > (1 if op.essential else 0):
        return False
    if not op.essential and op.failures > _MINOR_RETRIES:
        return False
    op.not_before = now + _backoff_s(op.failures)
    return op.not_before - op.failing_since <= _GIVE_UP_S


def _backoff_s(attempt: int) -> float:
    return float(min(_LAST_RETRY_S, _FIRST_RETRY_S * 2 ** min(attempt - 1, 10)))
