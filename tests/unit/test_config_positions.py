"""Where keys stand, in every form that TOML has for them."""

import tomllib
from pathlib import Path

import pytest

from takopi.config.masking import is_secret, secret_values
from takopi.config.positions import locate
from takopi.config.report import Source, dotted

TOML = r"""
a.b . "c d" = 1 # x = 2
'q.r' = '''x
[fake]
k = 1'''''
ml = '''a'''
basic = "a = \" b # c"
multi = "M"
arr = [ [1,2], # c ]
  { x = 1, y.z = [ {w = "}"} ] }, ]
"\u00e4" = -inf
[ t . "u" ]
k={}
[[aot]]
n = 1
[aot.sub]
m = 1979-05-27 07:32:00
[[aot.inner]]
i = 0
[[aot.inner]]
i = 1
[[aot]]
n = 2
[aot.sub]
m = 3
""".replace('"M"', '"""a\\"" b = 3\n"""""')


def test_every_form_of_a_key_is_found():
    places = locate(TOML)

    def check(value, path):
        place = places.get(path)
        if place is not None and place.value and not isinstance(value, dict):
            start, end = place.value
            assert tomllib.loads(f"v = {TOML[start:end]}")["v"] == value
        items = value.items() if isinstance(value, dict) else ()
        for key, item in enumerate(value) if isinstance(value, list) else items:
            assert (*path, key) in places
            check(item, (*path, key))

    check(tomllib.loads(TOML), ())


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("a", "b", "c d"), "a.b . "),
        (("arr", 1, "y", "z", 0, "w"), '  { x = 1, y.z = [ {w = "}"} ] }, ]'),
        (("ä",), '"\\u00e4" = -inf'),
        (("t", "u", "k"), "k={}"),
        (("aot", 0, "inner", 1, "i"), "i = 1"),
        (("aot", 1, "sub", "m"), "m = 3"),
    ],
)
def test_the_line_of_a_key(path, line):
    span = Source(Path("x.toml"), TOML).span(path)
    assert span.text.startswith(line)
    assert TOML.split("\n")[span.line - 1] == span.text
    assert span.text[span.column - 1 :].startswith(("c d", '"', "w", "k", "i", "m"))


@pytest.mark.parametrize("text", ["[", "a", "a =", "[[a", "a = [", 'a = "x', "a = {", "\0", "= 1"])
def test_what_is_no_toml_does_no_harm(text):
    assert len(locate("ok = 1\n" + text)) <= 2


def test_a_secret_on_several_lines_is_hidden_on_each():
    text = 'list = [1, "x"]\npassword = """one\ntwo""" # end\n'
    source = Source(Path("x.toml"), text)
    assert source.span(("password",)).text == "password = ***"
    inline = Source(Path("x.toml"), 'a = {b_token = ["one"], c = 1, d = "12345:abcdefghijk"}')
    span = inline.span(("a", "c"))
    assert span.text == 'a = {b_token = ***, c = 1, d = "***"}'
    assert span.text[span.column - 1] == "c"
    item = inline.span(("a", "b_token", 0))
    assert item.text[item.column - 1 : item.column - 1 + item.length] == "***"


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        ("transports.telegram.bot_token", True),
        ("transports.telegram.voice_transcription_api_key", True),
        ("acme.env.OPENAI_API_KEY", True),
        ("acme.env.AWS-Secret", True),
        ("acme.apikey", True),
        ("acme.secrets.anything", True),
        ("acme.db_password", True),
        ("acme.max_tokens", False),
        ("acme.key", False),
        ("acme.monkey", False),
        ("projects.app.chat_id", False),
    ],
)
def test_names_of_secrets(path, secret):
    assert is_secret(path.split(".")) is secret


def test_the_secrets_of_a_configuration():
    data = {"a": {"token": "1", "x": "2", "env": {"A_KEY": "3"}, "secrets": ["4", 5], "key": "6"}}
    assert list(secret_values(data)) == ["1", "3", "4"]


def test_dotted_keys_are_quoted_where_toml_wants_it():
    assert dotted(("a", 'b "c', 2, "", "d-1")) == 'a."b \\"c"[2]."".d-1'
