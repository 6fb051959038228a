"""Which engine a text belongs to."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.bridge.router import AutoRouter, RunnerEntry, UnavailableRunner, unavailable_entry
from takopi.engines.jsonl import AdapterRunner
from takopi.errors import RunnerUnavailableError
from takopi.model import ResumeToken
from tests.support.adapters import adapter_from

LINES = {"claude": "claude --resume ${token}", "codex": "codex resume ${token}"}
RUNNERS = {
    engine: AdapterRunner(
        adapter_from(f"id: {engine}\ncommand: {engine}\nresume: {{line: '{line}'}}")
    )
    for engine, line in LINES.items()
}


def entry(engine, status="ok", issue=None):
    return RunnerEntry(engine, RUNNERS[engine], status, issue)


def router_of(*entries, default=None):
    return AutoRouter(entries, default or entries[0].engine)


ROUTER = router_of(entry("claude"), entry("codex"), default="codex")


# -- entries


@pytest.mark.parametrize(
    ("status", "available"),
    [("ok", True), ("bad_config", True), ("missing_cli", False), ("load_error", False)],
)
def test_what_can_run(status, available):
    assert entry("codex", status).available is available


def test_entries_keep_their_order():
    missing = entry("claude", "missing_cli", "claude not found on PATH")
    router = router_of(entry("codex"), missing)
    assert router.entries == (entry("codex"), missing)
    assert router.available_entries == (entry("codex"),)
    assert router.engine_ids == ("codex", "claude")
    assert router.default_engine == "codex"
    assert router.default_entry == entry("codex")


@pytest.mark.parametrize(
    ("entries", "default", "message"),
    [
        ([], "codex", "there must be an engine"),
        ([entry("codex"), entry("codex")], "codex", "different ids: codex, codex"),
        ([entry("claude"), entry("codex")], "pi", "default engine 'pi' is none of these: claude"),
    ],
)
def test_a_router_needs_engines_and_a_known_default(entries, default, message):
    with pytest.raises(ValueError, match=message):
        AutoRouter(entries, default)


def test_the_entry_of_an_engine():
    assert ROUTER.entry_for_engine(None).engine == "codex"
    assert ROUTER.entry_for_engine("claude").engine == "claude"
    with pytest.raises(RunnerUnavailableError) as error:
        ROUTER.entry_for_engine("pi")
    assert (error.value.engine, error.value.issue) == ("pi", "engine not configured")
    assert str(error.value) == "engine 'pi' is unavailable: engine not configured"


def test_the_entry_of_a_token():
    assert ROUTER.entry_for(None).engine == "codex"
    assert ROUTER.entry_for(ResumeToken("claude", "x")).engine == "claude"
    with pytest.raises(RunnerUnavailableError, match="engine not configured"):
        ROUTER.entry_for(ResumeToken("pi", "x"))


def test_the_runner_of_a_token_must_be_able_to_run():
    missing = entry("claude", "missing_cli", "claude not found on PATH")
    router = router_of(entry("codex", "bad_config", "bad"), missing)
    assert router.runner_for(None) is RUNNERS["codex"]
    assert router.entry_for(ResumeToken("claude", "x")) is missing
    with pytest.raises(RunnerUnavailableError) as error:
        router.runner_for(ResumeToken("claude", "x"))
    assert str(error.value) == "engine 'claude' is unavailable: claude not found on PATH"


# -- resume lines


@pytest.mark.parametrize(
    ("text", "reply", "token"),
    [
        ("codex resume abc", "claude --resume def", ResumeToken("codex", "abc")),
        ("codex resume abc\nclaude --resume def", None, ResumeToken("claude", "def")),
        ("", "codex resume xyz", ResumeToken("codex", "xyz")),
        ("hello", "`claude --resume x`", ResumeToken("claude", "x")),
        ("hello", "claude --resume a\ncodex resume b", ResumeToken("claude", "a")),
        ("hello", "hello", None),
        ("hello", None, None),
        ("", "", None),
    ],
)
def test_the_token_of_a_message(text, reply, token):
    assert ROUTER.resolve_resume(text, reply) == token


def test_an_unavailable_engine_is_asked_for_its_tokens_too():
    router = router_of(entry("codex"), entry("claude", "missing_cli"))
    assert router.extract_resume("claude --resume x") == ResumeToken("claude", "x")
    assert router.is_resume_line("claude --resume x")


@pytest.mark.parametrize(
    ("reply", "token"),
    [
        ("Run\nclaude --resume other\n\n`codex resume mine`", ResumeToken("codex", "mine")),
        ("Run\ncodex resume other\n\n`claude --resume mine`", ResumeToken("claude", "mine")),
        ("codex resume other\n\n`codex resume mine`\n", ResumeToken("codex", "mine")),
        ("codex resume mine\n\nno footer", ResumeToken("codex", "mine")),
        ("no line at all", None),
        ("", None),
        (None, None),
    ],
)
def test_c18_the_last_line_of_our_own_message_counts(reply, token):
    assert ROUTER.resolve_resume("go on", reply, reply_from_bot=True) == token


def test_c18_a_line_in_the_message_itself_still_comes_first():
    token = ROUTER.resolve_resume("claude --resume x", "codex resume y", reply_from_bot=True)
    assert token == ResumeToken("claude", "x")


class TwoLines(UnavailableRunner):
    """A plugin's codec that wants more than one line."""

    def extract_resume(self, text):
        return ResumeToken(self.engine, "two") if text and "go\non" in text else None


