"""Progress and answers as Markdown."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from takopi.bridge.markdown import (
    MarkdownFormatter,
    MarkdownParts,
    assemble_markdown_parts,
    code_span,
    format_action_line,
    format_action_title,
    format_elapsed,
    render_event_cli,
    shorten,
)
from takopi.bridge.progress import ProgressState, ProgressTracker
from takopi.model import Action, ActionEvent, CompletedEvent, ResumeToken, StartedEvent
from takopi.paths import reset_run_base_dir, set_run_base_dir

TOKEN = ResumeToken("acme", "0199a213")
# Long and short words, white space of all sorts and back-ticks.
TITLES = st.lists(
    st.sampled_from(
        ["x", "word", "y" * 40, " ", "   ", "\n", "\r\n", "\u2028", "\t", "`", "``", "…"]
    )
).map("".join)


@pytest.fixture
def in_repo():
    token = set_run_base_dir(Path("/repo"))
    yield
    reset_run_base_dir(token)


def action(kind="command", title="ls", *, id="a", **detail):
    return Action(id, kind, title, detail)


def state_of(*titles, context_line=None, resume_line=None):
    tracker = ProgressTracker(engine="acme")
    for number, title in enumerate(titles):
        tracker.note_event(ActionEvent("acme", action(title=title, id=str(number)), "started"))
    state = tracker.snapshot(context_line=context_line)
    state.resume_line = resume_line
    return state


# Header, body, footer


def test_a_progress_message_byte_for_byte(in_repo):
    tracker = ProgressTracker(engine="acme")
    tracker.note_event(StartedEvent("acme", TOKEN))
    for number in range(5):
        tracker.note_event(ActionEvent("acme", action(id=str(number)), "completed", True))
    test = action("command", "pytest -q", id="test", exit_code=1)
    edit = action("file_change", "edit", id="edit", changes=[{"path": "/repo/src/app.py"}])
    tracker.note_event(ActionEvent("acme", test, "completed", True))
    tracker.note_event(ActionEvent("acme", edit, "started"))
    state = tracker.snapshot(
        resume_formatter=lambda token: f"`acme resume {token.value}`",
        context_line="`ctx: z80 @feat/name`",
    )
    parts = MarkdownFormatter(max_actions=2).render_progress_parts(state, elapsed_s=65.9)
    assert assemble_markdown_parts(parts) == (
        "working · acme · 1m 05s · step 7\n"
        "\n"
        "✓ `pytest -q` (exit 1)  \n"
        "▸ files: update `src/app.py`\n"
        "\n"
        "`ctx: z80 @feat/name`  \n"
        "`acme resume 0199a213`"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m 00s"),
        (65, "1m 05s"),
        (3599.9, "59m 59s"),
        (3600, "1h 00m"),
        (3661, "1h 01m"),
        (90061, "25h 01m"),
        (3600 * 1000, "1000h 00m"),
    ],
)
def test_elapsed(seconds, text):
    assert format_elapsed(seconds) == text


@pytest.mark.parametrize("label", ["starting", "working", "queued", "`cancelled`"])
def test_the_header_has_steps_only_when_there_are_some(label):
    formatter = MarkdownFormatter()
    bare = formatter.render_progress_parts(state_of(), elapsed_s=0, label=label)
    assert bare == MarkdownParts(header=f"{label} · acme · 0s")
    busy = formatter.render_progress_parts(state_of("a", "b"), elapsed_s=61, label=label)
    assert busy.header == f"{label} · acme · 1m 01s · step 2"


def test_the_default_label_is_working():
    parts = MarkdownFormatter().render_progress_parts(state_of(), elapsed_s=0)
    assert parts.header.startswith("working · ")


@pytest.mark.parametrize(
    ("max_actions", "body"),
    [
        (None, "▸ `2`  \n▸ `3`  \n▸ `4`  \n▸ `5`  \n▸ `6`"),
        (2, "▸ `5`  \n▸ `6`"),
        (1, "▸ `6`"),
        (0, None),
        (-1, None),
        (9, "▸ `1`  \n▸ `2`  \n▸ `3`  \n▸ `4`  \n▸ `5`  \n▸ `6`"),
    ],
)
def test_a_progress_body_has_the_last_actions(max_actions, body):
    options = {} if max_actions is None else {"max_actions": max_actions}
    state = state_of(*"123456")
    parts = MarkdownFormatter(**options).render_progress_parts(state, elapsed_s=0)
    assert (parts.body, parts.header) == (body, "working · acme · 0s · step 6")


@pytest.mark.parametrize(
    ("context_line", "resume_line", "footer"),
    [
        (None, None, None),
        ("", "", None),
        ("ctx", None, "ctx"),
        ("ctx", "", "ctx"),
        (None, "resume", "resume"),
        ("", "resume", "resume"),
        ("ctx", "resume", "ctx  \nresume"),
    ],
)
def test_the_footer_skips_what_is_missing(context_line, resume_line, footer):
    state = state_of(context_line=context_line, resume_line=resume_line)
    formatter = MarkdownFormatter()
    assert formatter.render_progress_parts(state, elapsed_s=0).footer == footer
    final = formatter.render_final_parts(state, elapsed_s=0, status="done", answer="x")
    assert final.footer == footer


@pytest.mark.parametrize(
    ("answer", "body"),
    [("all good", "all good"), ("\n a\n\n b \n", "a\n\n b"), ("", None), (" \n ", None)],
)
def test_a_final_body_is_the_answer_alone(answer, body):
    parts = MarkdownFormatter().render_final_parts(
        state_of("a", "b"), elapsed_s=3, status="done", answer=answer
    )
    assert parts == MarkdownParts(header="done · acme · 3s · step 2", body=body)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (MarkdownParts("h"), "h"),
        (MarkdownParts("h", "b"), "h\n\nb"),
        (MarkdownParts("h", None, "f"), "h\n\nf"),
        (MarkdownParts("h", "", "f"), "h\n\nf"),
        (MarkdownParts("h", "b", "f"), "h\n\nb\n\nf"),
        (MarkdownParts("", "b"), "b"),
    ],
)
def test_parts_are_joined_by_one_blank_line(parts, text):
    assert assemble_markdown_parts(parts) == text


# Action lines


@pytest.mark.parametrize(
    ("display_phase", "ok", "exit_code", "line"),
    [
        ("started", None, None, "▸ `ls`"),
        ("some_day", None, None, "▸ `ls`"),
        ("updated", None, None, "↻ `ls`"),
        ("completed", True, None, "✓ `ls`"),
        ("completed", False, None, "✗ `ls`"),
        ("completed", None, None, "✓ `ls`"),
        ("completed", None, 0, "✓ `ls`"),
        ("completed", None, 2, "✗ `ls` (exit 2)"),
        ("completed", None, -9, "✗ `ls` (exit -9)"),
        ("completed", True, 3, "✓ `ls` (exit 3)"),
        ("completed", False, 3, "✗ `ls` (exit 3)"),
        ("completed", False, 0, "✗ `ls`"),
        ("completed", None, True, "✓ `ls`"),
        ("completed", None, "1", "✓ `ls`"),
        ("completed", None, 1.0, "✓ `ls`"),
        ("started", None, 1, "▸ `ls`"),
        ("updated", False, 1, "↻ `ls`"),
    ],
)
def test_glyph_and_suffix(display_phase, ok, exit_code, line):
    assert format_action_line(action(exit_code=exit_code), display_phase, ok) == line


@pytest.mark.parametrize(
    ("kind", "title", "shown"),
    [
        ("command", "pytest -q", "`pytest -q`"),
        ("tool", "read `src/app.py`", "tool: read `src/app.py`"),
        ("web_search", "python csv", "searched: python csv"),
        ("subagent", "explore", "subagent: explore"),
        ("note", "thinking", "thinking"),
        ("warning", "retrying", "retrying"),
        ("telemetry", "10 tokens", "10 tokens"),
        ("future_kind", "hello", "hello"),
        ("command", "a\nb", "`a b`"),
        ("note", "a\n  b\n", "a b"),
        ("command", "echo `date`", "`` echo `date` ``"),
        ("command", "echo `date` now", "``echo `date` now``"),
    ],
)
def test_the_title_by_kind(kind, title, shown):
    assert format_action_title(action(kind, title)) == shown
    assert format_action_line(action(kind, title), "updated", None) == f"↻ {shown}"


@pytest.mark.parametrize("kind", ["command", "note"])
def test_an_empty_title_leaves_no_stray_marks(kind):
    assert format_action_line(action(kind, "", exit_code=1), "completed", None) == "✗ (exit 1)"


@pytest.mark.parametrize(
    "kind", ["command", "tool", "web_search", "subagent", "note", "file_change"]
)
def test_titles_are_shortened_before_they_are_decorated(kind):
    bare = format_action_title(action(kind, "w" * 299 + "·"))
    assert "…" not in bare
    long = format_action_title(action(kind, "w" * 301))
    assert long == bare.replace("w" * 299 + "·", "w" * 299 + "…")
    whole = format_action_title(action(kind, "w" * 301), command_width=None)
    assert whole == bare.replace("w" * 299 + "·", "w" * 301)


@pytest.mark.parametrize(
    ("title", "line"),
    [
        ("y" * 400, "▸ `" + "y" * 299 + "…`"),
        ("x " + "y" * 400, "▸ `x " + "y" * 297 + "…`"),
        ("cat <<EOF\nhello\nEOF", "▸ `cat <<EOF hello EOF`"),
        ("echo `date`", "▸ `` echo `date` ``"),
    ],
    ids=["long word", "short then long", "lines", "back-ticks"],
)
def test_c6_a_command_is_one_code_span_that_says_something(title, line):
    body = MarkdownFormatter().render_progress_parts(state_of(title), elapsed_s=0).body
    assert body == line


def test_the_formatters_width_counts():
    formatter = MarkdownFormatter(command_width=6)
    assert formatter.render_progress_parts(state_of("x" * 9), elapsed_s=0).body == "▸ `xxxxx…`"


@pytest.mark.parametrize(
    ("title", "width", "shown"),
    [
        # Cut open, the span would reach into the next line of the message.
        ("read `src/some/long/path.py`", 20, "tool: read src/some/long…"),
        ("read `a` and ``b `c`` d", 20, "tool: read `a` and b…"),
        ("``bbbb`cccccccc``", 10, "tool: bbbbcc…"),
        ("`bbbb``cccccccc`", 10, "tool: bbbbcc…"),
        ("read `a` and then `b`", 13, "tool: read `a` and…"),
        ("it`s a stray one", 16, "tool: it`s a stray one"),
        ("it`s a stray one…", 17, "tool: it`s a stray one…"),
    ],
)
def test_a_code_span_that_is_cut_open_is_code_no_longer(title, width, shown):
    assert format_action_title(action("tool", title), command_width=width) == shown


# File changes


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ([{"path": "/repo/a.py", "kind": "add"}], "add `a.py`"),
        ([{"path": "a.py"}], "update `a.py`"),
        ([{"path": "a.py", "kind": None}], "update `a.py`"),
        ([{"path": "a.py", "kind": 3}], "update `a.py`"),
        ([SimpleNamespace(path="/repo/a.py", kind="delete")], "delete `a.py`"),
        ([SimpleNamespace(path="a.py")], "update `a.py`"),
        ([{"path": "/repo"}], "update `.`"),
        ([{"path": "/srv/repo/a.py"}], "update `/srv/repo/a.py`"),
        ([{"path": "a`b.py"}], "update ``a`b.py``"),
        ([{"path": "a"}, {"path": "b"}, {"path": "c"}], "update `a`, update `b`, update `c`"),
        (
            [{"path": name} for name in "abcde"],
            "update `a`, update `b`, update `c`, …(2 more)",
        ),
        # Invalid elements are not counted either.
        (["a.py", {"path": ""}, {"path": 3}, {}, None, {"path": "b.py"}], "update `b.py`"),
        (["a.py", {"path": ""}], "`src/title.py`"),
        ([], "`src/title.py`"),
        ("a.py", "`src/title.py`"),
        (None, "`src/title.py`"),
        ({"path": "a.py"}, "`src/title.py`"),
    ],
)
def test_file_changes(in_repo, changes, shown):
    change = action("file_change", "src/title.py", changes=changes)
    assert format_action_title(change) == f"files: {shown}"


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("src/x.py", "`src/x.py`"),
        ("/repo/x.py", "`x.py`"),
        ("/repo", "`.`"),
        ("/etc/x.py", "`/etc/x.py`"),
        ("all files", "all files"),
        ("x.py", "x.py"),
        ("`src/x.py`", "`src/x.py`"),
        ("edit `src/x.py`", "edit `src/x.py`"),
    ],
)
def test_file_changes_without_a_list_use_the_title(in_repo, title, shown):
    assert format_action_title(action("file_change", title)) == f"files: {shown}"


def test_the_joined_changes_are_shortened():
    change = action("file_change", changes=[{"path": letter * 200} for letter in "abc"])
    title = format_action_title(change).removeprefix("files: ")
    assert title == f"update `{'a' * 200}`, update…"
    narrow = format_action_title(change, command_width=20).removeprefix("files: ")
    assert narrow == "update aaaaaaaaaaa…"
    spaced = action("file_change", changes=[{"path": f"{'a' * 15} {'b' * 15}"}, {"path": "c"}])
    assert format_action_title(spaced, command_width=30) == f"files: update `{'a' * 15}…`,…"


# Shortening and code spans


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("", 10, ""),
        ("fits", 4, "fits"),
        ("two  blanks kept", 20, "two  blanks kept"),
        ("a\nb", 10, "a b"),
        ("a \n\n\t b\r\nc\n", 20, "a b c"),
        ("a\n b", None, "a b"),
        ("x" * 500, None, "x" * 500),
        ("some words here", 12, "some words…"),
        ("some words here", 11, "some words…"),
        ("some words here", 10, "some word…"),
        ("some words here", 9, "some wor…"),
        ("some words here", 8, "some…"),
        # Less than half the width would be left: cut anywhere.
        ("some words_here", 9, "some wor…"),
        ("x" * 400, 300, "x" * 299 + "…"),
        ("x " + "y" * 400, 300, "x " + "y" * 297 + "…"),
        ("git  commit   -m   message", 12, "git commit…"),
        # Too long only for its white space: nothing is lost.
        ("a    b    c", 5, "a b c"),
        ("   \n  a" + " " * 5000 + "b", 3, "a b"),
        (" " * 50, 10, ""),
        ("a bcd", 3, "a…"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
        ("abc", -3, ""),
    ],
)
def test_shorten(text, width, short):
    assert shorten(text, width) == short


@given(TITLES | st.text(), st.integers(1, 60))
def test_a_shortened_text_is_one_line_within_the_width_and_says_so(text, width):
    short = shorten(text, width)
    assert len(short) <= width
    assert len(short.splitlines()) <= 1
    # One line and nothing lost, or the beginning and an ellipsis.
    whole, kept = " ".join(text.split()), " ".join(short.split())
    if kept != whole:
        assert short.endswith("…")
        assert whole.startswith(short.removesuffix("…"))
        assert len(whole) > width


@given(TITLES | st.text(), st.integers(2, 60))
def test_a_shortened_text_ends_with_a_word_or_fills_half_the_width(text, width):
    text = text.replace("…", "")
    short, whole = shorten(text, width), " ".join(text.split())
    if short.endswith("…"):
        kept = short[:-1]
        assert len(kept) * 2 >= width - 2
        assert whole[len(kept)] == " " or len(kept) >= width - 2


@given(TITLES, st.integers(0, 60))
def test_shortening_again_changes_nothing(text, width):
    short = shorten(text, width)
    assert shorten(short, width) == short


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("", ""),
        ("a", "`a`"),
        ("a`b", "``a`b``"),
        ("a``b", "```a``b```"),
        ("a`b```c", "````a`b```c````"),
        ("`a", "`` `a ``"),
        ("a`", "`` a` ``"),
        ("`", "`` ` ``"),
        ("``", "``` `` ```"),
    ],
)
def test_code_span(text, span):
    assert code_span(text) == span


def parse_code_span(markdown):
    """The content of one code span by the rules of CommonMark; None if it is anything else."""
    fence = re.match("`+", markdown).group()
    inner = markdown[len(fence) : -len(fence)]
    if not markdown.endswith(fence) or fence in re.findall("`+", inner):
        return None
    if inner[:1] == inner[-1:] == " " and inner.strip(" "):
        inner = inner[1:-1]
    return inner


@given(st.text(alphabet="ab`", min_size=1))
def test_code_holds_any_text(text):
    assert parse_code_span(code_span(text)) == text


@given(TITLES, st.integers(1, 60))
def test_a_cut_title_leaves_no_back_tick_open(title, width):
    shown = format_action_title(action("note", title), command_width=width)
    assert len(shown) <= width
    if len(title) > width and shown.endswith("…"):
        assert "`" not in re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", shown)


@given(TITLES, st.integers(0, 60), st.sampled_from(["command", "tool", "note", "file_change"]))
def test_an_action_is_always_one_line_and_always_the_same(title, width, kind):
    line = format_action_line(action(kind, title), "started", None, command_width=width)
    assert len(line.splitlines()) == 1
    assert line == format_action_line(action(kind, title), "started", None, command_width=width)


# The log


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (StartedEvent("acme", TOKEN), ["acme"]),
        (ActionEvent("acme", action(), "started"), ["▸ `ls`"]),
        (ActionEvent("acme", action(), "updated"), ["↻ `ls`"]),
        (ActionEvent("acme", action(exit_code=2), "completed", False), ["✗ `ls` (exit 2)"]),
        (ActionEvent("acme", action("note", "x" * 400), "updated"), ["↻ " + "x" * 299 + "…"]),
        (ActionEvent("acme", action("turn"), "started"), []),
        (CompletedEvent("acme", ok=True, answer="x"), []),
    ],
)
def test_events_in_the_log(event, lines):
    assert render_event_cli(event) == lines


# Speed


def test_a_long_title_is_not_read_to_its_end():
    """Only the beginning counts, so a title of any length costs what a short one does."""

    class Counting(str):
        read = 0

        def __getitem__(self, key):
            part = super().__getitem__(key)
            self.read += len(part)
            return part

        def split(self, *args):
            raise AssertionError("the whole text was split")

        splitlines = split

    title = Counting("word " * 200_000)
    assert shorten(title, 300).endswith("word…")
    assert title.read <= 1200


def test_only_the_shown_actions_are_formatted():
    class Unreadable:
        def __getattr__(self, name):
            raise AssertionError(f"{name} of an action that is not shown")

    steps = (Unreadable(),) * 50 + state_of("a", "b").actions
    state = ProgressState("acme", 52, steps, None, None, None)
    parts = MarkdownFormatter(max_actions=2).render_progress_parts(state, elapsed_s=0)
    assert parts.body == "▸ `a`  \n▸ `b`"
