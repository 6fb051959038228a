"""The schema: defaults, what is refused in which words, projects, warnings."""

import os
from pathlib import Path

import pytest

from takopi import config as config_module
from takopi.bundled import bundled
from takopi.config import (
    ConfigError,
    Settings,
    TelegramSettings,
    config_path,
    load_config,
    load_settings,
    load_settings_if_exists,
    require_telegram,
    unknown_tables,
    unreachable_aliases,
    validate_settings_data,
)
from takopi.config.settings import model_at
from takopi.diagnostics import render_json, render_text
from takopi.ids import (
    RESERVED_CHAT_IDS,
    RESERVED_COMMAND_IDS,
    RESERVED_CONFIG_KEYS,
    RESERVED_ENGINE_IDS,
)

WHERE = Path("/c/takopi.toml")
BOT = {"bot_token": "1:abc", "chat_id": 5}


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.upper().startswith("TAKOPI_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def validate(**data):
    return validate_settings_data(data, config_path=WHERE)


def telegram(**changes):
    return validate(transports={"telegram": {**BOT, **changes}}).transports.telegram


def refused(**data):
    with pytest.raises(ConfigError) as error:
        validate(**data)
    prefix = f"Invalid config in {WHERE}: "
    assert str(error.value).startswith(prefix)
    return str(error.value).removeprefix(prefix)


def file(tmp_path, text):
    path = tmp_path / "takopi.toml"
    path.write_text(text)
    return path


def failed(path):
    with pytest.raises(ConfigError) as error:
        load_settings(path)
    return error.value


# S-1


def test_s1_the_path_given_beats_the_variable_and_that_the_home(monkeypatch, tmp_path):
    home = Path(os.environ["HOME"])
    assert config_path() == home / ".takopi" / "takopi.toml" == config_module.HOME_CONFIG_PATH
    monkeypatch.setenv("TAKOPI_CONFIG", " ")
    assert config_path() == home / ".takopi" / "takopi.toml"
    monkeypatch.setenv("TAKOPI_CONFIG", "~/else.toml")
    assert config_path() == load_config().path == home / "else.toml"
    monkeypatch.chdir(tmp_path)
    assert config_path("here.toml") == tmp_path / "here.toml"
    assert load_config(tmp_path / "x.toml").path == tmp_path / "x.toml"


# Defaults and types


def test_s4_an_empty_configuration_is_valid():
    settings = validate()
    assert settings.transport == "telegram"
    assert settings.transports.telegram is None
    assert settings.default_engine is None
    assert settings.watch_config is False
    assert settings.projects == {}
    assert settings.plugins.enabled == settings.adapters.paths == []


def test_defaults_of_the_telegram_chat():
    assert telegram().model_dump() == {
        "bot_token": "1:abc",
        "chat_id": 5,
        "api_url": "https://api.telegram.org",
        "allowed_user_ids": [],
        "message_overflow": "trim",
        "voice_transcription": False,
        "voice_max_bytes": 10485760,
        "voice_transcription_model": "gpt-4o-mini-transcribe",
        "voice_transcription_base_url": None,
        "voice_transcription_api_key": None,
        "session_mode": "stateless",
        "show_resume_line": True,
        "forward_coalesce_s": 1.0,
        "media_group_debounce_s": 1.0,
        "topics": {"enabled": False, "scope": "auto"},
        "files": {
            "enabled": False,
            "auto_put": True,
            "auto_put_mode": "upload",
            "uploads_dir": "incoming",
            "allowed_user_ids": [],
            "deny_globs": [".git/**", ".env", ".envrc", "*.pem", ".ssh/**"],
        },
    }


def test_strings_are_stripped_and_words_of_truth_understood():
    assert telegram(bot_token=" 1:x ", voice_transcription_model=" m ").bot_token == "1:x"
    for yes in (True, "yes", 1, "on"):
        assert validate(watch_config=yes).watch_config is True
    assert telegram(files={"uploads_dir": " in/here "}).files.uploads_dir == "in/here"


@pytest.mark.parametrize(("value", "stored"), [(-100, -100), (" -100 ", -100), ("+7", 7)])
def test_a_chat_id(value, stored):
    assert telegram(chat_id=value).chat_id == stored


@pytest.mark.parametrize("value", [True, 1.0, "", "1.5", "1_000", "x", [1], "٣"])
def test_no_chat_id(value):
    assert refused(transports={"telegram": {**BOT, "chat_id": value}}) == (
        "transports.telegram.chat_id: expected an integer"
    )


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("bot_token", " ", "expected a non-empty string"),
        ("bot_token", 5, "expected a string"),
        ("allowed_user_ids", 5, "expected a list"),
        ("allowed_user_ids", ["5"], None),
        ("message_overflow", "cut", "expected one of `trim` or `split`"),
        ("voice_transcription", "perhaps", "expected true or false"),
        ("voice_max_bytes", "5", "expected an integer"),
        ("voice_max_bytes", True, "expected an integer"),
        ("forward_coalesce_s", -0.1, "expected a number of at least 0"),
        ("forward_coalesce_s", float("inf"), "expected a finite number"),
        ("forward_coalesce_s", "x", "expected a number"),
        ("topics", [], "expected a table"),
        ("colour", 1, "unknown key"),
    ],
)
def test_values_that_are_refused(key, value, reason):
    found = refused(transports={"telegram": {**BOT, key: value}})
    assert found == (
        f"transports.telegram.{key}: {reason}"
        if reason
        else "transports.telegram.allowed_user_ids[0]: expected an integer"
    )


