"""takopi.toml: reading it, engine tables, where adapters are."""

from pathlib import Path

import pytest

from takopi.config import Config, home_config_path, load_config
from takopi.errors import ConfigError


def write(tmp_path, content):
    path = tmp_path / "takopi.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_no_file_is_an_empty_configuration(tmp_path):
    config = load_config(tmp_path / "none.toml")
    assert dict(config.data) == {}
    assert config.engine_table("codex") == {}
    assert config.adapter_paths() == []


def test_the_default_lies_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home_config_path() == tmp_path / ".takopi" / "takopi.toml"
    assert load_config().path == home_config_path()


def test_an_engine_table(tmp_path):
    config = load_config(write(tmp_path, '[codex]\nprofile = "x"\n'))
    assert config.engine_table("codex") == {"profile": "x"}
    assert config.engine_table("claude") == {}


@pytest.mark.parametrize("toml", ['codex = "x"', "codex = [1]"])
def test_an_engine_table_that_is_none(tmp_path, toml):
    config = load_config(write(tmp_path, toml))
    with pytest.raises(ConfigError) as error:
        config.engine_table("codex")
    assert str(error.value) == f"Invalid `codex` config in {config.path}; expected a table."


def test_adapter_paths_are_relative_to_the_file_or_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    paths = 'adapters.paths = ["mine", "/abs/x.yaml", "~/more"]'
    config = load_config(write(tmp_path, paths))
    assert config.adapter_paths() == [
        tmp_path / "mine",
        Path("/abs/x.yaml"),
        Path("/home/me/more"),
    ]


@pytest.mark.parametrize(
    "toml",
    ['adapters.paths = "x"', "adapters.paths = [1]", 'adapters.paths = [""]', 'adapters = "x"'],
)
def test_bad_adapter_paths(tmp_path, toml):
    config = load_config(write(tmp_path, toml))
    with pytest.raises(ConfigError) as error:
        config.adapter_paths()
    assert str(error.value) == (
        f"Invalid `adapters.paths` in {config.path}; expected a list of strings."
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [("a = ", "Malformed TOML in"), (b"a = '\xff'", "Failed to read config file")],
)
def test_a_file_that_cannot_be_read(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(ConfigError, match=message) as error:
        load_config(path)
    assert str(path) in str(error.value)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="exists but is not a file"):
        load_config(tmp_path)


def test_an_empty_config_value():
    assert Config(Path("/x/takopi.toml")).adapter_paths() == []


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path):
    config = load_config(write(tmp_path, b'\xef\xbb\xbf[acme]\nprofile = "x"\n'))
    assert config.engine_table("acme") == {"profile": "x"}


def test_what_is_not_utf8_is_said_so(tmp_path):
    with pytest.raises(ConfigError, match=r"it is not UTF-8 \(byte 5\); save it as UTF-8"):
        load_config(write(tmp_path, b"a = '\xff'"))


def test_a_link_that_leads_nowhere_is_not_the_same_as_no_file(tmp_path):
    path = tmp_path / "takopi.toml"
    path.symlink_to("nowhere")
    with pytest.raises(ConfigError, match="it is a link to nowhere, which does not exist"):
        load_config(path)


def test_no_home_directory(monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(ConfigError, match="set the environment variable HOME"):
        load_config()


def test_a_misspelt_key_of_adapters_is_warned_about(tmp_path, caplog):
    config = load_config(write(tmp_path, 'adapters.path = ["x"]'))
    assert config.adapter_paths() == []
    assert "[adapters] has no key `path` (known: `paths`)" in caplog.text


def test_the_home_of_nobody_is_no_reason_to_fail(tmp_path):
    config = load_config(write(tmp_path, 'adapters.paths = ["~no-such-user/x"]'))
    assert config.adapter_paths() == [tmp_path / "~no-such-user/x"]
