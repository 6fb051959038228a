"""Hiding secrets."""

import pytest

from takopi import logs
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


def test_s24_takopis_own_secrets_are_hidden_too(monkeypatch):
    monkeypatch.setattr(logs, "_secrets", logs._Secrets())
    logs.add_secret("own-secret-of-takopi")
    monkeypatch.setenv("TAKOPI__TRANSPORTS__TELEGRAM__BOT_TOKEN", "token-in-the-environment")
    hide = redactor({"API_KEY": "engines-own-key"})
    assert hide("own-secret-of-takopi token-in-the-environment engines-own-key") == "*** *** ***"


def test_s24_a_bot_token_is_hidden_but_a_line_number_is_not():
    token = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
    hide = redactor({})
    assert hide(f"at https://x/bot{token}/getMe") == "at https://x/bot***/getMe"
    assert hide("src/main.rs:12:unexpected_token") == "src/main.rs:12:unexpected_token"
