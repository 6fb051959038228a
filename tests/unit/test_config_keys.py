"""Single values of the file: list, get, set, unset."""

import pytest

from takopi.config import read_config
from takopi.config.keys import get_value, list_values, parse_key_path, set_value, unset_value
from tests.support.config import config_file, message_of

FILE = """\
watch_config = true # mine
[transports.telegram]
bot_token = "1:abc" # secret
chat_id = -100
[transports.telegram.topics]
enabled = true
[acme]
args = ["a", "b"]
empty = []
[acme.env]
OPENAI_API_KEY = "geheim"
[projects.Foo]
path = "/foo"
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    return config_file(tmp_path, monkeypatch, FILE)


def test_key_paths():
    assert parse_key_path(" a.b-c.D_1 ") == ("a", "b-c", "D_1")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "Invalid key path; expected a non-empty value."),
        ("  ", "Invalid key path; expected a non-empty value."),
        ("a..b", "Invalid key path 'a..b'; empty segment."),
        (".a", "Invalid key path '.a'; empty segment."),
        (
            "a.b c",
            "Invalid key segment 'b c' in 'a.b c'; use only letters, numbers, '_' or '-'.",
        ),
        ("ä", "Invalid key segment 'ä' in 'ä'; use only letters, numbers, '_' or '-'."),
    ],
)
def test_bad_key_paths(path, key, message):
    assert message_of(get_value, path, key) == message
    assert message_of(set_value, path, key, "1") == message
    assert message_of(unset_value, path, key) == message


def test_s21_a_list_masks_secrets(path):
    assert list_values(path) == [
        ("acme.args", '[\n    "a",\n    "b",\n]'),
        ("acme.empty", "[]"),
        ("acme.env.OPENAI_API_KEY", '"***"'),
        ("projects.Foo.path", '"/foo"'),
        ("transports.telegram.bot_token", '"***"'),
        ("transports.telegram.chat_id", "-100"),
        ("transports.telegram.topics.enabled", "true"),
        ("watch_config", "true"),
    ]
    assert ("transports.telegram.bot_token", '"1:abc"') in list_values(path, show_secrets=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("watch_config", "true"),
        ("transports.telegram.bot_token", '"***"'),
        ("acme.args", '[\n    "a",\n    "b",\n]'),
        ("none", None),
        ("acme.none", None),
        ("none.at.all", None),
    ],
)
def test_get(path, key, value):
    assert get_value(path, key) == value


def test_get_shows_secrets_when_asked(path):
    assert get_value(path, "transports.telegram.bot_token", show_secrets=True) == '"1:abc"'


def test_what_cannot_be_got(path):
    assert message_of(get_value, path, "acme") == "'acme' is a table; pick a leaf node."
    for call in (get_value, unset_value, lambda p, key: set_value(p, key, "1")):
        assert message_of(call, path, "acme.args.x") == (
            f"Invalid `acme.args` in {path}; expected a table."
        )


def test_without_a_file(path):
    path.unlink()
    for call in (
        lambda: list_values(path),
        lambda: get_value(path, "a"),
        lambda: unset_value(path, "a"),
    ):
        assert message_of(call) == "missing takopi config at ~/takopi.toml"
    assert not path.exists()
    set_value(path, "watch_config", "true")
    assert path.read_text() == "watch_config = true\n"


@pytest.mark.parametrize(
    ("key", "text", "literal", "value"),
    [
        ("watch_config", "False", "false", False),
        ("watch_config", "no", "false", False),
        ("default_engine", " pi ", '"pi"', "pi"),
        ("transports.telegram.chat_id", "456", "456", 456),
        ("transports.telegram.chat_id", '"456"', "456", 456),
        ("projects.Foo.chat_id", "' -7 '", "-7", -7),
        ("transports.telegram.bot_token", "2:new", '"***"', "2:new"),
        ("transports.telegram.forward_coalesce_s", "2", "2.0", 2.0),
        ("acme.args", '["x", 1]', '[\n    "x",\n    1,\n]', ["x", 1]),
        ("acme.new.deep", "1979-05-27", "1979-05-27", __import__("datetime").date(1979, 5, 27)),
        ("acme.text", "", '""', ""),
        ("acme.text", " a = b", '" a = b"', " a = b"),
        ("plugins.enabled", '[" takopi "]', '[\n    "takopi",\n]', ["takopi"]),
    ],
)
def test_set(path, key, text, literal, value):
    assert set_value(path, key, text) == literal
    found = read_config(path)
    for part in key.split("."):
        found = found[part]
    assert found == value
    assert type(found) is type(value)
    assert "# mine" in path.read_text() or key == "watch_config"
    assert "# secret" in path.read_text()


def test_s21_negative_numbers_are_values(path):
    assert set_value(path, "transports.telegram.chat_id", "-1001234567890") == "-1001234567890"
    assert get_value(path, "transports.telegram.chat_id") == "-1001234567890"


def test_s21_a_table_can_be_set_and_printed(path):
    text = "{ path = ' /new ', chat_id = '-5' }"
    assert set_value(path, "projects.new", text) == '{ path = "/new", chat_id = -5 }'
    assert read_config(path)["projects"]["new"] == {"path": "/new", "chat_id": -5}
    assert set_value(path, "acme.env", '{ A = "1", X_TOKEN = "geheim" }') == (
        '{ A = "1", X_TOKEN = "***" }'
    )


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("watch_config", "perhaps"),
        ("transports.telegram.chat_id", "x"),
        ("transports.telegram.colour", "x"),
        ("projects.new.chat_id", "5"),
        ("transports", "5"),
        ("bot_token", "geheim"),
        ("acme.text", "\ud800"),
    ],
)
def test_an_invalid_result_leaves_the_file_as_it_was(path, key, text):
    assert "geheim" not in message_of(set_value, path, key, text)
    assert path.read_text() == FILE


def test_unset_prunes_what_it_empties(path):
    assert unset_value(path, "transports.telegram.topics.enabled")
    assert "topics" not in read_config(path)["transports"]["telegram"]
    assert unset_value(path, "acme.env")
    assert unset_value(path, "projects.Foo.path")
    assert read_config(path) == {
        "watch_config": True,
        "transports": {"telegram": {"bot_token": "1:abc", "chat_id": -100}},
        "acme": {"args": ["a", "b"], "empty": []},
    }
    assert "# secret" in path.read_text()


def test_unset_of_what_is_not_there_or_is_needed(path):
    assert not unset_value(path, "none.at.all")
    assert "transports.telegram.bot_token: missing" in message_of(
        unset_value, path, "transports.telegram.bot_token"
    )
    assert path.read_text() == FILE


def test_s4_the_telegram_table_can_be_unset(path):
    assert unset_value(path, "transports.telegram")
    assert "transports" not in read_config(path)


def test_an_engine_table_is_checked_by_who_knows_it(path):
    seen = []

    def check(engine, table):
        seen.append((engine, table["args"]))
        return ["Invalid `acme.args`"] if 1 in table["args"] else []

    assert message_of(set_value, path, "acme.args", "[1]", check_engine=check) == (
        "Invalid `acme.args`"
    )
    assert path.read_text() == FILE
    set_value(path, "acme.args", "[2]", check_engine=check)
    set_value(path, "watch_config", "false", check_engine=check)
    assert seen == [("acme", [1]), ("acme", [2])]


def test_what_is_neither_a_setting_nor_a_table_is_refused(path):
    assert message_of(set_value, path, "default_engin", "acme") == (
        f"Invalid `default_engin` config in {path}; expected a table; "
        "did you mean `default_engine`?"
    )
    assert message_of(set_value, path, "other", "1") == (
        f"Invalid `other` config in {path}; expected a table."
    )
    assert path.read_text() == FILE


def test_an_older_shape_is_brought_up_to_date_when_something_is_set(path):
    old = 'bot_token = "1:abc" # secret\nchat_id = 5\n'
    path.write_text(old)
    message_of(set_value, path, "watch_config", "perhaps")
    assert path.read_text() == old
    set_value(path, "watch_config", "true")
    assert read_config(path) == {
        "transport": "telegram",
        "watch_config": True,
        "transports": {"telegram": {"bot_token": "1:abc", "chat_id": 5}},
    }
    assert "# secret" in path.read_text()
