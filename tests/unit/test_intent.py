"""What a message asks for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.bridge.delivery import MessageRef
from takopi.bridge.intent import parse_intent
from takopi.bridge.vocabulary import (
    Cancel,
    Command,
    Help,
    Ignore,
    Inbound,
    NewSession,
    Prompt,
    Quit,
    Unusable,
    Words,
)

AT = MessageRef(1, 7)
WORDS = Words(
    commands={"cancel": "", "new": "", "help": "", "quit": ""},
    directives=frozenset(["claude", "codex", "z80"]),
    plugins=frozenset(["deploy"]),
    taken=frozenset(["cancel", "new", "file", "topic", "config"]),
    corrects=True,
)
COMMANDS_ONLY = Words(commands={"cancel": "", "new": ""})


def said(text):
    return Inbound(AT, text)


def intent(text, words=WORDS):
    return parse_intent(said(text), words)


@pytest.mark.parametrize("text", ["", " ", "\n\t\n"])
def test_nothing_said_is_nothing_asked(text):
    assert intent(text) == Ignore("empty")


@pytest.mark.parametrize(
    "text",
    [
        "fix the build",
        "/codex fix the build",
        "/Codex@some_bot fix",
        "/z80 @feat/x go",
        "@feat go",
        "/etc/hosts is wrong",
        "/ alone",
        "/zebra is no word of ours",
        "what does /cancel do?",
        "/cancelled is not a cancel",
        "/new-feature please",
        "/new: a colon",
        "/newé",
    ],
)
def test_what_is_no_command_is_a_prompt(text):
    assert intent(text, Words(commands=WORDS.commands)) == Prompt(said(text))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("/cancel", None),
        ("/Cancel", None),
        ("  /cancel  ", None),
        ("/cancel@some_bot", None),
        ("/cancel 3", "3"),
        ("/cancel #3 please", "3"),
        ("/cancel\n3", "3"),
    ],
)
def test_cancel_may_name_a_run(text, number):
    assert intent(text) == Cancel(said(text), number)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("/new", ""),
        ("/NEW ", ""),
        ("/new fix it\nnow", "fix it\nnow"),
        ("/new /codex a", "/codex a"),
    ],
)
def test_new_may_come_with_a_prompt(text, rest):
    assert intent(text) == NewSession(said(text), rest)


def test_help_and_quit():
    assert intent("/help me") == Help(said("/help me"))
    assert intent("/quit") == Quit()


def test_a_plugin_s_command_keeps_its_arguments_as_written():
    assert intent('/deploy put "a  b"') == Command(
        said('/deploy put "a  b"'), "deploy", 'put "a  b"'
    )
    assert intent("/deploy") == Command(said("/deploy"), "deploy", "")


def test_f20_a_taken_word_never_becomes_a_prompt():
    assert intent("/topic x") == Unusable(said("/topic x"), "topic", "see `/help`")
    words = Words(taken=frozenset(["deploy"]), plugins=frozenset(["deploy"]))
    assert isinstance(intent("/deploy", words), Unusable)


def test_an_engine_of_a_taken_name_is_an_engine():
    words = Words(directives=frozenset(["topic"]), taken=frozenset(["topic"]))
    assert intent("/topic x", words) == Prompt(said("/topic x"))


@pytest.mark.parametrize(
    ("text", "near"),
    [("/codx hi", "codex"), ("/cancle", "cancel"), ("/deplyo now", "deploy"), ("/hepl", "help")],
)
def test_a_misspelt_word_is_asked_about(text, near):
    found = intent(text)
    assert isinstance(found, Unusable)
    assert found.advice == f"did you mean `/{near}`?"


def test_a_chat_may_let_misspelt_words_pass():
    assert intent("/cancle", COMMANDS_ONLY) == Prompt(said("/cancle"))


@given(st.text())
@settings(deadline=None, max_examples=200)
def test_any_text_has_an_intent(text):
    found = intent(text)
    assert isinstance(found, Ignore) == (not text.strip())
    if not text.lstrip().startswith("/"):
        assert isinstance(found, Ignore | Prompt)
