"""Directives at the head of a message."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.bridge.directives import ParsedDirectives, parse_directives
from takopi.config.projects import ProjectConfig, ProjectsConfig
from takopi.errors import DirectiveError

ENGINES = ("claude", "codex")
PROJECTS = ProjectsConfig(
    {
        "proj": ProjectConfig("Proj", Path("/p"), Path(".worktrees")),
        "z80": ProjectConfig("z80", Path("/z"), Path(".worktrees")),
        "": ProjectConfig("", Path("/e"), Path(".worktrees")),
        "a@b": ProjectConfig("a@b", Path("/a"), Path(".worktrees")),
    }
)


def parse(text, **more):
    return parse_directives(text, engine_ids=ENGINES, projects=PROJECTS, **more)


@pytest.mark.parametrize(
    ("text", "prompt", "engine", "project", "branch"),
    [
        ("/codex hi", "hi", "codex", None, None),
        ("/CODEX@bot hi", "hi", "codex", None, None),
        ("\n\n /codex @b /proj x\ny", "x\ny", "codex", "proj", "b"),
        (" \t\n\r\n/codex hi", "hi", "codex", None, None),
        ("/proj /unknown x", "/unknown x", None, "proj", None),
        ("/PROJ@some_bot x", "x", None, "proj", None),
        ("/codex", "", "codex", None, None),
        ("/codex\n\nhi\n", "hi", "codex", None, None),
        ("/codex\r\nhi\r\nho", "hi\r\nho", "codex", None, None),
        ("@feat/a-b.c x", "x", None, None, "feat/a-b.c"),
        ("@b\n/codex x", "/codex x", None, None, "b"),
        ("/z80 @b", "", None, "z80", "b"),
        ("/codex  /proj", "", "codex", "proj", None),
        ("/codex @ x", "@ x", "codex", None, None),
        ("/codex / x", "/ x", "codex", None, None),
        ("/codex /@bot x", "/@bot x", "codex", None, None),
        ("/codex hello /codex @b", "hello /codex @b", "codex", None, None),
        ("/codex /proj/x", "/proj/x", "codex", None, None),
    ],
)
def test_directives_are_taken_from_the_head_of_the_first_line(
    text, prompt, engine, project, branch
):
    assert parse(text) == ParsedDirectives(prompt, engine, project, branch)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n ",
        "hello",
        "  hello\n\n",
        "/codex: fix",
        "/proj/x",
        "hello /codex",
        "hello\n/codex x",
        "/ x",
        "@ x",
        "/",
        "@",
        "/unknown x",
        "/unknown@bot x",
        "/@codex x",
        "/a@b x",
        "//codex x",
        "codex x",
        "\ufeff/codex x",
    ],
)
def test_a_text_without_directives_is_unchanged(text):
    assert parse(text) == ParsedDirectives(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/codex /claude x", "multiple engine directives"),
        ("/codex /CODEX x", "multiple engine directives"),
        ("/proj /z80 x", "multiple project directives"),
        ("@a @b x", "multiple @branch directives"),
        ("/codex @a /proj @a", "multiple @branch directives"),
        ("/proj @a /proj @a", "multiple project directives"),
    ],
)
def test_two_of_a_kind_are_refused(text, message):
    with pytest.raises(DirectiveError) as error:
        parse(text)
    assert str(error.value) == message


def test_an_engine_beats_a_project_of_the_same_name():
    projects = ProjectsConfig({"codex": ProjectConfig("codex", Path("/p"), Path("w"))})
    parsed = parse_directives("/codex x", engine_ids=ENGINES, projects=projects)
    assert parsed == ParsedDirectives("x", engine="codex")


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("/codex   a    b", "a    b"),
        ("/codex\ta\t\tb  \n  c   d ", "a\t\tb  \n  c   d"),
        ("/codex @b   a\u2003\u2003b", "a\u2003\u2003b"),
    ],
)
def test_s9_inner_spacing_of_the_rest_is_kept(text, prompt):
    assert parse(text).prompt == prompt


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("@someone hi", ParsedDirectives("@someone hi")),
        ("  @someone   hi ", ParsedDirectives("  @someone   hi ")),
        ("@a @b hi", ParsedDirectives("@a @b hi")),
        ("@someone /codex hi", ParsedDirectives("@someone /codex hi")),
        ("/codex  @someone hi", ParsedDirectives("@someone hi", engine="codex")),
        ("/codex @a @b hi", ParsedDirectives("@a @b hi", engine="codex")),
        ("@feat /proj hi", ParsedDirectives("hi", project="proj", branch="feat")),
        ("/proj @feat hi", ParsedDirectives("hi", project="proj", branch="feat")),
        ("/codex hi", ParsedDirectives("hi", engine="codex")),
    ],
)
def test_s10_without_a_project_a_name_is_no_branch(text, parsed):
    assert parse(text, branch_applies=False) == parsed


def test_s10_two_branches_of_a_project_are_still_refused():
    with pytest.raises(DirectiveError, match="multiple @branch directives"):
        parse("@a @b /proj hi", branch_applies=False)


WORDS = ["/codex", "/Codex@bot", "/claude", "/proj", "/Z80", "@b", "@", "/", "/x", "hi", "a@b"]
BLANKS = [" ", "  ", "\t", "\n", "\n\n", "\r\n", "\u2028", "\x0b"]
MESSAGES = st.one_of(
    st.text(),
    st.lists(st.sampled_from(WORDS + BLANKS)).map("".join),
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(BLANKS))).map(
        lambda pairs: "".join(word + blank for word, blank in pairs)
    ),
)


@settings(deadline=None)
@given(MESSAGES, st.booleans())
def test_any_message_parses_or_is_refused(text, branch_applies):
    try:
        parsed = parse(text, branch_applies=branch_applies)
    except DirectiveError:
        return
    found = [parsed.engine, parsed.project, parsed.branch]
    if found == [None, None, None]:
        assert parsed.prompt == text
        return
    # The prompt is the end of the text, and before it there is one word per directive.
    assert parsed.prompt == parsed.prompt.strip()
    head, rest = text.rstrip(), parsed.prompt
    assert head.endswith(rest)
    words = head[: len(head) - len(rest)].split()
    assert len(words) == len(found) - found.count(None)
    assert all(word[0] in "/@" for word in words)
    assert parsed.engine in (None, *ENGINES)
    assert parsed.project in (None, "proj", "z80")
    assert parsed.branch is None or branch_applies or parsed.project
    lines = text.splitlines()
    kept = rest.splitlines()
    assert all(any(line.strip().endswith(mine.strip()) for line in lines) for mine in kept), (
        "every line of the prompt is one of the message, or the end of one"
    )
