import os

import anyio
import pytest

from takopi.engines import probe
from takopi.errors import RunError


@pytest.fixture
def cli(tmp_path):
    def write(script: str) -> str:
        path = tmp_path / "acme"
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
        return str(path)

    return write


def ask(function, *args, environ=None):
    return anyio.run(function, *args, os.environ if environ is None else environ)


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo acme 1.2.3", "1.2.3"),
        ("echo 'v0.24.4 (build 7)' >&2", "0.24.4"),
        ("echo 2.0.0-beta.1; exit 3", "2.0.0-beta.1"),
        ("echo hello", None),
        ("true", None),
    ],
)
def test_version_is_found_in_what_the_cli_prints(cli, script, version):
    assert ask(probe.ask_version, cli(script), ["--version"]) == version


def test_the_arguments_are_passed(cli):
    script = 'test "$*" = "auth status"'
    assert ask(probe.ask_login, cli(script), ["auth", "status"]) is True
    assert ask(probe.ask_login, cli(script), ["auth"]) is False


def test_a_cli_that_never_answers_is_ended(cli, monkeypatch):
    monkeypatch.setattr(probe, "_TIME_S", 0.2)
    assert ask(probe.ask_login, cli("sleep 60"), ["status"]) is None
    assert ask(probe.ask_version, cli("sleep 60"), []) is None


def test_takopis_own_settings_are_not_told(cli):
    environ = {**os.environ, "TAKOPI__TRANSPORTS__TELEGRAM__BOT_TOKEN": "1.1.1"}
    version = ask(probe.ask_version, cli("env | grep TAKOPI__"), [], environ=environ)
    assert version is None


def test_a_cli_that_cannot_be_started_is_an_error(tmp_path):
    with pytest.raises(RunError):
        ask(probe.ask_version, str(tmp_path / "none"), [])
