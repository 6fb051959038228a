"""The configuration file: reading, atomic writing, what survives; older shapes of it."""

import errno
import logging
import os
import stat
import tempfile
import threading
from pathlib import Path

import pytest

from takopi.config import (
    ConfigError,
    dump_toml,
    ensure_table,
    load_config,
    load_or_init_config,
    open_document,
    read_config,
    write_config,
)
from takopi.config.migrations import migrate
from takopi.diagnostics import render_text
from tests.support.config import message_of

COMMENTED = """\
# mine
default_engine = "codex"   # the best

# the bot
[transports.telegram] # here
bot_token = "1:abc"  # secret
chat_id = -100 # main
allowed_user_ids = [
  1, # me
]

[projects.Foo] # foo
path = "~/foo" # home

[codex]
env = { A = "1", B = "2" } # variables
[unknown.section]
x = 1979-05-27T07:32:00Z # untouched
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "takopi.toml"


def test_reading(path):
    path.write_text(COMMENTED)
    data = read_config(path)
    assert type(data) is dict
    assert type(data["transports"]["telegram"]) is dict
    assert data["transports"]["telegram"]["chat_id"] == -100


def test_errors_of_reading(path, tmp_path):
    assert message_of(read_config, path) == f"Missing config file {path}."
    assert message_of(read_config, tmp_path) == (
        f"Config path {tmp_path} exists but is not a file."
    )
    path.write_bytes(b"a = '\xff'")
    assert message_of(read_config, path).startswith(f"Failed to read config file {path}: ")
    path.write_text("a = 1\nb = \n")
    assert message_of(read_config, path) == (
        f"Malformed TOML in {path}: Invalid value (at line 2, column 5)"
    )


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 100_000, "a = " + "9" * 5000, *(f"a = {'[' * n}{']' * n}" for n in (150, 400))],
)
def test_a_file_that_is_beyond_measure(path, text):
    path.write_text(text)
    assert message_of(read_config, path).startswith(f"Malformed TOML in {path}: ")
    assert message_of(open_document, path).startswith(f"Malformed TOML in {path}: ")


def test_s6_malformed_toml_shows_its_line(path):
    path.write_text("[codex]\r\nprofile = x\r\n")
    with pytest.raises(ConfigError) as error:
        read_config(path)
    (found,) = error.value.diagnostics
    assert (found.code, found.span.line, found.span.column) == ("syntax", 2, 11)
    assert "profile = x" in render_text(found)


@pytest.mark.parametrize(
    "text",
    [
        'bot_token = "1:SECRETvalue',
        "bot_token = 123:SECRETvalue",
        "telegram = {'voice_api_key' = SECRETvalue}",
        "x = [123:SECRETvalue]",
        'password = """a\nSECRETvalue = = \n',
        'secrets = [\n "a",\n SECRETvalue,\n]',
        '[acme.env]\nOPENAI_API_KEY = SECRETvalue"\n',
    ],
)
def test_s6_malformed_toml_shows_no_secret(path, text):
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_config(path)
    shown = str(error.value) + "".join(map(render_text, error.value.diagnostics))
    assert "SECRETvalue" not in shown
    assert "line" in shown or "end of document" in shown


def test_load_or_init(path):
    assert load_or_init_config(path) == ({}, path)
    path.write_text("a = 1")
    assert load_or_init_config(path) == ({"a": 1}, path)


@pytest.mark.parametrize(
    "value", [None, object(), {1: 2}, [None], {"a": {"b": {1}}}, Path("x"), "\ud800", {"\ud800": 1}]
)
def test_what_toml_cannot_hold_is_refused_and_the_file_stays(path, value):
    path.write_text(COMMENTED)
    assert message_of(dump_toml, {"a": value}).startswith("Unsupported config value: ")
    assert message_of(write_config, {"a": value}, path).startswith("Unsupported config value: ")
    assert path.read_text() == COMMENTED


