"""Time as the server sees it: it can be moved forward, and waits can be shortened."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Clock:
    """Seconds that pass by themselves and by ``advance``.

    ``scale`` shortens what a client must wait for (long polls, rates, flood waits): with 0.02, a long
    poll of 50 s ends after one. Ages (24 h of updates, 15 s of a button) are not scaled.
    """

    def __init__(self, scale: float = 1.0, source: Callable[[], float] = time.monotonic) -> None:
        self.scale = scale
        self._source = source
        self._advanced = 0.0

    def now(self) -> float:
        """Seconds since some moment."""
        return self._source() + self._advanced

    def date(self) -> int:
        """Unix time, as messages carry it."""
        return int(time.time() + self._advanced)

    def advance(self, seconds: float) -> None:
        """Let time pass without waiting."""
        self._advanced += seconds

    def announced(self, seconds: float) -> float | int:
        """A wait as the client is told it: whole seconds, unless time is scaled."""
        return math.ceil(seconds) if self.scale == 1 else round(seconds, 4)
