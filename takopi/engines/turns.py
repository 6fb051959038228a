"""Who translates when: together, the runs of an event loop take only a share of each of its turns."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from anyio.lowlevel import RunVar

_TURN_S = 0.001


class Turns:
    """Shares the turns of the running event loop, first come, first served.

    Whoever has come through `begin` works without suspending and calls `end`. ``turn_s`` is for all
    of them together: the rest of the loop's turn belongs to others.
    """

    def __init__(
        self, turn_s: float = _TURN_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._turn_s = turn_s
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._begun = 0.0
        self._spent = 0.0  # of this turn of the loop
        self._renewing = False
        self._queue: deque[asyncio.Future[None]] = deque()
        self._called: asyncio.Future[None] | None = None  # out of the queue, but has not come yet

    async def begin(self) -> float:
        """Wait for a turn if this one is used up; until when, by the clock, one may work."""
        if self._queue or self._called is not None or self._spent >= self._turn_s:
            await self._stand_in_line()
        self._begun = self._clock()
        return self._begun + self._turn_s - self._spent

    def end(self) -> None:
        """Enough for now."""
        self._spent += self._clock() - self._begun
        if not self._renewing:
            self._renewing = True
            self._loop.call_soon(self._renew)
        self._call_next()

    async def _stand_in_line(self) -> None:
        place = self._loop.create_future()
        self._queue.append(place)
        came = False
        try:
            await place
            came = True
        finally:
            if self._called is place:
                self._called = None
            elif not came:
                self._queue.remove(place)
            if not came:
                self._call_next()

    def _renew(self) -> None:
        self._renewing = False
        self._spent = 0.0
        self._call_next()

    def _call_next(self) -> None:
        if self._called is not None or self._spent >= self._turn_s:
            return
        for place in self._queue:
            if not place.done():  # else cancelled, and about to leave by itself
                self._queue.remove(place)
                self._called = place
                place.set_result(None)
                return


_of_loop: RunVar[Turns] = RunVar("takopi.turns")


def turns_of_loop() -> Turns:
    """The turns of the running event loop."""
    try:
        return _of_loop.get()
    except LookupError:
        _of_loop.set(turns := Turns())
        return turns
