"""Lines out of chunks: nothing lost, nothing kept, whatever the chunking."""

import time
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from takopi.lines import LineQueue, LineSplitter, LineTail, Oversized

CAP = 8
# Many newlines, few other bytes, and lines on both sides of the cap.
STREAMS = st.lists(st.sampled_from([b"\n", b"\r", b"a", b"\xe2\x80\xa8", b"1234567", b"12345678"]))


def chunked(stream, cuts):
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def split(chunks, cap=CAP):
    splitter = LineSplitter(cap)
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.flush()


def expected(stream, cap=CAP):
    lines = stream.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line if len(line) <= cap else Oversized(len(line)) for line in lines]


@given(STREAMS.map(b"".join), st.lists(st.integers(min_value=0, max_value=500)))
def test_any_chunking_gives_the_same_lines(stream, cuts):
    assert split(chunked(stream, cuts)) == expected(stream)


@given(STREAMS.map(b"".join), st.lists(st.integers(min_value=0, max_value=500)))
def test_any_chunking_gives_the_same_tail(stream, cuts):
    tail = LineTail(max_lines=3, max_line_bytes=CAP)
    for chunk in chunked(stream, cuts):
        tail.feed(chunk)
    tail.flush()
    lines = stream.split(b"\n")
    if not lines[-1]:
        lines.pop()
    assert tail.take() == [line[:CAP] for line in lines[-3:]]


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a\r\n"], [b"a\r"]),
        ([b"\n\n"], [b"", b""]),
        ([b"a\xe2\x80\xa8b\x0c\x85\n"], [b"a\xe2\x80\xa8b\x0c\x85"]),
        ([b"tail"], [b"tail"]),
        ([b"12345678\n"], [b"12345678"]),
        ([b"123456789\nok\n"], [Oversized(9), b"ok"]),
        ([b"1234", b"56789", b"", b"0123", b"4\nok"], [Oversized(14), b"ok"]),
        ([b"ok\n123456789"], [b"ok", Oversized(9)]),
        ([], []),
    ],
)
def test_lines_end_at_newlines_only_and_long_ones_are_counted(chunks, lines):
    assert split(chunks) == lines


def test_flush_gives_the_last_line_once():
    splitter = LineSplitter()
    assert splitter.feed(b"a\nb") == [b"a"]
    assert splitter.flush() == [b"b"]
    assert splitter.flush() == []


def test_a_long_line_costs_linear_time():
    chunk = b"x" * 65536
    splitter = LineSplitter(200 * len(chunk) * 8)
    started = time.process_time()
    for _ in range(200 * 8):
        splitter.feed(chunk)
    (line,) = splitter.feed(b"\n")
    assert len(line) == 200 * 8 * len(chunk)
    assert time.process_time() - started < 3  # joining anew for every chunk copies 80 GB


def test_a_line_over_the_cap_is_not_held():
    megabyte = 1024 * 1024
    chunk = b"x" * 65536
    splitter = LineSplitter(megabyte)
    tracemalloc.start()
    try:
        for _ in range(20 * megabyte // len(chunk)):
            splitter.feed(chunk)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.3 * megabyte
    assert held < len(chunk)
    assert splitter.feed(b"\nok\n") == [Oversized(20 * megabyte), b"ok"]


def test_the_queue_is_full_after_a_megabyte_or_4096_lines_and_gives_batches():
    queue = LineQueue()
    queue.feed(b"x" * 2_000_000)
    assert not queue.full  # one unfinished line: only the cap bounds it
    assert not queue
    queue.feed(b"\n")
    assert queue.full
    assert queue.take() == [b"x" * 2_000_000]
    assert not queue.full

    queue.feed(b"\n" * 4095)
    assert not queue.full
    queue.feed(b"\n" * 4098)
    assert queue.full
    assert [len(queue.take()) for _ in range(3)] == [4096, 4096, 1]
    assert queue.take() == []

    queue.feed(b"a\nb")
    queue.clear()
    queue.feed(b"c\n")
    assert queue.take() == [b"c"]


def test_the_tail_keeps_the_last_lines_between_takes():
    tail = LineTail(max_lines=2, max_line_bytes=3)
    tail.feed(b"one\ntwo\nthree\nfo")
    assert tail.take() == [b"two", b"thr"]
    assert not tail
    tail.feed(b"ur and more")
    assert tail.take() == []
    tail.flush()
    assert tail.take() == [b"fou"]
