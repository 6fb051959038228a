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