def test_an_absolute_uploads_dir():
    for value in ("/tmp", "~/x"):
        assert refused(transports={"telegram": {**BOT, "files": {"uploads_dir": value}}}) == (
            "transports.telegram.files.uploads_dir: files.uploads_dir must be a relative path"
        )


def test_legacy_keys_at_the_top():
    assert refused(bot_token="t") == (
        'Move bot_token/chat_id under [transports.telegram] and set transport = "telegram".'
    )


def test_tables_of_engines_plugins_and_other_chats(tmp_path):
    settings = validate(
        acme={"a": [1]},
        odd=5,
        transports={"chatty": {"x": 1}, "bad": 2},
        plugins={"p": {"y": 1}, "q": 3},
    )
    table = settings.engine_config("acme", config_path=WHERE)
    assert table == {"a": [1]}
    table["a"].append(2)
    assert settings.engine_config("acme", config_path=WHERE) == {"a": [1]}
    assert settings.engine_config("none", config_path=WHERE) == {}
    assert settings.transport_config("chatty", config_path=WHERE) == {"x": 1}
    assert settings.transport_config("none", config_path=WHERE) == {}
    assert settings.plugin_config("p", config_path=WHERE) == {"y": 1}
    for call, name, text in [
        (settings.engine_config, "odd", f"Invalid `odd` config in {WHERE}; expected a table."),
        (
            settings.transport_config,
            "bad",
            f"Invalid `transports.bad` in {WHERE}; expected a table.",
        ),
        (settings.plugin_config, "q", f"Invalid `plugins.q` in {WHERE}; expected a table."),
        (settings.transport_config, "telegram", f"Missing [transports.telegram] in {WHERE}."),
    ]:
        with pytest.raises(ConfigError) as error:
            call(name, config_path=WHERE)
        assert str(error.value) == text
    assert isinstance(
        validate(transports={"telegram": BOT}).transport_config("telegram", config_path=WHERE),
        TelegramSettings,
    )


def test_the_settings_object_is_a_frozen_pydantic_model():
    settings = validate(transports={"telegram": BOT}, acme={"password": "geheim"})
    changed = settings.model_copy(update={"transport": "chatty"})
    assert (changed.transport, settings.transport) == ("chatty", "telegram")
    with pytest.raises(ValueError, match="frozen"):
        settings.transport = "x"
    assert "1:abc" not in repr(settings)
    assert "geheim" not in repr(settings) + str(settings)


