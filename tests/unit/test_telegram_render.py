"""Markdown as Telegram shows it: text, entities, and nothing that a server would refuse or change."""

import re
import sys
import threading
import time

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from takopi.bridge.markdown import MarkdownFormatter, MarkdownParts
from takopi.bridge.progress import ProgressTracker
from takopi.model import Action, ActionEvent
from takopi.telegram.markup import _parser, clean, render_rich
from takopi.telegram.render import prepare_telegram, prepare_telegram_multi, render_markdown
from tests.support.markdown import MARKDOWN, assert_survives
from tests.support.telegram_rules import check, covered, errors, losses

NBSP = "\u00a0"


def shown(markdown):
    """The text, and what each entity is about: ``("bold", "words")``, with URL or language."""
    text, entities = render_markdown(markdown)
    if text:
        check(text, entities)
    return text, [
        (e["type"], covered(text, e), *(e[key] for key in ("url", "language") if key in e))
        for e in entities
    ]


TABLE = [
    ("**bold** and `code`", "bold and code", [("bold", "bold"), ("code", "code")]),
    ("🐙 **bold**", "🐙 bold", [("bold", "bold")]),
    ("*x* _y_", "x y", [("italic", "x"), ("italic", "y")]),
    ("[t](http://x.y/z)", "t", [("text_link", "t", "http://x.y/z")]),
    ("[t](foo/bar.py)", "t", []),
    ("[m](mailto:a@b.c)", "m", []),
    ("```py\nprint(1)\n```", "print(1)", [("pre", "print(1)", "py")]),
    ("> hi\n> there", "hi\nthere", [("blockquote", "hi\nthere")]),
    ("1. a\n- x\n- y\n2. b", f"1. a\n{NBSP}- x\n{NBSP}- y\n2. b", []),
    ("5. a\n6. b", "5. a\n6. b", []),
    ("- a\n\n- b", "- a\n- b", []),
    ("a\nb", "a\nb", []),
    ("a  \nb", "a\nb", []),
    ("# Title", "Title", [("bold", "Title")]),
    ("## T", "T", [("bold", "T")]),
    ("### T", "T", [("bold", "T")]),
    ("---", "⎯" * 10, []),
    ("![alt](http://x/y.png)", "alt", [("text_link", "alt", "http://x/y.png")]),
    ("~~x~~", "x", [("strikethrough", "x")]),
    ("`•` •", "• •", [("code", "•")]),
    ("<b>x</b>", "<b>x</b>", []),
]


@pytest.mark.parametrize(("markdown", "text", "entities"), TABLE, ids=[row[0] for row in TABLE])
def test_f37_what_is_shown(markdown, text, entities):
    assert shown(markdown) == (text, entities)


def test_entities_count_utf16_units():
    assert render_markdown("🐙 **bold** 🐙 `c`") == (
        "🐙 bold 🐙 c",
        [{"type": "bold", "offset": 3, "length": 4}, {"type": "code", "offset": 11, "length": 1}],
    )


def test_f37_a_table_has_padded_columns():
    text, entities = shown("before\n\n| Name | Qty |\n|:--|--:|\n| apple | 1 |\n| kiwi `x` | 12 |")
    table = "Name   | Qty\n-------+----\napple  |   1\nkiwi x |  12"
    assert text == f"before\n\n{table}"
    assert entities == [("pre", table)]


def test_wide_characters_take_two_columns():
    text, _ = shown("|a|b|\n|:-:|-|\n|東京|x|\n|e\u0301|y|")
    assert text == " a   | b\n-----+--\n東京 | x\n e\u0301   | y"


