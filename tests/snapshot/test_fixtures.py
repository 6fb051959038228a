"""The fixtures themselves: where they come from, and that nothing of a person's machine is in them."""

from __future__ import annotations

import json

import pytest

from tests.import_recordings import (
    MAX_STRING,
    REDUNDANT,
    case_id,
    import_meta,
    import_stream,
    scrub,
    shorten,
)
from tests.oracle.streams import ENGINES as RECORDED
from tests.oracle.streams import asked_session, recordings
from tests.snapshot.cases import CHECKOUT, FIXTURES, Case, each_case

RECORDINGS = CHECKOUT.parent / "shared" / "recordings"
META = {
    *(
        "cli",
        "package",
        "version",
        "argv",
        "stdin",
        "exit_code",
        "stderr",
        "cwd",
        "resume",
        "notes",
    ),
}


@each_case
def test_a_meta_says_where_the_stream_comes_from(case: Case):
    meta = case.meta
    assert meta.keys() <= META
    assert meta["version"]
    assert meta["argv"][0] == meta["cli"]
    assert isinstance(meta["exit_code"], int)
    assert meta["cwd"].startswith("/home/user/")
    assert (meta["version"] == "documented") == case.name.startswith("doc_")
    assert meta["version"] != "documented" or meta["notes"]
    if case.engine in RECORDED:
        asked = asked_session(case.engine, {k: v for k, v in meta.items() if k != "resume"})
        assert meta.get("resume") == asked


@each_case
def test_a_fixture_tells_nothing_of_the_machine_it_was_recorded_on(case: Case):
    for path in case.folder.iterdir():
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        assert scrub(text) == text


def test_the_fixtures_are_small():
    sizes = {path: path.stat().st_size for path in FIXTURES.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < 5_000_000
    assert max(sizes.values()) < 60_000


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no recordings beside the checkout")
@pytest.mark.parametrize("engine", RECORDED)
def test_importing_again_gives_the_same_files(engine: str):
    names = set()
    for name, stdout, meta in recordings(engine, RECORDINGS):
        if name in REDUNDANT.get(engine, ()):
            continue
        folder = FIXTURES / engine / case_id(name)
        names.add(folder.name)
        assert (folder / "stream.jsonl").read_bytes() == import_stream(stdout), name
        assert (folder / "meta.json").read_text(encoding="utf-8") == import_meta(engine, meta), name
    there = {folder.name for folder in (FIXTURES / engine).iterdir()}
    assert {name for name in there if not name.startswith(("doc_", "own_"))} == names


def test_a_giant_string_is_shortened_the_same_way_everywhere():
    giant = "lorem ipsum " * 10_000
    text = json.dumps({"a": giant, "b": [{"c": giant}], "d": "short"})
    short = json.loads(import_stream(f'{{"n":1}}\n{text}\n'.encode()).split(b"\n")[1])
    assert short["a"] == short["b"][0]["c"]
    assert len(short["a"]) < MAX_STRING
    assert giant.startswith(short["a"][:1000])
    assert giant.endswith(short["a"][-100:])
    assert short["d"] == "short"
    assert shorten(short) == short


def test_what_is_not_giant_stays_byte_for_byte():
    lines = b'{"id":"a", "id":"b"}\nnot json\r\n\n{"u":"\\ud83d \xe2\x80\xa8"}'
    assert import_stream(lines) == lines


@pytest.mark.parametrize(
    "text",
    [
        "/home/alice/project",
        "see /root/",
        "http://10.1.2.3:80/",
        "build-7.internal",
        "key sk-abcdefghijkl",
        "Authorization: Bearer abcdefghij",
        "me@example.com",
    ],
)
def test_what_looks_private_is_refused(text):
    with pytest.raises(ValueError, match="looks private"):
        scrub(text)


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("at /tmp/report.json", "at /home/user/.cache/tmp/report.json"),
        ("/home/user/.gemini/tmp/project", "/home/user/.gemini/tmp/project"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("npm install -g @openai/codex", "npm install -g @openai/codex"),
    ],
)
def test_known_traces_are_replaced(text, scrubbed):
    assert scrub(text) == scrubbed


@pytest.mark.parametrize(
    ("name", "expected"),
    [("v2.0_bash_ok", "v2_0_bash_ok"), ("api-error", "api_error"), ("plain", "plain")],
)
def test_case_ids(name, expected):
    assert case_id(name) == expected