def test_engines_may_be_called_like_anything():
    names = [
        "model_config",
        "model_fields",
        "copy",
        "__class__",
        "__dict__",
        "json",
        "_x",
        "settings",
    ]
    settings = validate(**{name: {"a": name} for name in names})
    for name in names:
        assert settings.engine_config(name, config_path=WHERE) == {"a": name}


def test_data_that_is_nested_too_deeply():
    value = []
    for _ in range(5000):
        value = [value]
    assert refused(acme={"a": value}) == "nested too deeply"


# Loading


def test_loading(tmp_path):
    missing = tmp_path / "none.toml"
    assert load_settings_if_exists(missing) is None
    assert str(failed(missing)) == f"Missing config file {missing}."
    assert str(failed(tmp_path)) == f"Config path {tmp_path} exists but is not a file."
    path = file(tmp_path, "[transports.telegram]\nbot_token = 't'\nchat_id = '5'\n")
    settings, found = load_settings(path)
    assert found == path
    assert require_telegram(settings, path) == ("t", 5)
    assert load_settings_if_exists(path) == (settings, path)
    assert load_config(path).exists
    assert not load_config(missing).exists
    assert load_config(missing).settings == Settings()


def test_requiring_telegram():
    for data, text in [
        ({"transport": "x"}, f"Unsupported transport 'x' in {WHERE} (telegram only for now)."),
        ({}, f"Missing [transports.telegram] in {WHERE}."),
    ]:
        with pytest.raises(ConfigError) as error:
            require_telegram(validate(**data), WHERE)
        assert str(error.value) == text


@pytest.mark.parametrize(
    "name",
    [
        *("HOME_CONFIG_PATH", "ProjectConfig", "ProjectsConfig", "read_config", "write_config"),
        *("dump_toml", "ensure_table", "ConfigError", "Settings", "unknown_tables"),
    ],
)
def test_public_names(name):
    assert getattr(config_module, name) is not None
    with pytest.raises(AttributeError):
        getattr(config_module, name + "_")


