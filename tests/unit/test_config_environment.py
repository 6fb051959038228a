"""Settings from the environment: names, types, what beats what, what is never written."""

import os

import pytest

from takopi.config import ConfigError, load_config, validate_settings_data
from takopi.config.keys import set_value
from takopi.diagnostics import render_text
from tests.support.config import config_file

FILE = """\
default_engine = "acme"
[transports.telegram]
bot_token = "1:abc"
chat_id = 5
[projects.Foo]
path = "/foo"
[acme]
profile = "file"
[acme.env]
HTTPS_PROXY = "x"
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    return config_file(tmp_path, monkeypatch, FILE)


@pytest.fixture
def given(path, monkeypatch):
    def given(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return load_config(path)

    return given


def test_the_environment_beats_the_file_and_stays_out_of_it(given, path):
    settings = given(
        TAKOPI__DEFAULT_ENGINE="other",
        takopi__watch_config="yes",
        TAKOPI__Transports__Telegram__Chat_Id="-100",
        TAKOPI__TRANSPORTS__TELEGRAM__VOICE_MAX_BYTES="7",
        TAKOPI__TRANSPORTS__TELEGRAM__FORWARD_COALESCE_S="0.5",
        TAKOPI__TRANSPORTS__TELEGRAM__ALLOWED_USER_IDS="[1, 2]",
        TAKOPI__TRANSPORTS__TELEGRAM__TOPICS__SCOPE="all",
        TAKOPI__TRANSPORTS__TELEGRAM__FILES='{"enabled": true}',
        TAKOPI__PLUGINS__ENABLED='["takopi"]',
        TAKOPI__ADAPTERS__PATHS='["x"]',
    ).settings
    chat = settings.transports.telegram
    assert (settings.default_engine, settings.watch_config) == ("other", True)
    assert (chat.bot_token, chat.chat_id, chat.voice_max_bytes) == ("1:abc", -100, 7)
    assert (chat.forward_coalesce_s, chat.allowed_user_ids) == (0.5, [1, 2])
    assert (chat.topics.scope, chat.files.enabled) == ("all", True)
    assert (settings.plugins.enabled, settings.adapters.paths) == (["takopi"], ["x"])
    assert path.read_text() == FILE


def test_without_a_file_the_environment_is_enough(given, path):
    path.unlink()
    config = given(TAKOPI__DEFAULT_ENGINE="other")
    assert not config.exists
    assert config.settings.default_engine == "other"
    assert not path.exists()


def test_s2_aliases_are_matched_in_any_case(given):
    settings = given(
        TAKOPI__PROJECTS__FOO__CHAT_ID="-7",
        TAKOPI__PROJECTS__NEW='{"path": "/new"}',
        TAKOPI__PROJECTS__NEW__WORKTREE_BASE="main",
    ).settings
    assert set(settings.projects) == {"Foo", "new"}
    assert (settings.projects["Foo"].path, settings.projects["Foo"].chat_id) == ("/foo", -7)
    assert settings.projects["new"].worktree_base == "main"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x", "x"),
        ("", ""),
        ("a b", "a b"),
        ("5", 5),
        ("true", True),
        ('"5"', "5"),
        ('["-c", "x"]', ["-c", "x"]),
        ('{"a": 1}', {"a": 1}),
        ("{ a = 1 }", {"a": 1}),
        ("1\nx = 2", "1\nx = 2"),
        ("-1", -1),
    ],
)
def test_s2_tables_of_engines_can_be_overridden(given, text, value):
    config = given(TAKOPI__ACME__PROFILE=text, TAKOPI__OTHER__MODEL="m")
    table = config.engine_table("acme")
    assert table["profile"] == value
    assert type(table["profile"]) is type(value)
    assert table["env"] == {"HTTPS_PROXY": "x"}
    assert config.engine_table("other") == {"model": "m"}


def test_s2_keys_of_engines_are_matched_in_any_case(given):
    assert given(TAKOPI__ACME__ENV__HTTPS_PROXY="y").engine_table("acme")["env"] == {
        "HTTPS_PROXY": "y"
    }


def test_values_of_plugins_and_other_chats_stay_strings(given):
    config = given(
        TAKOPI__PLUGINS__EXTRA__LIMIT="5",
        TAKOPI__TRANSPORTS__CHATTY__ROOM="007",
        TAKOPI__TRANSPORTS__CHATTY__ROOMS='["a"]',
    )
    assert config.settings.plugin_config("extra", config_path=config.path) == {"limit": "5"}
    assert config.settings.transport_config("chatty", config_path=config.path) == {
        "room": "007",
        "rooms": ["a"],
    }


def test_inner_variables_beat_tables(given):
    settings = given(
        TAKOPI__PROJECTS='{"Foo": {"path": "/a", "chat_id": 3}}', TAKOPI__PROJECTS__FOO__PATH="/b"
    ).settings
    assert settings.projects["Foo"].path == "/b"
    assert settings.projects["Foo"].chat_id == 3


def test_s6_a_bad_variable_is_named_and_not_shown(given):
    config = given(
        TAKOPI__TRANSPORTS__TELEGRAM__CHAT_ID="geheim", TAKOPI__PROJECTS__NEW__CHAT_ID="4"
    )
    with pytest.raises(ConfigError) as error:
        _ = config.settings
    assert str(error.value) == (
        f"Invalid config in {config.path}: projects.new.path: missing; it is required "
        "(from TAKOPI__PROJECTS__NEW__CHAT_ID)\n"
        "transports.telegram.chat_id: expected an integer "
        "(from TAKOPI__TRANSPORTS__TELEGRAM__CHAT_ID)"
    )
    shown = "".join(map(render_text, error.value.diagnostics))
    assert "the environment variable TAKOPI__TRANSPORTS__TELEGRAM__CHAT_ID" in shown
    assert "geheim" not in shown
    assert all(d.span is None for d in error.value.diagnostics)


@pytest.mark.parametrize("text", ["takopi", '{"a": 1}', "[", "null", "[" * 10_000])
def test_a_list_that_is_no_json(given, text):
    with pytest.raises(ConfigError) as error:
        given(TAKOPI__PLUGINS__ENABLED=text)
    assert str(error.value) == (
        "invalid value of the environment variable TAKOPI__PLUGINS__ENABLED; "
        "expected a list as JSON"
    )


def test_a_value_where_a_variable_needs_a_table(given, path):
    path.write_text("acme = 5")
    with pytest.raises(ConfigError) as error:
        given(TAKOPI__ACME__PROFILE="x")
    assert str(error.value) == (
        f"Invalid `acme` in {path}; expected a table, "
        "of which the environment variable TAKOPI__ACME__PROFILE sets a key"
    )


def test_a_name_with_an_empty_key_is_warned_about(given, caplog):
    assert given(TAKOPI__="1", TAKOPI__ACME__="2", TAKOPI__ACME____X="3").engine_table("acme") == {
        "profile": "file",
        "env": {"HTTPS_PROXY": "x"},
    }
    assert caplog.text.count("is passed over") == 3


def test_other_variables_of_takopi_set_nothing(given):
    assert given(TAKOPI_WATCH_CONFIG="yes", TAKOPI_LOG_LEVEL="debug").settings.watch_config is False


def test_given_data_beats_the_environment_which_fills_gaps(monkeypatch, path):
    monkeypatch.setenv("TAKOPI__DEFAULT_ENGINE", "other")
    monkeypatch.setenv("TAKOPI__TRANSPORTS__TELEGRAM__BOT_TOKEN", "2:env")
    data = {"default_engine": "mine", "transports": {"telegram": {"chat_id": 1}}}
    settings = validate_settings_data(data, config_path=path)
    assert settings.default_engine == "mine"
    assert settings.transports.telegram.bot_token == "2:env"
    assert data == {"default_engine": "mine", "transports": {"telegram": {"chat_id": 1}}}


def test_values_of_the_environment_are_never_written(monkeypatch, path):
    path.write_text("")
    monkeypatch.setenv("TAKOPI__TRANSPORTS__TELEGRAM__BOT_TOKEN", "2:env")
    monkeypatch.setenv("TAKOPI__WATCH_CONFIG", "yes")
    set_value(path, "transports.telegram", "{ chat_id = ' 7 ' }")
    assert path.read_text() == "[transports.telegram]\nchat_id = 7\n"
    assert os.listdir(path.parent) == ["takopi.toml"]
