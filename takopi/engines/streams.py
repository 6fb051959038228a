"""Output of engines as lines: for the runners here, and for plugins that read streams of their own."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import ByteReceiveStream

from takopi.adapters.decode import REFUSED, decode_fast
from takopi.engines.process import Process
from takopi.lines import Line, LineSplitter, Oversized
from takopi.logs import get_logger, log_pipeline

logger = get_logger(__name__)

# How long lines may be handed out before other tasks get a turn.
_TURN_S = 0.004


class ProcessOutput(ByteReceiveStream):
    """The stdout of a run's process: `lines`, or bytes for whoever wants to split them himself.

    Every line of the bytes ends with ``\\n``, the last one too. A line that was too long to keep is an
    empty one here, and its size is in ``oversized``. stderr goes to ``on_stderr``, line by line.
    """

    def __init__(self, process: Process, on_stderr: Callable[[bytes], None]) -> None:
        self.oversized: list[int] = []
        self._process = process
        self._on_stderr = on_stderr
        self._lines: deque[Line] = deque()  # read but not given
        self._bytes = memoryview(b"")  # of lines given as bytes
        self._all_read = False
        self._deadline: float | None = None
        self._closed = False

    async def lines(self) -> AsyncIterator[bytes]:
        """The lines without ``\\n``; other tasks get a turn all along."""
        ends = time.monotonic() + _TURN_S
        while await self._wait():
            while self._lines:
                yield self._next()
                if time.monotonic() >= ends:
                    await anyio.lowlevel.checkpoint()
                    ends = time.monotonic() + _TURN_S

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """The next bytes; raises `anyio.EndOfStream`, or `anyio.ClosedResourceError`."""
        if not self._bytes:
            if not await self._wait():
                raise anyio.EndOfStream
            # An oversized line begins a new piece: its note comes after what was before it.
            lines = [self._next()]
            while self._lines and not isinstance(self._lines[0], Oversized):
                lines.append(self._next())
            self._bytes = memoryview(b"\n".join([*lines, b""]))
        given, self._bytes = self._bytes[:max_bytes], self._bytes[max_bytes:]
        return bytes(given)

    async def aclose(self) -> None:
        """Give nothing from now on. The process notices nothing: the rest is read all the same."""
        self._closed = True

    def end_within(self, seconds: float) -> None:
        """Let the process go on for ``seconds`` only; then reading ends its whole tree."""
        self._deadline = anyio.current_time() + seconds

    async def drain(self) -> int:
        """Read to the end and keep nothing; gives the number of lines dropped, blank ones not counted."""
        dropped = 0
        while await self._fill():
            dropped += sum(1 for line in self._lines if isinstance(line, Oversized) or line.strip())
            self._lines.clear()
        return dropped

    def _next(self) -> bytes:
        line = self._lines.popleft()
        if isinstance(line, Oversized):
            self.oversized.append(line.size_bytes)
            return b""
        return line

    async def _wait(self) -> bool:
        if self._closed:
            raise anyio.ClosedResourceError
        return await self._fill()

    async def _fill(self) -> bool:
        """Wait until there are lines; False: there will be none any more."""
        while not (self._lines or self._all_read):
            batch = await self._process.read(self._left_s())
            for raw in batch.stderr:
                self._on_stderr(raw)
            self._lines.extend(batch.stdout)
            self._all_read = batch.ended
            if self._left_s() == 0 and self._process.returncode is None:
                await self._process.stop()
        return bool(self._lines)

    def _left_s(self) -> float | None:
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - anyio.current_time())


# -- for plugins ----------------------------------------------------------------------------------


def iter_bytes_lines(stream: ByteReceiveStream) -> AsyncIterator[bytes]:
    """The lines of a stream as they were written, without ``\\n``; the last one needs none.

    A line too long for memory (64 MiB) is empty.
    """
    return stream.lines() if isinstance(stream, ProcessOutput) else _split(stream)


async def _split(stream: ByteReceiveStream) -> AsyncIterator[bytes]:
    splitter = LineSplitter()
    async for chunk in stream:
        for line in splitter.feed(chunk):
            yield _kept(line)
    for line in splitter.flush():
        yield _kept(line)


def _kept(line: Line) -> bytes:
    if isinstance(line, Oversized):
        logger.warning("stream.line.oversized", bytes=line.size_bytes)
        return b""
    return line


async def iter_jsonl(
    stream: ByteReceiveStream, *, logger: Any = logger, tag: str = "jsonl"
) -> AsyncIterator[Any]:
    """The JSON values of a stream; blank lines and what is not JSON are skipped, the latter logged."""
    async for raw in iter_bytes_lines(stream):
        line = raw.strip()
        if not line:
            continue
        try:
            value = decode_json(line)
        except (ValueError, RecursionError) as error:
            log_pipeline(logger, "jsonl.parse.invalid", tag=tag, line=line, error=str(error))
        else:
            yield value


async def drain_stderr(stream: ByteReceiveStream, logger: Any, tag: str) -> None:
    """Read a stream to its end and log its lines; never raises."""
    try:
        async for raw in iter_bytes_lines(stream):
            log_pipeline(logger, "subprocess.stderr", tag=tag, line=raw.decode("utf-8", "replace"))
    except Exception as error:
        log_pipeline(logger, "subprocess.stderr.error", tag=tag, error=str(error))


def decode_json(line: bytes) -> Any:
    """A JSON value; invalid UTF-8 is replaced. Raises ValueError, and RecursionError if too deep."""
    try:
        return decode_fast(line)
    except REFUSED:  # also for lone surrogates and NaN, which the slow decoder takes
        return json.loads(line.decode("utf-8-sig", "replace"))
