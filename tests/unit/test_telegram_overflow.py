"""Answers that are too long for one message: trimmed, or split with nothing lost."""

import re
import time
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from takopi.bridge.markdown import MarkdownParts
from takopi.telegram.entities import fit, to_entities, utf16_len
from takopi.telegram.markup import render_rich
from takopi.telegram.render import (
    prepare_telegram,
    prepare_telegram_multi,
    render_markdown,
    split_markdown_body,
    trim_body,
)
from tests.support.markdown import MARKDOWN, assert_survives
from tests.support.telegram_rules import check, covered

FAMILY = "👨‍👩‍👧‍👦"

# Trim


def test_a_body_is_trimmed_between_header_and_footer():
    text, _ = prepare_telegram(MarkdownParts("header", "x" * 3600, "footer"))
    header, body, footer = text.split("\n\n")
    assert (header, footer) == ("header", "footer")
    assert body == "x" * 3499 + "…"


def test_f40_what_is_counted_is_what_is_shown():
    link = "[word](https://example.com/a/long/way/to/get/there) "
    text, entities = prepare_telegram(MarkdownParts("h", link * 600, "f"))
    check(text, entities)
    assert text == f"h\n\n{('word ' * 600).rstrip()}\n\nf"
    assert len(entities) == 100


def test_an_answer_far_too_long_is_not_read_to_its_end():
    lines = "[shown](http://b.c/" + "d" * 30_000 + ")\n"
    text, _ = prepare_telegram(MarkdownParts("h", lines * 1_000, "f"))
    assert text == "h\n\nshown…\n\nf"
    started = time.process_time()
    text, _ = prepare_telegram(MarkdownParts("h", "e " * 5_000_000))
    assert time.process_time() - started < 0.5
    assert text == "h\n\n" + ("e " * 1750)[:3499] + "…"


def test_formatting_that_is_trimmed_ends_before_the_ellipsis():
    text, entities = prepare_telegram(MarkdownParts("h", "```py\n" + "x = 1\n" * 1000 + "```"))
    check(text, entities)
    (pre,) = entities
    assert pre["type"] == "pre"
    assert pre["language"] == "py"
    assert text.endswith("x…")
    assert covered(text, pre) == text.removeprefix("h\n\n").removesuffix("…")


@pytest.mark.parametrize(
    ("body", "trimmed"),
    [
        (None, None),
        (" \n", None),
        ("x" * 3500, "x" * 3500),
        ("x" * 3501, "x" * 3499 + "…"),
        ("🐙" * 1750, "🐙" * 1750),
        ("🐙" * 1751, "🐙" * 1749 + "…"),
        ("x" + "🐙" * 1750, "x" + "🐙" * 1749 + "…"),
        ("x" * 3495 + FAMILY, "x" * 3495 + "…"),
    ],
)
def test_trim_body(body, trimmed):
    assert trim_body(body) == trimmed


# Split Markdown

FENCE = "```py\n" + "".join(f"line_{i}\n" for i in range(10)) + "```\n"


@pytest.mark.parametrize(
    ("body", "limit", "chunks"),
    [
        ("aaaa\n\nbbbb\n\ncccc", 12, ["aaaa\n\nbbbb\n\n", "cccc"]),
        ("x" * 95, 40, ["x" * 40, "x" * 40, "x" * 15]),
        ("body", 4, ["body"]),
        ("", 10, []),
        (" \n\n ", 2, []),
        ("one\ntwo\nthree\n\nfour", 8, ["one\ntwo\n", "three\n\n", "four"]),
        ("a\n\n\n\nb\n\n", 5, ["a\n\n\n\n", "b\n\n"]),
        ("abcd\n\n\n\n\n\nef", 4, ["abcd", "ef"]),
    ],
)
def test_split_at_paragraphs_then_lines_then_anywhere(body, limit, chunks):
    assert split_markdown_body(body, limit) == chunks


def test_a_code_block_is_closed_and_opened_again():
    chunks = split_markdown_body(FENCE + "\npost", 40)
    assert chunks[0].endswith("\n```")
    assert all(chunk.startswith("```py\n") for chunk in chunks)
    assert chunks[-1].endswith("```\n\npost")
    assert all(len(chunk) <= 40 for chunk in chunks)
    lines = re.findall(r"line_\d", "".join(chunks))
    assert lines == [f"line_{i}" for i in range(10)]


