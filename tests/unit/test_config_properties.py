"""The configuration under arbitrary content: what holds for every file, key and value."""

import copy
import tempfile
import tomllib
from datetime import UTC
from pathlib import Path

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.config import (
    dump_toml,
    load_config,
    read_config,
    validate_settings_data,
    write_config,
)
from takopi.config.environment import overlay, read_variables
from takopi.config.keys import get_value, leaves, parse_value, set_value, unset_value
from takopi.config.migrations import migrate
from takopi.config.positions import locate
from takopi.config.text import literal, same
from takopi.diagnostics import render_text
from takopi.errors import ConfigError

quick = settings(deadline=None, max_examples=60)

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SCALARS = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.datetimes(),
    st.datetimes(timezones=st.sampled_from([UTC])),
    st.dates(),
    st.times(),
)
KEYS = st.one_of(st.sampled_from(["transports", "telegram", "projects", "a", "b"]), TEXT)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
DATA = st.dictionaries(KEYS, VALUES, max_size=5)
BARE = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
HOSTILE = st.sampled_from(
    [
        *("bot_token", "chat_id", "projects", "transports", "telegram", "topics", "mode", "scope"),
        *("plugins", "enabled", "adapters", "paths", "files", "path", "transport", "watch_config"),
    ]
)
HOSTILE_DATA = st.dictionaries(
    HOSTILE,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(HOSTILE, inner, max_size=4),
        max_leaves=10,
    ),
    max_size=5,
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for variable in read_variables():
        monkeypatch.delenv(variable.name)


def error_of(call):
    try:
        call()
    except ConfigError as error:
        return error
    return None


def fresh_path(folder):
    return Path(tempfile.mkdtemp(dir=folder)) / "takopi.toml"


@given(data=DATA)
@quick
def test_what_is_written_is_read_again(data, tmp_path_factory):
    path = fresh_path(tmp_path_factory.getbasetemp())
    write_config(data, path)
    assert same(read_config(path), data)
    assert same(tomllib.loads(dump_toml(data)), data)


@given(old=DATA, new=DATA)
@quick
def test_a_changed_file_holds_what_was_wanted(old, new, tmp_path_factory):
    path = fresh_path(tmp_path_factory.getbasetemp())
    path.write_text(dump_toml(old), encoding="utf-8", newline="")
    write_config(new, path)
    assert same(read_config(path), new)
    write_config({**old, **new}, path)
    assert same(read_config(path), {**old, **new})


@given(keys=st.lists(BARE, min_size=1, max_size=3), value=VALUES)
@quick
def test_what_is_set_can_be_got_and_unset(keys, value, tmp_path_factory):
    path = fresh_path(tmp_path_factory.getbasetemp())
    path.write_text("# mine\n[projects.app]\npath = '/app' # there\n")
    key = ".".join(["acme", *keys])
    stored = set_value(path, key, literal(value), show_secrets=True)
    assert same(tomllib.loads(f"v = {stored}")["v"], value)
    if not isinstance(value, dict):
        again = get_value(path, key, show_secrets=True)
        assert same(tomllib.loads(f"v = {again}")["v"], value)
    assert unset_value(path, key)
    assert path.read_text() == "# mine\n[projects.app]\npath = '/app' # there\n"


@given(text=TEXT)
@quick
def test_any_text_is_a_value(text):
    value = parse_value(text)
    assert isinstance(value, str) or same(tomllib.loads(f"v = {text}"), {"v": value})


@given(data=st.one_of(DATA, HOSTILE_DATA))
@settings(deadline=None, max_examples=150)
def test_validation_ends_well_or_with_a_config_error(data):
    before = copy.deepcopy(data)
    wrong = error_of(lambda: validate_settings_data(data, config_path=Path("/c/takopi.toml")))
    if wrong is not None:
        assert str(wrong).startswith("Invalid config in /c/takopi.toml: ")
        assert [render_text(d) for d in wrong.diagnostics]
    assert same(data, before)


