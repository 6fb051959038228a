"""First words in Telegram, the menu, the startup message: what they say for which configuration."""

import pytest

from takopi.bridge.delivery import MessageRef
from takopi.bridge.router import AutoRouter, RunnerEntry
from takopi.bridge.runtime import RuntimeSpec
from takopi.bridge.vocabulary import Cancel, Help, Inbound, NewSession, Prompt, Unusable
from takopi.config import TelegramSettings
from takopi.config.projects import ProjectConfig, ProjectsConfig
from takopi.telegram.commands import (
    cleared,
    help_text,
    intent_of,
    is_unknown,
    refusal,
    words_of,
)
from takopi.telegram.menu import menu
from takopi.telegram.startup import Greeting, Meanwhile, startup_text
from takopi.testing import ScriptRunner


def spec(*aliases):
    entries = [
        RunnerEntry(engine, ScriptRunner([], engine=engine)) for engine in ("codex", "claude")
    ]
    router = AutoRouter([*entries, RunnerEntry("pi", entries[0].runner, "missing_cli")], "codex")
    projects = {
        alias.lower(): ProjectConfig(alias=alias, path="/x", worktrees_dir="w") for alias in aliases
    }
    return RuntimeSpec(router, ProjectsConfig(projects))


def intent(text, plugins=()):
    return intent_of(Inbound(MessageRef(1, 2), text), words_of(spec("Site"), plugins))


@pytest.mark.parametrize("text", ["/help", "/start", " /HELP@my_bot me", "/start payload"])
def test_f60_start_and_help_are_help(text):
    assert isinstance(intent(text), Help)


def test_a_plugin_may_have_the_word_start():
    assert not isinstance(intent("/start", plugins=["start"]), Help)


@pytest.mark.parametrize(
    "word", ["file", "agent", "model", "reasoning", "trigger", "topic", "ctx", "Config", "doctor"]
)
def test_f20_a_reserved_word_is_no_prompt(word):
    assert isinstance(intent(f"/{word} x"), Unusable)


@pytest.mark.parametrize("text", ["/wat", "/codex hi", "/site hi", "/etc/hosts", "hello /new"])
def test_what_is_no_command_is_a_prompt(text):
    assert isinstance(intent(text), Prompt)


@pytest.mark.parametrize(
    "text", ["/cancel", "/CANCEL now", "/cancel\tnow", "\n /cancel\nnow", "/cancel@My_Bot now"]
)
def test_f45_any_whitespace_ends_a_command_and_its_case_does_not_matter(text):
    assert isinstance(intent(text), Cancel)


@pytest.mark.parametrize("text", ["/cancelled", "/cancel!", "/ cancel", "x /cancel", "/cancel/x"])
def test_what_only_looks_like_cancel_is_a_prompt(text):
    assert isinstance(intent(text), Prompt)


@pytest.mark.parametrize(
    ("text", "args"), [("/ping", ""), ("/Ping@b  a  b\nc", "a  b\nc"), ("/ping\nb", "b")]
)
def test_what_follows_a_plugins_word_is_its_argument_text(text, args):
    assert intent(text, plugins=["ping"]).args == args


@pytest.mark.parametrize(
    ("text", "unknown"),
    [("/wat", True), ("/start", False), ("/new", False), ("/codex", False), ("/topic", False)],
)
def test_a_word_is_unknown_if_nobody_has_it(text, unknown):
    assert is_unknown(text, words_of(spec("Site"), [])) is unknown


def test_new_takes_the_rest_as_a_prompt():
    assert intent("/new do it").text == "do it"
    assert isinstance(intent("/New"), NewSession)


def test_refusals_say_where_to_go():
    assert refusal(intent("/model x")) == "`/model` is not there yet."
    assert "run `takopi doctor` on the computer" in refusal(intent("/doctor"))


def test_whose_sessions_were_cleared():
    assert cleared(in_private=True) == "cleared stored sessions for this chat."
    assert cleared(in_private=False) == "cleared stored sessions for you in this chat."


def test_help_names_engines_that_can_run_and_where_a_message_goes():
    words = words_of(spec("Site"), ["ping"])
    text = help_text(spec("Site"), words, engine="codex", project="site", mode="chat")
    assert "engines: `/codex`, `/claude`\n" in text
    assert "projects: `/Site`" in text
    assert "`/ping`" in text
    assert "- mode: `chat`" in text
    assert text.endswith("a plain message goes to `codex` in project `site`.")


def test_the_menu_has_only_words_that_clients_can_show():
    entries = menu(spec("Good", "bad-name"), [("ping", "pong"), ("mute", "")])
    assert entries == [
        ("codex", "use engine: codex"),
        ("claude", "use engine: claude"),
        ("good", "work on: Good"),
        ("ping", "pong"),
        ("mute", "command: mute"),
        ("new", "start a new thread"),
        ("help", "what can be said here"),
        ("cancel", "cancel run"),
    ]


def test_no_description_of_a_plugin_keeps_the_whole_menu_away():
    entries = dict(menu(spec(), [("long", "x" * 300), ("two", "a\nb"), ("blank", " "), ("odd", 3)]))
    assert (len(entries["long"]), entries["two"]) == (256, "a b")
    assert (entries["blank"], entries["odd"]) == ("command: blank", "3")


def test_a_menu_of_150_projects_is_cut_and_ends_with_cancel():
    entries = menu(spec(*(f"p{n}" for n in range(150))), [])
    assert len(entries) == 100
    assert entries[0][0] == "codex"
    assert entries[-1] == ("cancel", "cancel run")


def greeting(tmp_path, table=None, aliases=(), **more):
    settings = TelegramSettings(bot_token="1:abc", **{"chat_id": 5, **(table or {})})
    runtime = spec(*aliases).to_runtime(config_path=tmp_path)
    return startup_text(Greeting(runtime, settings, tmp_path, **more))


def test_the_startup_message(tmp_path):
    text = greeting(tmp_path, aliases=("b", "A"), versions={"codex": "1.2"})
    assert text.splitlines() == [
        "🐙 **takopi is ready**",
        "",
        "default: `codex`",
        "engines: `codex 1.2, claude (not installed: pi)`",
        "projects: `A, b`",
        "mode: `stateless`",
        "topics: `disabled`",
        "resume lines: `shown`",
        f"working in: `{tmp_path}`",
    ]


def test_f17_the_startup_message_says_what_was_missed(tmp_path):
    text = greeting(tmp_path, meanwhile=Meanwhile(skipped=2, interrupted=1))
    assert "skipped: `2 messages received while offline`" in text
    assert "interrupted: `1 run when takopi ended`" in text


def test_f44_an_open_group_is_named(tmp_path):
    assert "access: anyone in `-100`" in greeting(tmp_path, {"chat_id": -100})
    assert "access" not in greeting(tmp_path, {"chat_id": -100, "allowed_user_ids": [1]})


def test_what_is_enabled_and_not_there_is_named(tmp_path):
    text = greeting(tmp_path, {"topics": {"enabled": True}, "voice_transcription": True})
    assert "enabled, but not there yet: `topics, voice_transcription`" in text