def test_importing_and_an_absent_file_need_neither_pydantic_nor_tomlkit(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, takopi.config as c; c.load_config('/none/x.toml').engine_table('a');"
        "print([m for m in ('pydantic', 'tomlkit') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# S-6


def test_s6_every_error_is_a_key_and_a_reason_in_the_order_of_the_file(tmp_path):
    path = file(
        tmp_path,
        'watch_config = "maybe"\n'
        'transports.telegram = {bot_token = "1:SECRETSECRET", chat_id = "abc", mesage_overflow = "x"}\n'
        '[projects."a b"]\npaht = "x"\n'
        "[[odd]]\nx = 1\n[[odd]]\n"
        '[projects.ok]\npath = "."\nchat_id = true\n',
    )
    error = failed(path)
    assert str(error) == (
        f"Invalid config in {path}: watch_config: expected true or false\n"
        "transports.telegram.chat_id: expected an integer\n"
        "transports.telegram.mesage_overflow: unknown key; did you mean `message_overflow`?\n"
        'projects."a b".paht: unknown key; did you mean `path`? It is required\n'
        "projects.ok.chat_id: expected an integer"
    )
    places = [(d.code, d.span.line, d.span.column) for d in error.diagnostics]
    assert places == [
        ("schema", 1, 1),
        ("schema", 2, 41),
        ("unknown-key", 2, 58),
        ("unknown-key", 4, 1),
        ("schema", 10, 1),
    ]
    line = error.diagnostics[1].span.text
    assert line[40:].startswith("chat_id")
    assert line[57:].startswith("mesage_overflow")
    assert error.diagnostics[2].help == "did you mean `message_overflow`?"


def test_s6_neither_values_nor_links_are_shown(tmp_path):
    path = file(
        tmp_path,
        "[transports.telegram]\n"
        'bot_token = """\n123456:SECRETSECRET\n"""\nchat_id = "SECRETSECRET"\n'
        'voice_transcription_api_key = ["SECRETSECRET"]\nbot_tokn = "SECRETSECRET"\n',
    )
    error = failed(path)
    shown = (
        str(error) + "".join(map(render_text, error.diagnostics)) + render_json(error.diagnostics)
    )
    assert "SECRETSECRET" not in shown.replace('chat_id = "SECRETSECRET"', "")
    assert "SECRETSECRET" not in str(error)
    assert "http" not in shown
    assert len(error.diagnostics) == 3


def test_s6_a_missing_key_is_shown_at_its_table(tmp_path):
    error = failed(file(tmp_path, "\n[transports.telegram]\nchat_id = 1\n"))
    (found,) = error.diagnostics
    assert (found.span.line, found.span.column) == (2, 13)
    assert str(error).endswith("transports.telegram.bot_token: missing; it is required")


# Projects


def projects_of(engines=("Codex", "acme"), where=WHERE, **data):
    settings = validate_settings_data(data, config_path=where)
    return settings.to_projects_config(config_path=where, engine_ids=engines)


def test_projects(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    projects = projects_of(
        projects={
            "Foo": {"path": "~/foo", "default_engine": "CODEX", "chat_id": "-7"},
            "bar": {"path": "rel", "worktrees_dir": "~/trees", "worktree_base": "main"},
        },
        default_project="FOO",
    )
    foo, bar = projects.projects["foo"], projects.projects["bar"]
    assert list(projects.projects) == ["foo", "bar"]
    assert (foo.alias, foo.path, foo.default_engine) == ("Foo", Path("/home/me/foo"), "Codex")
    assert foo.worktrees_root == Path("/home/me/foo/.worktrees")
    assert (bar.path, bar.worktrees_root) == (Path("/c/rel"), Path("/home/me/trees"))
    assert projects.default_project == "foo"
    assert projects.chat_map == {-7: "foo"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"projects": {"CODEX": {"path": "x"}}},
            "Invalid project alias 'CODEX' in {p}; aliases must not match engine ids or reserved commands.",
        ),
        (
            {"projects": {"New": {"path": "x"}}},
            "Invalid project alias 'New' in {p}; aliases must not match engine ids or reserved commands.",
        ),
        (
            {"projects": {"a": {"path": "x"}, "A": {"path": "x"}}},
            "Duplicate project alias 'A' in {p}.",
        ),
        (
            {"projects": {"a": {"path": "x", "default_engine": "acne"}}},
            "Unknown `projects.a.default_engine` 'acne' in {p}. Available: Codex, acme.",
        ),
        (
            {"projects": {"a": {"path": "x", "chat_id": 5}}, "transports": {"telegram": BOT}},
            "Invalid `projects.a.chat_id` in {p}; must not match transports.telegram.chat_id.",
        ),
        (
            {"projects": {"a": {"path": "x", "chat_id": 6}, "b": {"path": "y", "chat_id": 6}}},
            "Duplicate `projects.*.chat_id` 6 in {p}; already used by 'a'.",
        ),
        (
            {"default_project": "nope"},
            "Invalid `default_project` 'nope' in {p}; no matching project alias found.",
        ),
    ],
)
def test_projects_that_are_refused(data, message):
    with pytest.raises(ConfigError) as error:
        projects_of(**data)
    assert str(error.value) == message.format(p=WHERE)


def test_a_refused_project_is_shown_in_its_file(tmp_path):
    path = file(tmp_path, "[projects.a]\npath = 'x'\ndefault_engine = 'acne'\n")
    settings, _ = load_settings(path)
    with pytest.raises(ConfigError) as error:
        settings.to_projects_config(config_path=path, engine_ids=["acme"])
    (found,) = error.value.diagnostics
    assert (found.span.line, found.help) == (3, "did you mean `acme`?")


