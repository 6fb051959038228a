"""Bytes in any chunks to lines: no I/O, no decoding, memory bounded by the longest line allowed.

Only ``\\n`` ends a line. U+2028 and its like occur inside JSON strings, and a ``\\r`` before the
``\\n`` is left for the caller to strip.
"""

from __future__ import annotations

import io
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

MAX_LINE_BYTES = 64 * 1024 * 1024

_BATCH_BYTES = 960 * 1024  # and one more chunk: about 1 MB
_BATCH_LINES = 4096


@dataclass(frozen=True, slots=True)
class Oversized:
    """Stands for a line that was longer than the cap and was skipped whole."""

    size_bytes: int


Line: TypeAlias = bytes | Oversized


class LineSplitter:
    """Complete lines, in order, without their ``\\n``; the same lines for every chunking.

    Holds the unfinished line and nothing else: never more than ``max_line_bytes``, because a line
    that grows beyond it is let go at once and only counted from then on.
    """

    __slots__ = ("_max_line_bytes", "_size", "_start")

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._reset()

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that end in ``chunk``."""
        *ended, rest = chunk.split(b"\n")
        if not ended:
            self._extend(rest)
            return []
        self._extend(ended[0])
        lines: list[Line] = [self._end_line()]
        if len(chunk) <= self._max_line_bytes:
            lines += ended[1:]
        else:
            lines += [self._capped(line) for line in ended[1:]]
        self._extend(rest)
        return lines

    def flush(self) -> list[Line]:
        """The last line of a stream that does not end with ``\\n``; empty if there is none."""
        return [self._end_line()] if self._size else []

    def _reset(self) -> None:
        # A BytesIO gives its buffer away without a copy, so a long line is in memory once.
        self._start = io.BytesIO()
        self._size = 0

    def _extend(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._max_line_bytes:
            self._start.write(piece)
        else:
            self._start = io.BytesIO()

    def _end_line(self) -> Line:
        size, line = self._size, self._start.getvalue()
        self._reset()
        return line if size <= self._max_line_bytes else Oversized(size)

    def _capped(self, line: bytes) -> Line:
        return line if len(line) <= self._max_line_bytes else Oversized(len(line))


class LineQueue:
    """Lines between one that reads and one that takes batches of them.

    The reader stops while it is ``full``; that and the cap per line bound what it holds.
    """

    __slots__ = ("_lines", "_queued_bytes", "_splitter", "_unfinished_bytes")

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._splitter = LineSplitter(max_line_bytes)
        self._lines: list[Line] = []
        self._queued_bytes = 0
        self._unfinished_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    @property
    def full(self) -> bool:
        """Holds a whole batch: at least 4,096 lines or about 1 MB."""
        return self._queued_bytes >= _BATCH_BYTES or len(self._lines) >= _BATCH_LINES

    def feed(self, chunk: bytes) -> None:
        """Add what was read."""
        lines = self._splitter.feed(chunk)
        self._unfinished_bytes += len(chunk)
        if lines:
            self._lines += lines
            self._queued_bytes += self._unfinished_bytes
            self._unfinished_bytes = 0

    def flush(self) -> None:
        """The stream is over: an unfinished line is a line too."""
        self._lines += self._splitter.flush()

    def take(self) -> list[Line]:
        """The oldest lines, at most 4,096 of them; empty if there are none."""
        if len(self._lines) > _BATCH_LINES:  # one chunk may be 65,536 empty lines
            batch = self._lines[:_BATCH_LINES]
            del self._lines[:_BATCH_LINES]
            return batch
        batch, self._lines = self._lines, []
        self._queued_bytes = 0
        return batch

    def clear(self) -> None:
        """Forget everything, the unfinished line too."""
        self._splitter.flush()
        self._lines = []
        self._queued_bytes = self._unfinished_bytes = 0


class LineTail:
    """The last ``max_lines`` lines that nobody has taken yet; longer lines are cut, not skipped.

    For a stream that must be read whatever happens and of which only the end is of interest.
    """

    __slots__ = ("_lines", "_max_line_bytes", "_start")

    def __init__(self, max_lines: int = 200, max_line_bytes: int = 16 * 1024) -> None:
        self._lines: deque[bytes] = deque(maxlen=max_lines)
        self._max_line_bytes = max_line_bytes
        self._start = b""

    def __bool__(self) -> bool:
        return bool(self._lines)

    def feed(self, chunk: bytes) -> None:
        """Add what was read."""
        *ended, rest = (self._start + chunk).split(b"\n")
        self._lines.extend(line[: self._max_line_bytes] for line in ended)
        self._start = rest[: self._max_line_bytes]

    def flush(self) -> None:
        """The stream is over: an unfinished line is a line too."""
        if self._start:
            self._lines.append(self._start)
            self._start = b""

    def take(self) -> list[bytes]:
        """The complete lines since the last call, oldest first."""
        lines = list(self._lines)
        self._lines.clear()
        return lines