def test_c18_a_token_that_is_in_no_single_line_is_still_found():
    router = router_of(entry("codex"), RunnerEntry("odd", TwoLines("odd")))
    found = router.resolve_resume("x", "answer\n\ngo\non", reply_from_bot=True)
    assert found == ResumeToken("odd", "two")


@pytest.mark.parametrize(
    ("line", "whole"),
    [("codex resume x", True), (" `claude --resume x` ", True), ("see codex resume x", False)],
)
def test_any_engines_resume_line(line, whole):
    assert ROUTER.is_resume_line(line) is whole


def test_a_line_is_written_by_the_engine_that_owns_the_token():
    assert ROUTER.format_resume(ResumeToken("claude", "x")) == "`claude --resume x`"
    with pytest.raises(RunnerUnavailableError):
        ROUTER.format_resume(ResumeToken("pi", "x"))


WORDS = st.sampled_from(
    ["codex resume a", "claude --resume b", "`codex resume c`", "text", "", "  ", "codex resume"]
)


@settings(deadline=None)
@given(st.lists(WORDS).map("\n".join), st.none() | st.lists(WORDS).map("\n".join), st.booleans())
def test_a_token_is_found_if_and_only_if_there_is_a_line(text, reply, reply_from_bot):
    token = ROUTER.resolve_resume(text, reply, reply_from_bot=reply_from_bot)
    lines = [*text.split("\n"), *(reply or "").split("\n")]
    assert (token is not None) == any(map(ROUTER.is_resume_line, lines))
    if token is not None:
        assert ROUTER.format_resume(token).strip("`") in f"{text}\n{reply}"


# -- engines without a runner


def test_s17_an_engine_that_could_not_be_loaded_stays_in_the_list():
    broken = unavailable_entry("pi", "Invalid `pi.model`")
    router = router_of(entry("codex"), broken)
    assert router.engine_ids == ("codex", "pi")
    assert router.available_entries == (entry("codex"),)
    assert (broken.status, broken.issue, broken.available) == (
        "load_error",
        "Invalid `pi.model`",
        False,
    )
    with pytest.raises(RunnerUnavailableError) as error:
        router.runner_for(ResumeToken("pi", "x"))
    assert str(error.value) == "engine 'pi' is unavailable: Invalid `pi.model`"


def test_s17_a_run_of_it_raises():
    runner = unavailable_entry("pi", "broken").runner
    assert runner.engine == "pi"
    with pytest.raises(RunnerUnavailableError, match="engine 'pi' is unavailable: broken"):
        runner.run("x", None)


def test_s17_without_a_codec_it_has_no_resume_lines():
    runner = UnavailableRunner("pi")
    assert runner.format_resume(ResumeToken("pi", "x")) == ""
    assert not runner.is_resume_line("pi --session x")
    assert runner.extract_resume("pi --session x") is None


def test_s17_with_a_codec_its_resume_lines_are_understood():
    router = router_of(entry("codex"), unavailable_entry("claude", "broken", RUNNERS["claude"]))
    token = ResumeToken("claude", "x")
    assert router.format_resume(token) == "`claude --resume x`"
    assert router.is_resume_line("claude --resume x")
    assert router.resolve_resume("claude --resume x", None) == token
