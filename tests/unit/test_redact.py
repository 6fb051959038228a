"""Hiding secrets."""

import pytest

from takopi.engines.redact import redactor


@pytest.mark.parametrize(
    "name", ["API_KEY", "api_key", "GH_TOKEN", "AUTH_TOKENS", "Client_Secret", "DB_PASSWORD", "key"]
)
def test_values_of_secret_looking_variables_are_hidden(name):
    assert redactor({name: "hunter2hunter2"})("a hunter2hunter2 b") == "a *** b"


@pytest.mark.parametrize("name", ["PATH", "HOME", "KEYBOARD", "TOKENIZER", "SECRETARY"])
def test_other_values_are_not(name):
    assert redactor({name: "hunter2hunter2"})("a hunter2hunter2 b") == "a hunter2hunter2 b"


def test_short_values_would_hide_ordinary_words():
    assert redactor({"API_KEY": "test"})("a test") == "a test"


def test_the_longest_secret_first():
    hide = redactor({"A_KEY": "abcdefgh", "B_KEY": "abcdefgh-ijk"})
    assert hide("abcdefgh-ijk abcdefgh") == "*** ***"


def test_a_secret_of_several_lines_is_hidden_line_by_line():
    hide = redactor({"PRIVATE_KEY": "-----BEGIN-----\nMIIEabcdef\r\n-----END-----\n"})
    assert hide("saw MIIEabcdef there") == "saw *** there"


def test_secrets_are_plain_text_and_may_come_from_options():
    hide = redactor({}, {"api_key": "a.b*c(d)[e", "count": 5, "keys": ["x" * 9]})
    assert hide("a.b*c(d)[e aXbXc") == "*** aXbXc"
    assert hide("x" * 9) == "x" * 9
