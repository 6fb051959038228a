"""The rules that Telegram messages are held to in the other tests."""

import pytest

from tests.support.telegram_rules import check, errors, losses


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("", []),
        ("x" * 4097, []),
        ("🐙" * 2049, []),
        ("\ud83d", []),
        ("abc", [("bold", -1, 1)]),
        ("abc", [("bold", 0, 0)]),
        ("abc", [("bold", 2, 2)]),
        ("🐙", [("bold", 0, 1)]),
        ("🐙", [("bold", 1, 1)]),
        ("abc", [("strong", 0, 1)]),
        ("abc", [("bold", 0, 2), ("italic", 1, 2)]),
        ("abc", [("bold", 0, 3), ("code", 1, 1)]),
        ("abc", [("pre", 0, 3), ("bold", 1, 1)]),
        ("abc", [("code", 0, 3), ("pre", 0, 3)]),
        ("abc", [("blockquote", 0, 3), ("blockquote", 1, 1)]),
        ("abc", [("text_link", 0, 3, "x.y")]),
        ("abc", [("text_link", 0, 3, "http://x.y"), ("text_link", 1, 1, "http://x.y")]),
        ("abc", [("text_link", 0, 3, "http://x.y"), ("code", 1, 1)]),
        ("abc", [("blockquote", 1, 1), ("text_link", 0, 3, "http://x.y")]),
    ],
)
def test_telegram_refuses(text, entities):
    assert errors(text, [entity(*fields) for fields in entities])


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        (" abc", []),
        ("abc\n", []),
        ("a\x01b", []),
        ("a b", [("bold", 0, 2)]),
        ("a b", [("bold", 1, 2)]),
        ("a\n", [("pre", 0, 2)]),
        ("abc", [("bold", 0, 3), ("bold", 1, 1)]),
        ("x" * 101, [("bold", i, 1) for i in range(101)]),
    ],
)
def test_telegram_changes(text, entities):
    found = [entity(*fields) for fields in entities]
    assert errors(text, found) == []
    assert losses(text, found)


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("🐙 abc", [("bold", 0, 6), ("italic", 3, 3), ("strikethrough", 3, 3)]),
        (" abc", [("pre", 0, 4)]),
        ("abc", [("blockquote", 0, 3), ("pre", 0, 1), ("code", 2, 1)]),
        ("abc", [("text_link", 0, 3, "tg://user?id=1"), ("bold", 1, 1)]),
        ("abc", [("bold", 0, 3), ("text_link", 1, 1, "https://x.y")]),
    ],
)
def test_telegram_takes(text, entities):
    check(text, [entity(*fields) for fields in entities])


def test_a_server_may_take_code_as_pre_too():
    both = [entity("code", 0, 3), entity("pre", 0, 3)]
    assert errors("abc", both)
    assert errors("abc", both, strict_code=False) == []


def entity(kind, offset, length, url=None):
    return {"type": kind, "offset": offset, "length": length} | ({"url": url} if url else {})