@pytest.mark.parametrize("emoji", ["✅", "⚠️", "❤️", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪", "☎️"])
def test_an_emoji_takes_two_columns(emoji):
    text, _ = shown(f"|a|b|\n|-|-|\n|{emoji}|x|\n|yes|z|")
    assert text == f"a   | b\n----+--\n{emoji}  | x\nyes | z"


def test_a_table_too_wide_for_a_phone_is_shown_row_by_row():
    long = "words that go on and on until no phone is wide enough"
    text, entities = shown(f"|File|What|\n|-|-|\n|a.py|{long}|\n|`b.py`||\n||{long}|")
    assert text == f"File: a.py\nWhat: {long}\n\nFile: b.py\n\nWhat: {long}"
    assert entities == [("bold", "a.py"), ("code", "b.py")]


def test_a_table_with_links_keeps_them():
    text, entities = shown("|PR|State|\n|-|-|\n|[#1](https://x.y/1)|open|\n|two|shut|")
    assert text == "PR: #1\nState: open\n\nPR: two\nState: shut"
    assert entities == [("text_link", "#1", "https://x.y/1"), ("bold", "two")]


def test_a_long_table_head_is_not_repeated():
    head = "a head that says more than forty columns of words could"
    text, _ = shown(f"|{head}|b|\n|-|-|\n|1|2|\n|3|4|")
    assert text == f"{head}\nb\n\n1\n2\n\n3\n4"


def test_an_empty_column_is_named_once():
    text, _ = shown("|a|b|\n|-|-|\n|[x](http://y.z)||\n|2||")
    assert text == "a: x\nb:\n\na: 2"


def test_an_empty_table_is_nothing():
    assert shown("a\n\n| |\n|-|\n| |\n\nb") == ("a\n\nb", [])


# Lists


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("text\n- a\n- b\n\nmore", "text\n\n- a\n- b\n\nmore"),
        ("* a\n* b", "- a\n- b"),
        ("- a\n  - b\n    - c\n- d", f"- a\n{NBSP}- b\n{NBSP * 2}- c\n- d"),
        ("- a\n  b", f"- a\n{NBSP}b"),
        ("- a\n\n  b\n- c", f"- a\n\n{NBSP}b\n- c"),
        ("3) a\n4) b", "3) a\n4) b"),
        ("1. a\n1. b", "1. a\n2. b"),
        ("- - a\n  - b", f"- - a\n{NBSP}- b"),
        ("-\n- b", "-\n- b"),
        ("- [ ] a\n- [x] b\n- [X] c", "- ☐ a\n- ☑ b\n- ☑ c"),
        ("[x] a\n\n- `[x] b`", "[x] a\n\n- [x] b"),
        # Bullets below a number are its own only without an empty line between them.
        ("1. a\n\n- x\n\n2. b", "1. a\n\n- x\n\n2. b"),
        ("1. a\n- x\n1. b\n- y\n1. c", f"1. a\n{NBSP}- x\n2. b\n{NBSP}- y\n3. c"),
        ("1. a\n- x\n  - z\n2. b", f"1. a\n{NBSP}- x\n{NBSP * 2}- z\n2. b"),
        ("- a\n1. b", "- a\n\n1. b"),
        ("```\n1. a\n- x\n```", "1. a\n- x"),
    ],
)
def test_lists(markdown, text):
    assert shown(markdown)[0] == text


def test_code_in_a_list_starts_its_own_line():
    text, entities = shown(
        "1. run\n   ```sh\n   make  \n       all\n   ```\n2. ```\n   x\n   ```\n"
    )
    assert text == "1. run\nmake  \n    all\n2.\nx"
    assert entities == [("pre", "make  \n    all", "sh"), ("pre", "x")]


# Formatting within formatting


@pytest.mark.parametrize(
    ("markdown", "entities"),
    [
        ("**a `b` c**", [("bold", "a"), ("code", "b"), ("bold", "c")]),
        ("**`b`**", [("code", "b")]),
        ("***x***", [("italic", "x"), ("bold", "x")]),
        ("**a __b__ c**", [("bold", "a b c")]),
        ("# a **b**", [("bold", "a b")]),
        (
            "**[a *b*](http://c.d)**",
            [("bold", "a b"), ("italic", "b"), ("text_link", "a b", "http://c.d")],
        ),
        ("[`a`](http://c.d)", [("text_link", "a", "http://c.d")]),
        ("[`a`](c.d)", [("code", "a")]),
        ("> `a`\n>\n> ```\n> b\n> ```", [("blockquote", "a\n\nb"), ("code", "a"), ("pre", "b")]),
        ("> - a\n> - b", [("blockquote", "- a\n- b")]),
        (">\n\na", []),
        ("` `", []),
        ("*a\\\nb*", [("italic", "a\nb")]),
        ("[![a](http://b.c/d.png)](http://e.f)", [("text_link", "a", "http://e.f")]),
        ("**&nbsp;a&nbsp;**", [("bold", "a")]),
        ("<http://a.b>", [("text_link", "http://a.b", "http://a.b")]),
    ],
)
def test_nesting(markdown, entities):
    found = shown(markdown)[1]
    assert sorted(found) == sorted(entities)