@pytest.mark.parametrize("marker", ["~~~", "````", "  ```", "\t~~~~~"])
def test_a_code_block_keeps_its_marker_and_indentation(marker):
    body = f"{marker}py\n" + "x = 1\n" * 20 + f"{marker}\n"
    first, *_, last = split_markdown_body(body, 50)
    assert first.startswith(f"{marker}py\nx = 1\n")
    assert first.endswith(f"x = 1\n{marker}")
    assert last.startswith(f"{marker}py\nx = 1\n")


def test_f40_no_fence_is_left_empty():
    for limit in range(24, 80):
        for chunk in split_markdown_body("before it\n" * 3 + FENCE + "after\n" * 3, limit):
            assert not re.search(r"```py\n```", chunk)
            assert not re.search(r"^```$\s*\Z", chunk) or "```py" in chunk
            assert chunk.count("```") % 2 == 0


def test_f40_a_fence_line_with_words_does_not_close():
    body = "```\n```py\n" + "x\n" * 20 + "```\n\n" + "words " * 5
    chunks = split_markdown_body(body, 30)
    assert chunks[0] == "```\n```py\nx\nx\nx\nx\nx\nx\nx\n```"
    assert chunks[-1] == "words " * 5
    assert sum(chunk.count("x") for chunk in chunks) == 20


def test_f40_the_added_fence_lines_have_room():
    body = "```python\n" + "x" * 500 + "\n```"
    chunks = split_markdown_body(body, 100)
    assert max(map(len, chunks)) <= 100
    assert all(c.startswith("```python\nx") and c.endswith("x\n```") for c in chunks)
    assert sum(chunk.count("x") for chunk in chunks) == 500


def test_a_fence_with_an_endless_info_string_is_opened_again_without_it():
    chunks = split_markdown_body("``` " + "info " * 100 + "\n" + "x\n" * 30 + "```", 60)
    assert all(chunk.startswith("```\nx") for chunk in chunks)


def test_a_code_block_that_nobody_closed_is_closed():
    chunks = split_markdown_body("```\n" + "x\n" * 40, 30)
    assert all(chunk.startswith("```\nx") and chunk.endswith("x\n```") for chunk in chunks)


def test_inline_code_with_three_backticks_opens_nothing():
    assert split_markdown_body("```x```\n" + "y\n" * 9, 20)[-1].strip("y\n") == ""


@given(MARKDOWN, st.integers(16, 90))
@example("```\n" + "👍🏽" * 50, 20)
@example("\ud83d" * 50, 16)
@settings(deadline=None, max_examples=200)
def test_f40_chunks_of_markdown_are_within_the_limit_and_lose_nothing(body, limit):
    chunks = split_markdown_body(body, limit)
    assert all(chunk.strip() for chunk in chunks)
    assert max(map(utf16_len, chunks), default=0) <= limit
    # The lines of fences may be left out, or come again.
    lost = iter(re.sub(r"\s", "", "".join(chunks)))
    kept = [line for line in body.split("\n") if not re.match(r"[ \t]*(```|~~~)", line)]
    assert all(char in lost for char in re.sub(r"\s", "", "".join(kept)))
    if "```" not in body and "~~~" not in body:
        assert len(" ".join(chunks).split()) >= len(body.split())
        assert re.sub(r"\s", "", "".join(chunks)) == re.sub(r"\s", "", body)


# Split messages


def bodies(messages, header, footer):
    """The bodies of split messages, after a look at what is around them."""
    found = []
    for number, (text, entities) in enumerate(messages, 1):
        check(text, entities)
        top, _, rest = text.partition("\n\n")
        body, _, bottom = rest.rpartition("\n\n")
        assert bottom == footer
        more = f" · continued ({number}/{len(messages)})" if number > 1 else ""
        assert top == header + more
        found.append(body)
    return found


def test_a_body_within_the_limit_is_one_message():
    parts = MarkdownParts("h", "x" * 3500, "f")
    assert prepare_telegram_multi(parts) == [prepare_telegram(parts)]
    assert prepare_telegram_multi(MarkdownParts("h", None, "f")) == [("h\n\nf", [])]
    assert prepare_telegram_multi(MarkdownParts("h", "\n\n")) == [("h", [])]


