"""The rate limits of Telegram, and its patience with those who go on sending."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tests.fake_telegram.clock import Clock

Mode = Literal["off", "log", "enforce"]
MAX_PENALTY = 8


@dataclass
class _Bucket:
    """Holds ``size`` calls and fills up at ``rate`` per second."""

    rate: float
    size: float
    level: float
    filled_at: float

    def missing_s(self, now: float) -> float:
        """Seconds until a call fits in."""
        self.level = min(self.size, self.level + (now - self.filled_at) * self.rate)
        self.filled_at = now
        # A hair of tolerance: a client that keeps the pace exactly must not be told to wait.
        return max(0.0, (0.999 - self.level) / self.rate)


@dataclass
class _Block:
    until: float
    wait_s: float
    first_s: float


@dataclass(frozen=True)
class Excess:
    """One call too many, and how long its sender should have waited."""

    at: float
    chat: int
    method: str
    retry_after: float


@dataclass
class Limiter:
    """1 message/s per private chat (burst 3), 20/min per group, 30/s for all of them.

    ``log`` only remembers what was too fast, ``enforce`` refuses it as well. Whoever calls again during
    the wait it was told waits longer: each time twice as long, up to eight times.
    """

    clock: Clock
    mode: Mode = "off"
    log: list[Excess] = field(default_factory=list)
    _buckets: dict[object, _Bucket] = field(default_factory=dict)
    _blocks: dict[int, _Block] = field(default_factory=dict)

    def take(self, chat: int, method: str) -> float | None:
        """Count a call; seconds to wait when it is one too many and must be refused."""
        if self.mode == "off":
            return None
        now = self.clock.now()
        block = self._blocks.get(chat)
        if block is not None and now < block.until:
            wait_s = min(2 * block.wait_s, MAX_PENALTY * block.first_s)
            return self._refuse(chat, method, wait_s, block.first_s)
        buckets = [self._bucket(key, now) for key in ("all", chat)]
        wait_s = max(bucket.missing_s(now) for bucket in buckets)
        if not wait_s:
            self._blocks.pop(chat, None)
        elif self.mode == "enforce":
            return self._refuse(chat, method, wait_s, wait_s)
        else:
            self.log.append(Excess(now, chat, method, wait_s))
        for bucket in buckets:
            bucket.level = max(0.0, bucket.level - 1)
        return None

    def _refuse(self, chat: int, method: str, wait_s: float, first_s: float) -> float:
        now = self.clock.now()
        self._blocks[chat] = _Block(now + wait_s, wait_s, first_s)
        self.log.append(Excess(now, chat, method, wait_s))
        return wait_s

    def _bucket(self, key: int | Literal["all"], now: float) -> _Bucket:
        if key not in self._buckets:
            rate, size = (30, 30) if key == "all" else (1, 3) if int(key) > 0 else (20 / 60, 20)
            self._buckets[key] = _Bucket(rate / self.clock.scale, size, size, now)
        return self._buckets[key]