@pytest.mark.parametrize(
    ("markdown", "text", "quote"),
    [
        ("- > a", "-\na", "a"),
        ("- a\n  > b\n  > c\n- d", "- a\nb\nc\n- d", "b\nc"),
        (
            "1. a\n\n   > - b\n   >   - c\n\n   d",
            f"1. a\n\n- b\n{NBSP}- c\n\n{NBSP}d",
            f"- b\n{NBSP}- c",
        ),
        ("> - ```\n>   a\n>   ```", "-\na", "-\na"),
        (">     a\n\nb", "a\n\nb", "a"),
    ],
)
def test_a_quote_starts_its_own_line(markdown, text, quote):
    found, entities = shown(markdown)
    assert found == text
    assert ("blockquote", quote) in entities


def test_empty_quotes_are_nothing():
    assert shown("a\n\n>\n> >\n\n- b\n- >") == ("a\n\n- b\n-", [])


def test_a_quote_in_a_quote_is_marked():
    text, entities = shown("> a\n> > b\n> > c\n>\n> d\n\ne")
    assert text == "a\n\n> b\n> c\n\nd\n\ne"
    assert entities == [("blockquote", "a\n\n> b\n> c\n\nd")]


# Links


@pytest.mark.parametrize(
    ("markdown", "url"),
    [
        ("[a](https://b.c/d?e=f#g)", "https://b.c/d?e=f#g"),
        ("[a](tg://user?id=1)", "tg://user?id=1"),
        ("[a](HTTP://b.c)", "HTTP://b.c"),
        ("[a](http://b.c/ü)", "http://b.c/%C3%BC"),
        ("[a](http://)", None),
        ("[a](http:b)", None),
        ("[a](tg:)", None),
        ("[a](file:///b)", None),
        ("[a](javascript:b)", None),
        ("[a](//b.c)", None),
        ("[a](#b)", None),
        ("[a](/tmp/b.py:3)", None),
        ("[a](http://[b)", None),
        ("[a](http://[-:.])", None),
        ("[a](http://[::1]:80/)", "http://[::1]:80/"),
        ("[a](http://localhost:3000)", None),
        ("[a](https://LOCALHOST/)", None),
        ("[a](http://localhost.b)", "http://localhost.b"),
        ("[a](http://127.0.0.1:80)", "http://127.0.0.1:80"),
        ("[a](https://b.c:0/)", None),
        ("[a](https://b.c:65536/)", None),
        ("[a](https://b.c:x/)", None),
        ("[a](tg://b.c)", None),
        ("[a](tg://b@c)", None),
        ("[a](ftp://b.c)", None),
    ],
)
def test_links_that_telegram_takes(markdown, url):
    assert shown(markdown) == ("a", [("text_link", "a", url)] if url else [])


def test_a_link_without_text_shows_its_target():
    text, entities = shown("[](http://a.b) ![](http://c.d/e.png) [](f.py)")
    assert text == "http://a.b http://c.d/e.png f.py"
    assert [e[1] for e in entities] == ["http://a.b", "http://c.d/e.png"]


# Code


@pytest.mark.parametrize(
    ("info", "language"),
    [
        ("py", "py"),
        ("c++ title=x", "c++"),
        ("{.python .x}", "python"),
        ("objective-c", "objective-c"),
    ],
)
def test_the_language_of_code(info, language):
    assert shown(f"~~~ {info}\nx\n~~~")[1] == [("pre", "x", language)]


def test_tabs_in_code_become_blanks():
    assert shown("```\na\tb\n\tc\n```")[0] == "a   b\n    c"


def test_the_first_line_of_code_keeps_its_indentation():
    assert shown("```\n\n  a\nb\n\n```") == ("  a\nb", [("pre", "  a\nb")])


@pytest.mark.parametrize("markdown", ["```\n\n```", "```", "    \n", "", "\n\n", "![]()", "&nbsp;"])
def test_nothing_to_show(markdown):
    assert render_markdown(markdown) == ("", [])
    assert shown(f"a\n\n{markdown}")[0] == "a"


def test_a_fence_line_with_words_and_no_code_is_shown():
    assert shown("``` that is all")[0] == "that is all"


# What cannot be sent


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("a\x00b\x1b\u202ec", "abc"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("a\x0cb", "a b"),
        ("a\ud83dc", "a\ufffdc"),
        ("a\udc19", "a\ufffd"),
        ("**\ud83d\udc19**", "🐙"),
    ],
)
def test_unsendable_characters(markdown, text):
    assert shown(markdown)[0] == text


def test_nesting_too_deep_to_mean_anything_is_shown_as_it_is():
    markdown = "> " * 500 + "deep"
    assert shown(markdown) == (markdown, [])
    assert shown("- " * 500 + "deep")[0].endswith("deep")
    assert "deep" in shown("![" * 500 + "deep" + "](x)" * 500)[0]
    assert "deep" in shown("[" * 500 + "deep" + "](x)" * 500)[0]
    assert shown("*" * 5001 + "deep" + "*" * 5001)[0] == "deep"