def test_every_message_has_header_and_footer():
    body = "\n\n".join(f"paragraph {i} " + "words " * 100 for i in range(20))
    messages = prepare_telegram_multi(MarkdownParts("done · acme", body, "`ctx: a`"))
    found = bodies(messages, "done · acme", "ctx: a")
    assert len(found) == 4
    assert "\n\n".join(found) == render_markdown(body)[0].replace(" \n", "\n")
    assert all(len(part) <= 3500 for part in found)
    assert all(covered(text, e[-1]) == "ctx: a" for text, e in messages)


def test_without_a_header_continued_stands_alone():
    messages = prepare_telegram_multi(MarkdownParts("", "x" * 4000, None))
    assert [text[:22] for text, _ in messages] == ["x" * 22, "continued (2/2)\n\nxxxxx"]


def test_code_goes_on_in_the_next_message_in_its_language():
    body = "```py\n" + "".join(f"line_{i} = 1\n\n" for i in range(500)) + "```\n\n**after**"
    messages = prepare_telegram_multi(MarkdownParts("h", body, "f"))
    bodies(messages, "h", "f")
    code = [[covered(t, e) for e in es if e["type"] == "pre"] for t, es in messages]
    assert [len(blocks) for blocks in code] == [1] * len(messages)
    lines = [line for blocks in code for line in blocks[0].split("\n") if line]
    assert lines == [f"line_{i} = 1" for i in range(500)]
    assert {e["language"] for _, es in messages for e in es if e["type"] == "pre"} == {"py"}
    assert covered(messages[-1][0], messages[-1][1][-1]) == "after"


def test_a_list_goes_on_as_it_was():
    body = "".join(f"{i}. item\n   - sub `{i}`\n" for i in range(1, 400))
    messages = prepare_telegram_multi(MarkdownParts("h", body, "f"))
    lines = "\n".join(bodies(messages, "h", "f")).split("\n")
    assert [line for line in lines if "item" in line] == [f"{i}. item" for i in range(1, 400)]


def test_a_link_defined_at_the_end_works_in_every_message():
    body = "\n\n".join(["[here][1] " + "words " * 50] * 20) + "\n\n[1]: https://a.b/c"
    messages = prepare_telegram_multi(MarkdownParts("h", body, "f"))
    assert len(messages) > 1
    assert sum(e["url"] == "https://a.b/c" for _, es in messages for e in es) == 20


def test_a_smaller_limit_can_be_asked_for():
    messages = prepare_telegram_multi(MarkdownParts("h", "one\n\ntwo", "f"), max_body_chars=5)
    assert bodies(messages, "h", "f") == ["one", "two"]


def test_f40_header_and_footer_have_room():
    parts = MarkdownParts("h" * 500, "🐙" * 10_000, "f" * 600)
    messages = prepare_telegram_multi(parts)
    assert "".join(bodies(messages, "h" * 500, "f" * 600)) == "🐙" * 10_000
    assert all(4000 < utf16_len(text) <= 4096 for text, _ in messages[:-1])


@given(MARKDOWN, st.integers(20, 200), st.integers(1, 20))
@example(">     - ", 20, 4)
@example("```\nx" + " " * 90 + "\n\n\n```\n", 20, 2)
@settings(deadline=None, max_examples=150)
def test_split_messages_lose_nothing(markdown, limit, times):
    messages = prepare_telegram_multi(
        MarkdownParts("h", markdown * times, "`f`"), max_body_chars=limit
    )
    found = bodies(messages, "h", "f") if len(messages) > 1 else [messages[0][0][1:-1]]
    for text, entities in messages:
        check(text, entities)
        assert covered(text, entities[-1]) == "f"
    if len(messages) > 1:
        assert max(map(utf16_len, found)) <= limit
    assert_survives(markdown * times, "".join(found))


def formatted(texts_and_entities):
    """What is formatted how, put together again: kind and value to characters without white space."""
    found = {}
    for text, entities in texts_and_entities:
        for e in entities:
            key = e["type"], e.get("url") or e.get("language")
            found[key] = found.get(key, "") + re.sub(r"\s", "", covered(text, e))
    return found