def test_a_written_file_is_private_and_alone(tmp_path):
    path = tmp_path / "new" / "folder" / "takopi.toml"
    write_config({"a": {"b": [1, "x"]}}, path)
    assert read_config(path) == {"a": {"b": [1, "x"]}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    write_config({"a": 1}, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["takopi.toml"]


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(path, monkeypatch):
    path.write_text(COMMENTED)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert message_of(write_config, {"a": 1}, path) == (
        f"Failed to write config file {path}: No space left on device"
    )
    assert path.read_text() == COMMENTED
    assert os.listdir(path.parent) == ["takopi.toml"]


def test_a_path_that_cannot_be_written(path, tmp_path):
    assert message_of(write_config, {}, tmp_path) == (
        f"Config path {tmp_path} exists but is not a file."
    )
    path.write_text("")
    below = path / "takopi.toml"
    assert message_of(write_config, {}, below).startswith(f"Failed to write config file {below}: ")
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    assert message_of(write_config, {}, loop).startswith(f"Failed to write config file {loop}: ")
    assert loop.is_symlink()


def test_s7_comments_survive_a_rewrite(path):
    path.write_text(COMMENTED)
    data = read_config(path)
    data["transports"]["telegram"]["chat_id"] = -200
    data["watch_config"] = True
    data["codex"]["env"]["A"] = "9"
    data["projects"]["Bar"] = {"path": "/bar"}
    write_config(data, path)
    assert read_config(path) == data
    after = path.read_text().splitlines()
    expected = COMMENTED.replace("chat_id = -100 #", "chat_id = -200 #").replace(
        'A = "1"', 'A = "9"'
    )
    assert set(expected.splitlines()) <= set(after)
    assert set(after) - set(expected.splitlines()) == {
        "watch_config = true",
        "[projects.Bar]",
        'path = "/bar"',
    }


def test_s7_a_rewrite_without_a_change_changes_nothing(path):
    path.write_text(COMMENTED)
    write_config(read_config(path), path)
    assert path.read_text() == COMMENTED


def test_s7_a_document_is_written_as_it_is(path):
    path.write_text(COMMENTED)
    made = open_document(path)
    made["codex"]["env"]["A"] = "9"
    write_config(made, path)
    assert path.read_text() == COMMENTED.replace('A = "1"', 'A = "9"')


def test_s7_windows_line_ends_stay(path):
    path.write_bytes(b"a = 1 # one\r\nb = 2\r\n")
    write_config({"a": 3, "b": 2}, path)
    assert path.read_bytes().startswith(b"a = 3 # one\r\nb = 2")


def test_s7_a_link_is_written_through(path, tmp_path):
    target = tmp_path / "dotfiles" / "real.toml"
    target.parent.mkdir()
    target.write_text(COMMENTED)
    path.symlink_to("dotfiles/real.toml")
    data = read_config(path)
    data["default_engine"] = "acme"
    write_config(data, path)
    assert path.is_symlink()
    assert target.read_text() == COMMENTED.replace('"codex"', '"acme"')
    assert os.listdir(target.parent) == ["real.toml"]


def test_what_cannot_be_changed_in_place_is_written_anew(path, caplog, monkeypatch):
    import tomlkit

    path.write_text(COMMENTED)

    def fail(text):
        raise KeyError(text)

    monkeypatch.setattr(tomlkit, "parse", fail)
    write_config({"a": 1}, path)
    assert read_config(path) == {"a": 1}
    assert "comments are lost" in caplog.text


def test_a_file_that_is_no_toml_is_kept_when_it_is_replaced(path, caplog):
    path.write_text("[projects.Foo\npath = '/foo'\n")
    write_config({"a": 1}, path)
    assert path.read_text() == "a = 1\n"
    assert (path.parent / "takopi.toml.bak").read_text() == "[projects.Foo\npath = '/foo'\n"
    assert "takopi.toml.bak" in caplog.text


def test_concurrent_writers_leave_one_of_their_files(path):
    def write(number):
        for _ in range(5):
            write_config({"n": number, "text": [str(number)] * 500}, path)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    seen = 0
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            data = read_config(path)
            assert data["text"] == [str(data["n"])] * 500
            seen += 1
    for thread in threads:
        thread.join()
    assert seen
    assert os.listdir(path.parent) == ["takopi.toml"]


def test_tables_are_made_and_found(path):
    data = {"a": {"b": 1}, "c": 2}
    assert ensure_table(data, "a", config_path=path) is data["a"]
    assert ensure_table(data, "new", config_path=path) is data["new"]
    assert message_of(ensure_table, data, "c", config_path=path) == (
        f"Invalid `c` in {path}; expected a table."
    )
    assert message_of(ensure_table, data, "c", config_path=path, label="x.c") == (
        f"Invalid `x.c` in {path}; expected a table."
    )


# Migrations

OLD = """\
# bot
bot_token = "1:abc" # secret
chat_id = -100 # main

[codex] # engine
profile = "x"
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {}),
        (
            {"bot_token": "t"},
            {"transport": "telegram", "transports": {"telegram": {"bot_token": "t"}}},
        ),
        (
            {"chat_id": 1, "transport": "x", "transports": {"telegram": {"chat_id": 2, "a": 1}}},
            {"transport": "x", "transports": {"telegram": {"chat_id": 2, "a": 1}}},
        ),
    ]
    + [
        (
            {"transports": {"telegram": {"topics": {"mode": mode, **more}}}},
            {"transports": {"telegram": {"topics": {"scope": scope}}}},
        )
        for mode, more, scope in [
            ("multi_project_chat", {}, "main"),
            ("per_project_chat", {}, "projects"),
            ("per_project_chat", {"scope": "all"}, "all"),
        ]
    ],
)
def test_migrations(before, after, path):
    done = migrate(before, path)
    assert before == after
    assert bool(done) == (after != {})
    assert migrate(before, path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bot_token = 't'\ntransports = 1", "Invalid `transports` in {p}; expected a table."),
        (
            "chat_id = 1\ntransports.telegram = 1",
            "Invalid `transports.telegram` in {p}; expected a table.",
        ),
        ("transports = 1", "Invalid `transports` in {p}; expected a table."),
        (
            "transports.telegram.topics = 1",
            "Invalid `transports.telegram.topics` in {p}; expected a table.",
        ),
        (
            "transports.telegram.topics.mode = 1",
            "Invalid `transports.telegram.topics.mode` in {p}; expected a string.",
        ),
        (
            "transports.telegram.topics.mode = 'x'",
            "Invalid `transports.telegram.topics.mode` in {p}; "
            "expected 'multi_project_chat' or 'per_project_chat'.",
        ),
    ],
)
def test_what_cannot_be_migrated(path, text, message):
    path.write_text(text)
    assert message_of(load_config, path) == message.format(p=path)
    assert path.read_text() == text


def test_s7_a_migration_takes_the_comments_along(path, caplog):
    path.write_text(OLD)
    with caplog.at_level(logging.INFO, "takopi.config"):
        config = load_config(path)
    assert config.data == read_config(path)
    assert config.settings.transports.telegram.chat_id == -100
    assert "config.migrated legacy-telegram" in caplog.text
    text = path.read_text()
    for comment in ("# bot", "# secret", "# main", "# engine"):
        assert comment in text
    caplog.clear()
    load_config(path)
    assert caplog.text == ""
    assert path.read_text() == text


def test_a_file_that_cannot_be_rewritten_is_used_all_the_same(path, caplog, monkeypatch):
    path.write_text(OLD)

    def refuse(*args, **keywords):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    assert load_config(path).settings.transports.telegram.chat_id == -100
    assert "Read-only file system" in caplog.text
    assert path.read_text() == OLD