# Parts and limits


def test_f38_an_unclosed_fence_does_not_reach_the_footer():
    parts = MarkdownParts("done · acme · 7s", "```py\nopen **x", "`ctx: a @b`  \n`acme resume 1`")
    text, entities = prepare_telegram(parts)
    check(text, entities)
    assert text == "done · acme · 7s\n\nopen **x\n\nctx: a @b\nacme resume 1"
    assert [covered(text, e) for e in entities] == ["open **x", "ctx: a @b", "acme resume 1"]


@pytest.mark.parametrize(
    "body", ["[a]: http://b.c", "> quote", "- item", "**x", "`x", "<!--", "<p>"]
)
def test_f38_nothing_in_a_body_changes_the_footer(body):
    text, entities = prepare_telegram(MarkdownParts("[a]", body, "[a] `f`"))
    assert text.startswith("[a]")
    assert text.endswith("\n\n[a] f")
    assert covered(text, entities[-1]) == "f"
    assert {e["type"] for e in entities} <= {"code", "blockquote"}


def test_f39_at_most_a_hundred_entities_and_the_footer_keeps_its_own():
    body = " ".join(f"*{i}*" for i in range(150)) + " [z](http://a.b)\n\n```\ncode\n```"
    text, entities = prepare_telegram(MarkdownParts("`h`", body, "`f`"))
    check(text, entities)
    assert len(entities) == 100
    kept = [covered(text, e) for e in entities]
    assert kept == ["h", *(str(i) for i in range(96)), "z", "code", "f"]


def test_f39_a_text_within_the_limit():
    text, entities = prepare_telegram(MarkdownParts("h" * 500, "🐙" * 5000, "f" * 500))
    check(text, entities)
    header, body, footer = text.split("\n\n")
    assert (header, footer) == ("h" * 500, "f" * 500)
    assert body == "🐙" * ((4096 - 1004 - 1) // 2) + "…"


def test_a_header_and_footer_beyond_reason_are_cut_after_all():
    parts = MarkdownParts("h" * 5000, "b" * 5000, "f" * 5000)
    for text, entities in (prepare_telegram(parts), *prepare_telegram_multi(parts)):
        check(text, entities)


def test_missing_parts_leave_no_gap():
    assert prepare_telegram(MarkdownParts("h")) == ("h", [])
    assert prepare_telegram(MarkdownParts("h", " \n", "f"))[0] == "h\n\nf"
    assert prepare_telegram(MarkdownParts("", "b"))[0] == "b"


def test_a_progress_message_is_rendered_whole():
    state = ProgressTracker(engine="acme").snapshot(context_line="`ctx: z80`")
    parts = MarkdownFormatter().render_progress_parts(state, elapsed_s=3, label="`cancelled`")
    text, entities = prepare_telegram(parts)
    assert text == "cancelled · acme · 3s\n\nctx: z80"
    assert [e["type"] for e in entities] == ["code", "code"]


@pytest.mark.parametrize(
    ("title", "code"),
    [
        ("x" * 5000, "x" * 299 + "…"),
        ("cat <<EOF\n# no heading\n```\nEOF", "cat <<EOF # no heading ``` EOF"),
        ("echo `date` ``twice``", "echo `date` ``twice``"),
        ("`date`", "`date`"),
        (
            "echo '**a**' [b](http://c.d) <e> &amp; \\*",
            "echo '**a**' [b](http://c.d) <e> &amp; \\*",
        ),
        ("echo \u202e\x1b[31m \ud83d 🐙", "echo [31m \ufffd 🐙"),
    ],
)
def test_f36_a_step_is_one_piece_of_code_whatever_its_title(title, code):
    tracker = ProgressTracker(engine="acme")
    for number in range(5):
        action = Action(f"a{number}", "command", title)
        tracker.note_event(ActionEvent("acme", action, "completed", False))
    state = tracker.snapshot(context_line="`ctx: z80`")
    text, entities = prepare_telegram(
        MarkdownFormatter().render_progress_parts(state, elapsed_s=3, label="working")
    )
    check(text, entities)
    header, _, rest = text.partition("\n\n")
    assert header == "working · acme · 3s · step 5"
    assert rest.partition("\n\n")[0].split("\n") == [f"✗ {code}"] * 5
    assert [covered(text, e) for e in entities] == [code] * 5 + ["ctx: z80"]


# Any Markdown


@given(MARKDOWN)
@example("> " * 30 + "deep\n\n- x")
@example("\n|a|b|\n|-|-:|\n|[x](http://y.z)|")
@settings(deadline=None, max_examples=300)
def test_any_markdown_gives_a_message_that_arrives_whole(markdown):
    text, entities = render_markdown(markdown)
    if text:
        assert [e for e in errors(text, entities) if e != "message is too long"] == []
        assert losses(text, entities) == []
    assert_survives(markdown, text)


@given(MARKDOWN, st.integers(1, 12))
@settings(deadline=None, max_examples=150)
def test_any_body_leaves_header_and_footer_alone(body, times):
    footer = "ctx: a @b\nacme resume 1"
    parts = MarkdownParts("done · acme", (body + " ") * times, "`ctx: a @b`  \n`acme resume 1`")
    text, entities = prepare_telegram(parts)
    check(text, entities)
    assert text == "done · acme\n\n" + footer or (
        text.startswith("done · acme\n\n") and text.endswith("\n\n" + footer)
    )
    assert [covered(text, e) for e in entities[-2:]] == footer.split("\n")


def squeezed(text):
    return re.sub(r"\s", "", text)


@given(MARKDOWN)
@example("> ```py\n> a\n> ```\n- ~~~\n  b\n  ~~~\n\n`c` ``d ` e``")
@settings(deadline=None, max_examples=200)
def test_code_is_shown_character_by_character(markdown):
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 100})
    tokens = parser.enable(["table", "strikethrough"]).parse(clean(markdown))
    assume(not any(t.level > 18 or t.type == "table_open" for t in tokens))
    rich = render_rich(markdown)
    code = [t for t in tokens if t.type in ("fence", "code_block")]
    blocks = [squeezed(t.content) or squeezed(t.info) for t in code]
    pres = [squeezed(rich.text[s.start : s.end]) for s in rich.spans if s.kind == "pre"]
    assert pres == [block for block in blocks if block]
    spans = [t.content for line in tokens for t in line.children or [] if t.type == "code_inline"]
    rest = squeezed(rich.text)
    for span in filter(None, map(squeezed, spans)):
        _, found, rest = rest.partition(span)
        assert found