@given(MARKDOWN, st.integers(20, 200), st.integers(1, 8))
@example("**a [b *c* `d`](http://e.f) g** ", 20, 8)
@example("> quote\n> ```py\n> code code\n> ```\n\n", 20, 8)
@settings(deadline=None, max_examples=150)
def test_split_messages_keep_their_formatting(markdown, limit, times):
    parts = MarkdownParts("h", markdown * times)
    messages = prepare_telegram_multi(parts, max_body_chars=limit)
    rich = render_rich(markdown * times)
    assume(all(len(entities) < 100 for _, entities in messages))
    assert formatted(messages) == formatted([(rich.text, to_entities(rich))])


@given(MARKDOWN, st.integers(1, 14))
@settings(deadline=None, max_examples=60)
def test_what_is_trimmed_is_the_end(markdown, times):
    body = (markdown + "\n\nfiller words in between" * 14 + "\n\n") * times
    text, entities = prepare_telegram(MarkdownParts("h", body, "`f`"))
    check(text, entities)
    shown = text.removeprefix("h\n\n").removesuffix("\n\nf")
    rich = render_rich(body)
    if utf16_len(rich.text) <= 3500:
        assert shown == rich.text
    else:
        assert shown.endswith("…")
        assert rich.text.startswith(shown[:-1])
        assert len(shown) > 1500
    if len(entities) < 100:
        ours = [{**e, "offset": e["offset"] - len("h\n\n")} for e in entities]
        end = utf16_len(shown.removesuffix("…"))
        assert all(e in ours for e in to_entities(rich) if e["offset"] + e["length"] < end)


# Where a text may be cut


@pytest.mark.parametrize(
    "whole",
    [FAMILY, "🇩🇪", "👍🏽", "e\u0301", "❤\ufe0f", "\u1112\u1161\u11ab", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "नि"],
)
def test_what_is_shown_as_one_is_not_cut(whole):
    text = "x" + whole * 20
    size = utf16_len(whole)
    for limit in range(size + 1, 10 * size):
        assert (fit(text, 0, limit) - 1) % len(whole) == 0


def test_a_text_of_flags_is_cut_in_linear_time():
    text = "🇩🇪" * 100_000
    started = time.process_time()
    messages = prepare_telegram_multi(MarkdownParts("h", text, "f"))
    assert time.process_time() - started < 3
    assert all(len(body) % 2 == 0 for body in bodies(messages, "h", "f"))


@pytest.mark.parametrize("end", ["x", "🐙", FAMILY, "🇩🇪", "e\u0301", " ", "\n\n"])
def test_a_message_that_is_just_full_is_one_message(end):
    """4096 units with header and footer, or 3500 of a body: one more makes two of it."""
    for header, footer, room in (("h", "f", 3500), ("h" * 400, "f" * 400, 4096 - 804)):
        filled = "x" * (room - utf16_len(end.rstrip())) + end
        messages = prepare_telegram_multi(MarkdownParts(header, filled, footer))
        assert bodies(messages, header, footer) == [filled.rstrip()]
        assert prepare_telegram(MarkdownParts(header, filled, footer)) == messages[0]
        messages = prepare_telegram_multi(MarkdownParts(header, "x" + filled.rstrip(), footer))
        found = bodies(messages, header, footer)
        assert len(found) == 2
        assert "".join(found) == "x" + filled.rstrip()
        assert found[1].endswith(end.rstrip())


def test_something_is_always_taken():
    assert fit("🐙🐙", 0, 1) == 1
    assert fit("e" + "\u0301" * 200, 0, 100) == 100
    assert fit("abc", 1, 1) == 2
    assert fit("abc", 1, 50) == 3


@given(st.text(max_size=60), st.integers(2, 30))
@settings(deadline=None)
def test_a_cut_takes_as_much_as_fits(text, limit):
    places = [0]
    while places[-1] < len(text):
        places.append(fit(text, places[-1], limit))
    for start, end in pairwise(places):
        assert start < end
        assert utf16_len(text[start:end]) <= limit
        if end < len(text) and text[start : end + 1].isalpha() and text[start : end + 1].isascii():
            assert utf16_len(text[start : end + 1]) > limit
    assert not any(unicodedata.combining(text[p]) for p in places[1:-1]) or limit < 60
