"""Streams as lines and JSON values, for engines that read them themselves."""

import itertools

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteReceiveStream
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.engines import streams
from takopi.engines.streams import drain_stderr, iter_bytes_lines, iter_jsonl
from takopi.lines import LineSplitter
from tests.support.python_engine import Records

pytestmark = pytest.mark.anyio


class Chunks(ByteReceiveStream):
    """Gives these chunks, then the end or an error."""

    def __init__(self, *chunks, error=anyio.EndOfStream):
        self.chunks = list(chunks)
        self.error = error

    async def receive(self, max_bytes=65536):
        await anyio.lowlevel.checkpoint()
        if not self.chunks:
            raise self.error
        return self.chunks.pop(0)

    async def aclose(self):
        raise AssertionError("not ours to close")


async def listed(iterator):
    return [item async for item in iterator]


@given(
    data=st.binary(max_size=60).map(lambda b: b.replace(b"0", b"\n")),
    cuts=st.lists(st.integers(0, 60)),
)
@settings(deadline=None, max_examples=80)
def test_any_chunking_gives_the_same_lines(data, cuts):
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[a:b] for a, b in itertools.pairwise(places) if a < b]
    lines = anyio.run(listed, iter_bytes_lines(Chunks(*chunks)))
    *ended, rest = data.split(b"\n")
    assert lines == ended + ([rest] if rest else [])


async def test_c2_the_last_line_needs_no_newline():
    assert await listed(iter_bytes_lines(Chunks(b"a\nb", b"c"))) == [b"a", b"bc"]


async def test_a_line_too_long_for_memory_is_empty(monkeypatch):
    monkeypatch.setattr(streams, "LineSplitter", lambda: LineSplitter(4))
    assert await listed(iter_bytes_lines(Chunks(b"abc\nabc", b"defg\nx\n"))) == [b"abc", b"", b"x"]


async def test_json_values_are_given_and_the_rest_is_logged():
    log = Records()
    chunks = [b'{"a": 1}\n\n  \r\nno', b' json\n[1]\nnull\n"\\ud83d"\n', b"[" * 100_000, b"\n2"]
    values = await listed(iter_jsonl(Chunks(*chunks), logger=log, tag="acme"))
    assert values == [{"a": 1}, [1], None, "\ud83d", 2]
    bad = log.named("jsonl.parse.invalid")
    assert [(found["tag"], found["line"][:7]) for found in bad] == [
        ("acme", b"no json"),
        ("acme", b"[" * 7),
    ]


async def test_json_values_need_no_logger_of_their_own():
    assert await listed(iter_jsonl(Chunks(b"oops\n1"))) == [1]


async def test_stderr_is_logged_line_by_line():
    log = Records()
    await drain_stderr(Chunks(b"one\ntw\xff", b"o"), log, "acme")
    assert log.lines == [
        ("debug", "subprocess.stderr", {"tag": "acme", "line": "one"}),
        ("debug", "subprocess.stderr", {"tag": "acme", "line": "tw\ufffdo"}),
    ]


async def test_a_broken_stderr_is_logged_too():
    log = Records()
    await drain_stderr(Chunks(b"one\n", error=anyio.BrokenResourceError("gone")), log, "acme")
    assert log.named("subprocess.stderr") == [{"tag": "acme", "line": "one"}]
    assert log.named("subprocess.stderr.error") == [{"tag": "acme", "error": "gone"}]