@given(data=HOSTILE_DATA)
@settings(deadline=None, max_examples=150)
def test_migrations_lose_nothing_and_end(data):
    before, path = copy.deepcopy(data), Path("/c/takopi.toml")
    document = tomlkit.parse(dump_toml(data))
    try:
        migrate(data, path)
    except ConfigError:
        return
    assert migrate(copy.deepcopy(data), path) == []
    assert len(all_values(data)) >= len(all_values(before)) - 3
    for key in before.keys() - {"bot_token", "chat_id", "transports"}:
        assert same(data[key], before[key])
    telegram = (data.get("transports") or {}).get("telegram") or {}
    old = (before.get("transports") or {}).get("telegram") or {}
    for key in {"bot_token", "chat_id"} & (before.keys() | old.keys()):
        assert same(telegram[key], old.get(key, before.get(key)))
    for key in old.keys() - {"topics"}:
        assert same(telegram[key], old[key])
    migrate(document, path)
    assert same(document.unwrap(), data)


def all_values(data):
    return leaves(data, show_secrets=True)


SECRET = "very-S3cret-value"


@given(
    data=HOSTILE_DATA,
    table=st.sampled_from([(), ("transports", "telegram"), ("projects", "app"), ("acme", "env")]),
    key=st.sampled_from(["bot_token", "voice_transcription_api_key", "OPENAI_API_KEY", "password"]),
    wrap=st.sampled_from([lambda v: v, lambda v: [v], lambda v: {"x": v}, lambda v: [[v, 1]]]),
)
@settings(deadline=None, max_examples=100)
def test_a_secret_never_gets_into_a_message(data, table, key, wrap, tmp_path_factory):
    inner = data
    for part in table:
        if not isinstance(inner.get(part), dict):
            inner[part] = {}
        inner = inner[part]
    inner[key] = wrap(SECRET)
    path = fresh_path(tmp_path_factory.getbasetemp())
    path.write_text(dump_toml(data), encoding="utf-8", newline="")
    shown = [str(leaves(data))]
    for attempt in (
        lambda: shown.append(repr(load_config(path).settings)),
        lambda: shown.append(repr(validate_settings_data(data, config_path=path))),
        lambda: set_value(path, "watch_config", "7"),
    ):
        wrong = error_of(attempt)
        if wrong is not None:
            shown.extend([str(wrong), *map(render_text, wrong.diagnostics)])
    assert all(SECRET not in text for text in shown)


@given(data=st.one_of(DATA, HOSTILE_DATA))
@settings(deadline=None, max_examples=100)
def test_every_key_is_located(data):
    text = dump_toml(data)
    places = locate(text)

    def check(value, path):
        if path:
            place = places[path]
            if isinstance(path[-1], str):
                written = text[place.start : place.end]
                assert tomllib.loads(f"{written} = 1") == {path[-1]: 1}
            if place.value and not isinstance(value, dict):
                start, end = place.value
                assert same(tomllib.loads(f"v = {text[start:end]}")["v"], value)
        items = value.items() if isinstance(value, dict) else ()
        items = enumerate(value) if isinstance(value, list) else items
        for key, item in items:
            check(item, (*path, key))

    check(data, ())


@given(
    data=DATA,
    environ=st.dictionaries(
        st.lists(st.one_of(HOSTILE, BARE), min_size=1, max_size=4).map(
            lambda parts: "TAKOPI__" + "__".join(parts).upper()
        ),
        st.one_of(TEXT, st.sampled_from(["{}", "[]", "[1]", '{"a": 1}', "1", "null"])),
        max_size=4,
    ),
)
@settings(deadline=None, max_examples=100)
def test_any_environment_is_taken_or_refused(data, environ):
    before = copy.deepcopy(data)
    made, filled = copy.deepcopy(data), copy.deepcopy(data)
    variables = read_variables(environ)
    wrong = error_of(lambda: overlay(made, variables, Path("/c/takopi.toml"), override=True))
    assert wrong is None or any(name in str(wrong) for name in environ)
    if error_of(lambda: overlay(filled, variables, Path("/c/takopi.toml"), override=False)) is None:
        for key, value in before.items():
            assert isinstance(value, dict) or same(filled[key], value)