def test_a_chat_may_name_its_rooms_unless_it_is_telegram():
    rooms = {"a": {"path": "x", "chat_id": " C024BE91L "}}
    projects = projects_of(transport="chatty", projects=rooms)
    assert projects.project_for_chat("C024BE91L") == "a"
    assert refused(projects=rooms) == "projects.a.chat_id: expected an integer"


# Warnings


def test_s3_tables_that_are_nobodys_are_warned_about(tmp_path):
    path = file(tmp_path, "plugin = 1\n[codx]\nx = 1\n[acme]\n[whatever]\n")
    settings, _ = load_settings(path)
    found = unknown_tables(settings, ["codex", "acme"], config_path=path)
    assert [(d.severity, d.span.line, d.help) for d in found] == [
        ("warning", 1, "did you mean `plugins`?"),
        ("warning", 2, "did you mean `codex`?"),
        ("warning", 5, "`takopi adapters list` shows the engines"),
    ]
    assert unknown_tables(settings, ["plugin", "codx", "acme", "whatever"]) == []


def test_s5_aliases_that_no_message_can_name_are_warned_about(tmp_path):
    path = file(
        tmp_path,
        '[projects]\n"a b".path = "x"\n"".path = "x"\n"a@b".path = "x"\nok-1.path = "x"\n"Ä.x".path = "x"\n',
    )
    settings, _ = load_settings(path)
    found = unreachable_aliases(settings, config_path=path)
    assert [(d.severity, d.span.line, d.path) for d in found] == [
        ("warning", 2, 'projects."a b"'),
        ("warning", 3, 'projects.""'),
        ("warning", 4, 'projects."a@b"'),
    ]


# Ids


def test_s25_an_engine_cannot_be_called_like_a_setting():
    assert set(Settings.model_fields) | {"bot_token", "chat_id"} == RESERVED_CONFIG_KEYS
    assert RESERVED_CONFIG_KEYS | {"start", "help", "why", "service"} <= RESERVED_ENGINE_IDS
    engines = {path.stem for path in bundled("adapters").glob("*.yaml")}
    assert not engines & RESERVED_ENGINE_IDS


def test_the_reserved_words_of_commands_stay_as_they_are():
    chat = {"cancel", "file", "new", "agent", "model", "reasoning", "trigger", "topic", "ctx"}
    assert chat == RESERVED_CHAT_IDS
    assert chat | {"config", "doctor", "init", "plugins"} == RESERVED_COMMAND_IDS


# Documentation


def fields(path=()):
    model = model_at(path)
    for name in model.model_fields:
        inner = (*path, name, "*") if name == "projects" else (*path, name)
        if model_at(inner) is None:
            yield ".".join(inner)
        else:
            yield from fields(inner)


def test_every_setting_is_documented_with_its_environment_variable():
    text = (Path(__file__).parents[2] / "docs/reference/configuration.md").read_text()
    names = [name.replace("*", "<alias>") for name in fields()]
    assert len(names) > 30
    for name in names:
        section, _, key = name.rpartition(".")
        heading = f"\n## `[{section}]`\n" if section else "\n## Top level\n"
        assert f"| `{key}` |" in text.partition(heading)[2].partition("\n## ")[0], name


def test_documented_defaults_are_the_defaults():
    text = (Path(__file__).parents[2] / "docs/reference/configuration.md").read_text()
    rows = {
        cells[1].strip().strip("`"): cells[3].strip()
        for line in text.splitlines()
        if len(cells := line.split("|")) > 4
    }
    for path in (
        (),
        ("transports", "telegram"),
        ("transports", "telegram", "topics"),
        ("transports", "telegram", "files"),
        ("projects", "x"),
    ):
        for name, field in model_at(path).model_fields.items():
            if isinstance(field.default, bool | str | int | float):
                value = field.default
                shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
                assert rows[name] == f"`{shown}`", name
