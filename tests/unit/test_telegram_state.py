"""State files: what others do to them is seen, what cannot be read is kept, and runs leave a trace."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from takopi.logs import get_logger
from takopi.telegram.mentions import effective_mode
from takopi.telegram.open_runs import FILE_NAME, OpenRun, OpenRuns
from takopi.telegram.state_store import JsonStateStore

pytestmark = pytest.mark.anyio


# -- a store as a plugin writes it -------------------------------------------------------------


class Prefs(msgspec.Struct):
    model: str | None = None
    tags: list[str] = msgspec.field(default_factory=list)


class PrefsState(msgspec.Struct):
    version: int = 1
    chats: dict[str, Prefs] = msgspec.field(default_factory=dict)


class PrefsStore(JsonStateStore[PrefsState]):
    def __init__(self, path, version=1):
        super().__init__(
            path,
            version=version,
            state_type=PrefsState,
            state_factory=PrefsState,
            log_prefix="acme.prefs",
            logger=get_logger("acme"),
        )

    async def get(self, chat):
        async with self._lock:
            self._reload_locked_if_needed()
            return self._state.chats.get(chat)

    async def set(self, chat, **fields):
        async with self._lock:
            self._reload_locked_if_needed()
            self._state.chats[chat] = Prefs(**fields)
            self._save_locked()

    async def add_tag(self, chat, tag):
        async with self._lock:
            self._reload_locked_if_needed()
            prefs = self._state.chats.setdefault(chat, Prefs())
            await anyio.lowlevel.checkpoint()  # somebody else may try meanwhile
            prefs.tags.append(tag)
            self._save_locked()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "takopi" / "state.json"


@pytest.fixture
def written(path):
    """Write the file as somebody else would."""

    def write(data):
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        temporary.replace(path)

    return write


def kept(path):
    """What was put aside."""
    return sorted(path.parent.glob(f"{path.name}.bad-*"))


async def test_what_is_saved_is_read_by_the_next_process(path):
    await PrefsStore(path).set("1", model="m")
    assert await PrefsStore(path).get("1") == Prefs("m")
    assert await PrefsStore(path).get("2") is None


async def test_the_file_has_sorted_keys_two_blanks_and_a_final_newline(path):
    await PrefsStore(path).set("1", model="ü")
    text = path.read_text(encoding="utf-8")
    assert text == (
        '{\n  "chats": {\n    "1": {\n      "model": "\\u00fc",\n      "tags": []\n    }\n  },\n'
        '  "version": 1\n}\n'
    )
    assert os.listdir(path.parent) == ["state.json"]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_missing_file_is_an_empty_state_and_is_not_made_by_reading(path):
    assert await PrefsStore(path).get("1") is None
    assert not path.exists()


async def test_an_edit_from_outside_is_seen_and_not_overwritten(path, written):
    store = PrefsStore(path)
    await store.set("1", model="old")
    written({"version": 1, "chats": {"1": {"model": "new"}, "2": {"model": "other"}}})
    assert await store.get("1") == Prefs("new")
    written({"version": 1, "chats": {"2": {"model": "third"}}})
    await store.set("1", model="mine")
    assert await PrefsStore(path).get("2") == Prefs("third")


async def test_a_deleted_file_is_an_empty_state(path):
    store = PrefsStore(path)
    await store.set("1", model="m")
    path.unlink()
    assert await store.get("1") is None
    await store.set("2", model="n")
    assert json.loads(path.read_text())["chats"].keys() == {"2"}


async def test_a_file_that_did_not_change_is_not_read_again(path, monkeypatch):
    store = PrefsStore(path)
    await store.set("1", model="m")
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("read"))
    assert await store.get("1") == Prefs("m")


async def test_unknown_fields_are_ignored_and_a_byte_order_mark_too(path, written):
    text = json.dumps({"version": 1, "chats": {"1": {"model": "m", "color": "red"}}, "x": 1})
    written(b"\xef\xbb\xbf" + text.encode())
    assert await PrefsStore(path).get("1") == Prefs("m")
    assert kept(path) == []


async def test_changes_made_at_the_same_time_are_all_kept(path):
    store = PrefsStore(path)
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(store.add_tag, "1", str(number))
    found = await PrefsStore(path).get("1")
    assert sorted(found.tags, key=int) == [str(number) for number in range(20)]


async def test_a_link_stays_a_link(path, tmp_path):
    path.parent.mkdir()
    path.symlink_to(tmp_path / "dotfiles.json")
    await PrefsStore(path).set("1", model="m")
    assert path.is_symlink()
    assert await PrefsStore(path).get("1") == Prefs("m")


async def test_a_store_may_be_made_outside_of_an_event_loop(path):
    store = await anyio.to_thread.run_sync(PrefsStore, path)
    await store.set("1", model="m")
    assert await store.get("1") == Prefs("m")


BAD = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[]",
    b"null",
    b'{"version": 1, "chats": []}',
    b'{"version": 1, "chats": {"1": {"model": 5}}}',
    b'{"version": 99, "chats": {}}',
    b'{"version": "1", "chats": {}}',
    b'{"version": true, "chats": {}}',
    b'{"version": null, "chats": {}}',
    b"[" * 100_000,
    b'{"version": 1, "chats": ' + b'{"1":' * 100_000,
    b'{"version": ' + b"1" * 5000 + b"}",
]


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
async def test_f02_what_cannot_be_read_is_put_aside_and_never_overwritten(data, path, written):
    written(data)
    store = PrefsStore(path)
    before = int(time.time())
    assert await store.get("1") is None
    (aside,) = kept(path)
    assert aside.read_bytes() == data
    assert before <= int(re.fullmatch(r"state\.json\.bad-(\d+)", aside.name)[1]) <= time.time() + 1
    await store.set("1", model="m")
    assert await PrefsStore(path).get("1") == Prefs("m")
    assert kept(path) == [aside]


async def test_f02_the_new_name_is_logged_and_nothing_of_the_content(path, written, caplog):
    written({"version": 1, "chats": {"1": {"model": ["my secret"]}}})
    await PrefsStore(path).get("1")
    (record,) = caplog.records
    assert record.getMessage().startswith("acme.prefs.unreadable")
    assert f"kept_as={kept(path)[0]}" in record.getMessage()
    assert "$.chats[...].model" in record.getMessage()
    assert "my secret" not in caplog.text


async def test_f02_two_bad_files_in_one_second_are_both_kept(path, written):
    store = PrefsStore(path)
    for data in (b"first", b"second", b"third"):
        written(data)
        assert await store.get("1") is None
    assert {aside.read_bytes() for aside in kept(path)} == {b"first", b"second", b"third"}


async def test_f02_a_file_that_goes_bad_while_we_run_is_put_aside_before_the_next_save(
    path, written
):
    store = PrefsStore(path)
    await store.set("1", model="m")
    written(b"oops")
    await store.set("2", model="n")
    assert [aside.read_bytes() for aside in kept(path)] == [b"oops"]
    assert json.loads(path.read_text())["chats"].keys() == {"2"}


async def test_f02_what_cannot_be_put_aside_is_not_overwritten_either(path, written, monkeypatch):
    written(b"oops")
    store = PrefsStore(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        for _ in range(2):
            with pytest.raises(PermissionError):
                await store.set("1", model="m")
    assert path.read_bytes() == b"oops"
    await store.set("1", model="m")
    assert [aside.read_bytes() for aside in kept(path)] == [b"oops"]


async def test_a_file_we_may_not_read_is_not_overwritten(path, written, monkeypatch):
    written({"version": 1, "chats": {"1": {"model": "m"}}})
    store = PrefsStore(path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(PermissionError):
            await store.set("2", model="n")
    assert await store.get("1") == Prefs("m")


def refuse(*_):
    raise PermissionError(13, "no")


TEXT = st.text(st.characters(codec=None), max_size=8)  # half characters too


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(TEXT, st.tuples(TEXT | st.none(), st.lists(TEXT, max_size=2)), max_size=3))
def test_whatever_is_stored_comes_back(tmp_path, chats):
    path = tmp_path / "state.json"

    async def store_and_read():
        for chat, (model, tags) in chats.items():
            await PrefsStore(path).set(chat, model=model, tags=tags)
        for chat, (model, tags) in chats.items():
            assert await PrefsStore(path).get(chat) == Prefs(model, tags)

    anyio.run(store_and_read)
    assert kept(path) == []


# -- older files -------------------------------------------------------------------------------


class Session(msgspec.Struct):
    resume: str
    cwd: str | None = None  # None matches any directory


class SessionsState(msgspec.Struct):
    version: int = 2
    chats: dict[str, Session] = msgspec.field(default_factory=dict)


class SessionsStore(JsonStateStore[SessionsState]):
    def __init__(self, path):
        super().__init__(
            path,
            version=2,
            state_type=SessionsState,
            state_factory=SessionsState,
            log_prefix="sessions",
            logger=get_logger("sessions"),
        )

    def _upgrade(self, data, version):
        return data if version == 1 else None

    async def bind(self, chat, cwd):
        async with self._lock:
            self._reload_locked_if_needed()
            session = self._state.chats[chat]
            session.cwd = session.cwd or cwd
            self._save_locked()
            return session


async def test_f03_a_version_1_file_is_read_and_written_back_as_version_2(path, written):
    written({"version": 1, "chats": {"1:chat": {"resume": "s1"}}})
    assert await SessionsStore(path).bind("1:chat", "/repo") == Session("s1", "/repo")
    assert json.loads(path.read_text()) == {
        "version": 2,
        "chats": {"1:chat": {"resume": "s1", "cwd": "/repo"}},
    }
    assert kept(path) == []


@pytest.mark.parametrize("version", [0, 3, "2"])
async def test_f02_a_version_that_no_upgrade_knows_is_put_aside(path, written, version):
    written({"version": version, "chats": {"1": {"resume": "s1"}}})
    with pytest.raises(KeyError):
        await SessionsStore(path).bind("1", "/repo")
    assert len(kept(path)) == 1


async def test_f04_a_topic_keeps_an_explicit_all(path):
    store = PrefsStore(path)
    await store.set("-100:7", model="all")
    stored = await PrefsStore(path).get("-100:7")
    assert effective_mode(stored.model, "mentions") == "all"


# -- runs in flight ----------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path):
    return tmp_path / "takopi.toml"


def test_what_was_in_flight_is_left_over_for_the_next_process(config):
    runs = OpenRuns(config)
    runs.add(OpenRun(-100, 5, thread_id=7, footer="acme --resume s1"))
    runs.add(OpenRun(42, 6))
    runs.add(OpenRun(42, 8))
    runs.remove(42, 6)
    left = OpenRuns(config).left_over()
    assert sorted(left, key=lambda run: run.message_id) == [
        OpenRun(-100, 5, 7, "acme --resume s1"),
        OpenRun(42, 8),
    ]
    assert json.loads((config.parent / FILE_NAME).read_text()) == {
        "version": 1,
        "runs": {
            "-100:5": {"thread_id": 7, "footer": "acme --resume s1"},
            "42:8": {},
        },
    }


def test_what_is_left_over_stays_until_it_is_removed(config):
    OpenRuns(config).add(OpenRun(42, 5))
    runs = OpenRuns(config)
    assert runs.left_over() == runs.left_over() == [OpenRun(42, 5)]
    runs.remove(42, 5)
    assert OpenRuns(config).left_over() == []


def test_nothing_is_written_when_nothing_changes(config):
    runs = OpenRuns(config)
    runs.remove(42, 5)
    assert runs.left_over() == []
    assert not (config.parent / FILE_NAME).exists()
    runs.add(OpenRun(42, 5))
    before = (config.parent / FILE_NAME).stat().st_ino
    runs.add(OpenRun(42, 5))
    assert (config.parent / FILE_NAME).stat().st_ino == before


def test_a_killed_process_leaves_its_progress_messages_behind(config):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from takopi.telegram.open_runs import OpenRun, OpenRuns\n"
        "runs = OpenRuns(Path(sys.argv[1]))\n"
        "for number in range(5): runs.add(OpenRun(-100, number))\n"
        "runs.remove(-100, 2)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(config)], timeout=30)
    assert done.returncode == -9
    assert {run.message_id for run in OpenRuns(config).left_over()} == {0, 1, 3, 4}


def test_a_full_disk_stops_no_run(config, monkeypatch, caplog):
    runs = OpenRuns(config)
    runs.add(OpenRun(42, 5))
    with monkeypatch.context() as patch:
        patch.setattr("takopi.telegram.state_store.atomic_write_json", refuse)
        runs.add(OpenRun(42, 6))
    assert "open_runs.save_failed" in caplog.text
    runs.add(OpenRun(42, 7))  # what could not be saved is saved with the next one
    assert {run.message_id for run in OpenRuns(config).left_over()} == {5, 6, 7}


def test_a_file_that_cannot_be_read_stops_nobody(config, monkeypatch, caplog):
    OpenRuns(config).add(OpenRun(42, 5))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert OpenRuns(config).left_over() == []
    assert "open_runs.load_failed" in caplog.text
    assert OpenRuns(config).left_over() == [OpenRun(42, 5)]


def test_a_key_that_somebody_else_wrote_is_passed_over(config, caplog):
    entry = {"thread_id": None}
    data = {"version": 1, "runs": {"x:1": entry, "5": entry, "42:5": entry, "": entry}}
    (config.parent / FILE_NAME).write_text(json.dumps(data))
    assert OpenRuns(config).left_over() == [OpenRun(42, 5)]
    assert caplog.text.count("open_runs.bad_key") == 3


def test_f02_a_bad_list_of_runs_is_put_aside(config):
    file = config.parent / FILE_NAME
    file.write_text("oops")
    runs = OpenRuns(config)
    assert runs.left_over() == []
    runs.add(OpenRun(42, 5))
    assert [aside.read_text() for aside in kept(file)] == ["oops"]