# Speed


def test_a_hundred_kilobytes_take_no_time_to_speak_of():
    section = (
        "## Part\n\nSome **bold** text with `code`, a [link](https://a.b/c) and 🐙 _more_.\n\n"
        "- item **one**\n- item `two`\n  - nested\n\n```py\nfor i in x:\n    print(i)\n```\n\n"
        "|a|b|\n|-|-|\n|1|2|\n\n"
    )
    answer = section * (100_000 // len(section))
    render_markdown("load the parser")
    started = time.process_time()
    messages = prepare_telegram_multi(MarkdownParts("h", answer, "f"))
    assert time.process_time() - started < 3
    assert len(messages) > 10


@pytest.fixture
def hasty_threads():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hasty_threads")
def test_several_threads_may_use_a_parser_at_once():
    source, starts, found = "# a\n\n**b** `c`\n", threading.Barrier(4), []

    def parse(parser):
        starts.wait()
        found.append([token.type for token in parser.parse(source)])

    for _ in range(100):
        parser = _parser.__wrapped__()
        threads = [threading.Thread(target=parse, args=[parser]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [[token.type for token in _parser().parse(source)]] * 400


@pytest.mark.parametrize(
    "unit", ["[", "![", "*_", "`a``", "**a", "- a\n", "> > a\n", "|a|\n", "<http://a ", "🇩🇪", "~~a"]
)
def test_hostile_repetition_takes_linear_time(unit):
    """20 kB; anything quadratic takes minutes."""
    started = time.process_time()
    prepare_telegram_multi(MarkdownParts("h", (unit * 20_000)[:20_000], "f"))
    assert time.process_time() - started < 12


@pytest.mark.parametrize(
    ("markdown", "text", "links"),
    [
        ("[INFO]: done\n[WARN]: see /tmp/x.log", "[INFO]: done\n[WARN]: see /tmp/x.log", []),
        ("> [INFO]: done", "[INFO]: done", []),
        ("- [x]: done", "- [x]: done", []),
        ("[INFO]: done\n\n[INFO] again", "[INFO]: done\n\n[INFO] again", []),
        ("see [the docs][1]\n\n[1]: https://a.b/c", "see the docs", ["https://a.b/c"]),
    ],
)
def test_only_an_address_is_taken_for_one(markdown, text, links):
    shown, entities = render_markdown(markdown)
    assert shown == text
    assert [entity["url"] for entity in entities if entity["type"] == "text_link"] == links
