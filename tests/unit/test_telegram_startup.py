"""The startup message, whatever is in it, and the versions it waits for."""

import anyio
import pytest

from takopi.bridge.router import AutoRouter, RunnerEntry
from takopi.bridge.runtime import RuntimeSpec
from takopi.config import TelegramSettings
from takopi.config.projects import ProjectConfig, ProjectsConfig
from takopi.telegram import startup
from takopi.telegram.render import render_markdown
from takopi.telegram.startup import Greeting, engine_versions, startup_text
from takopi.testing import ScriptRunner

ADAPTER = """\
adapter: 1
id: {engine}
command: {engine}-cli
args: ["${{run().prompt}}"]
resume: null
session: null
events: [{{match: {{type: end}}, complete: {{answer: text}}}}]
"""


def greeting(folder, chats=None, **settings):
    router = AutoRouter([RunnerEntry("acme", ScriptRunner([], engine="acme"))], "acme")
    projects = {
        alias: ProjectConfig(alias=alias, path="/x", worktrees_dir="w", chat_id=chat)
        for alias, chat in (chats or {}).items()
    }
    chat_map = {chat: alias for alias, chat in (chats or {}).items()}
    runtime = RuntimeSpec(router, ProjectsConfig(projects, None, chat_map)).to_runtime(
        config_path=folder
    )
    table = {"bot_token": "1:abc", "chat_id": 5, **settings}
    return startup_text(Greeting(runtime, TelegramSettings(**table), folder))


@pytest.mark.parametrize("name", ["plain", "a_b*c*", "tick`ed", "``two", "end`", "<b>", "[x](y)"])
def test_the_working_directory_is_shown_as_it_is(tmp_path, name):
    text, entities = render_markdown(greeting(tmp_path / name))
    line = next(line for line in text.splitlines() if line.startswith("working in: "))
    assert line == f"working in: {tmp_path / name}"
    *_, shown = entities
    units = len(text.encode("utf-16-le")) // 2
    assert (shown["type"], shown["offset"] + shown["length"]) == ("code", units)
    assert shown["length"] == len(str(tmp_path / name))


def test_f44_open_groups_of_projects_are_named_and_private_chats_are_not(tmp_path):
    chats = {"one": -200, "two": 6}
    assert "access: anyone in `-200`" in greeting(tmp_path, chats)
    assert "access: anyone in `-100, -200`" in greeting(tmp_path, chats, chat_id=-100)
    assert "access" not in greeting(tmp_path, chats, allowed_user_ids=[5])
    assert "access" not in greeting(tmp_path, {"two": 6})


@pytest.fixture
def engines(tmp_path, monkeypatch):
    """Makes engines whose CLIs do this when asked for their version; gives the configuration."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")

    def make(**scripts):
        for folder in ("bin", ".takopi/adapters"):
            (tmp_path / folder).mkdir(parents=True)
        for engine, script in scripts.items():
            (tmp_path / f".takopi/adapters/{engine}.yaml").write_text(ADAPTER.format(engine=engine))
            file = tmp_path / f"bin/{engine}-cli"
            file.write_text(f"#!/bin/sh\n{script}\n")
            file.chmod(0o755)
        path = tmp_path / ".takopi/takopi.toml"
        path.write_text("")
        return path

    return make


def test_an_engine_that_does_not_tell_its_version_in_time_holds_nothing_up(engines, monkeypatch):
    monkeypatch.setattr(startup, "_VERSIONS_S", 3.0)
    path = engines(good="echo good 1.2.3", broken="exit 3", slow="exec sleep 60")
    versions = anyio.run(engine_versions, path)  # with those of built-in engines, if there are any
    assert versions["good"] == "1.2.3"
    assert not versions.keys() & {"broken", "slow"}


def test_a_configuration_that_cannot_be_read_means_no_versions(tmp_path, caplog):
    path = tmp_path / "takopi.toml"
    path.write_text("[")
    assert anyio.run(engine_versions, path) == {}
    assert "startup.versions_failed" in caplog.text
