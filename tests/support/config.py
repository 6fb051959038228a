"""A configuration file of a test's own."""

import pytest

from takopi.config import ConfigError
from takopi.config.environment import read_variables


def config_file(folder, monkeypatch, text):
    """The path of a new file, in a home where no variable of takopi's is set."""
    for variable in read_variables():
        monkeypatch.delenv(variable.name)
    monkeypatch.setenv("HOME", str(folder))
    path = folder / "takopi.toml"
    path.write_text(text)
    return path


def message_of(call, *args, **keywords):
    """What the `ConfigError` of a call says."""
    with pytest.raises(ConfigError) as error:
        call(*args, **keywords)
    return str(error.value)
