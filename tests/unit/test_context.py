"""Context lines: written into footers, read from replies."""

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.bridge.context import footer_lines, format_context_line, parse_context_line
from takopi.bridge.markdown import MarkdownFormatter, assemble_markdown_parts
from takopi.bridge.progress import ProgressState
from takopi.config.projects import ProjectConfig, ProjectsConfig
from takopi.errors import DirectiveError
from takopi.model import RunContext


def projects_of(*aliases):
    return ProjectsConfig(
        {alias.lower(): ProjectConfig(alias, Path("/p"), Path(".worktrees")) for alias in aliases}
    )


PROJECTS = projects_of("Proj", "z80", "My App")


def is_resume_line(line):
    return line.strip("`").startswith("codex resume ")


def parse(text, **more):
    return parse_context_line(text, projects=PROJECTS, **more)


@pytest.mark.parametrize(
    ("context", "line"),
    [
        (None, None),
        (RunContext(), None),
        (RunContext(None, "b"), None),
        (RunContext("", "b"), None),
        (RunContext("proj"), "`ctx: Proj`"),
        (RunContext("proj", "feat/a"), "`ctx: Proj @feat/a`"),
        (RunContext("proj", ""), "`ctx: Proj`"),
        (RunContext("gone", "b"), "`ctx: gone @b`"),
        (RunContext("proj", "a`b"), "``ctx: Proj @a`b``"),
    ],
)
def test_the_line_of_a_context(context, line):
    assert format_context_line(context, projects=PROJECTS) == line


@pytest.mark.parametrize(
    ("line", "context"),
    [
        ("`ctx: proj @b`", RunContext("proj", "b")),
        ("ctx: proj @b", RunContext("proj", "b")),
        ("CTX: Proj @ b", RunContext("proj", "b")),
        ("  `ctx: PROJ  @  b`  ", RunContext("proj", "b")),
        ("ctx:proj", RunContext("proj")),
        ("ctx: proj feat", RunContext("proj")),
        ("ctx: proj feat @b", RunContext("proj")),
        ("ctx: proj @b more words", RunContext("proj", "b")),
        ("`ctx: proj ", RunContext("proj")),
        ("`ctx: proj", RunContext("proj")),
        ("ctx: proj`", RunContext("proj")),
        ("ctx: proj @b`", RunContext("proj", "b")),
        ("ctx: my app @b", RunContext("my app", "b")),
        ("ctx:", None),
        ("`ctx:`", None),
        ("see ctx: proj", None),
        ("ctx proj", None),
        ("context: proj", None),
        ("", None),
        (None, None),
    ],
)
def test_the_context_of_a_line(line, context):
    assert parse(line) == context


@pytest.mark.parametrize("line", ["ctx: proj @", "`ctx: proj @`", "ctx: proj @ ", "ctx: proj @  `"])
def test_an_at_sign_that_nothing_follows_is_no_branch(line):
    assert parse(line) == RunContext("proj")


@pytest.mark.parametrize("name", ["Gone", "@b"])
def test_an_unknown_project_is_refused(name):
    with pytest.raises(DirectiveError) as error:
        parse(f"done\n\n`ctx: {name} @b`")
    assert str(error.value) == (
        f"unknown project '{name}' in ctx line; start a new thread or add it back to your config"
    )


def test_the_last_line_of_a_footer_wins():
    assert parse("ctx: proj\nctx: z80 @b") == RunContext("z80", "b")


def message(answer, *, context_line=None, resume_line=None):
    state = ProgressState("codex", 0, (), None, resume_line, context_line)
    parts = MarkdownFormatter().render_final_parts(state, elapsed_s=7, status="done", answer=answer)
    return assemble_markdown_parts(parts)


ANSWERS = [
    "fine",
    "ctx: nosuch",
    "`ctx: nosuch @b`\n`codex resume other`",
    "The footer is\nctx: nosuch",
    "- a\n- b\n\n```\nctx: nosuch\n",
    "",
]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("resume_line", [None, "`codex resume 0199a213`", "`gone resume 0199a213`"])
@pytest.mark.parametrize("as_markdown", [True, False])
def test_s11_only_the_footer_of_a_message_counts(answer, resume_line, as_markdown):
    text = message(answer, context_line="`ctx: Proj @feat/a`", resume_line=resume_line)
    if not as_markdown:
        text = text.replace("`", "").replace("  \n", "\n")
    assert parse(text) == RunContext("proj", "feat/a")
    assert parse(text, is_resume_line=is_resume_line) == RunContext("proj", "feat/a")


@pytest.mark.parametrize("answer", ANSWERS)
def test_s11_a_footer_without_context_hides_what_the_answer_says(answer):
    text = message(answer, resume_line="`codex resume 0199a213`")
    assert parse(text) is None
    assert parse(text, is_resume_line=is_resume_line) is None


@pytest.mark.parametrize(
    "text",
    [
        "ctx: nosuch\n\nThat was an example.",
        "Here it is:\nctx: nosuch\nThat was an example.",
        "```\nctx: nosuch\n```\n",
        "see ctx: nosuch",
        "> ctx: nosuch",
    ],
)
def test_s11_an_answer_that_quotes_a_line_breaks_no_reply(text):
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (None, []),
        ("", []),
        (" \n\n", []),
        ("a", ["a"]),
        ("a\n\n b  \nc\n\n", ["b", "c"]),
        ("a\n \t\nb", ["b"]),
        ("a\nb\nc", ["c"]),
        ("a\nb\ncodex resume x", ["b", "codex resume x"]),
        ("codex resume x", ["codex resume x"]),
        ("a\r\n\r\nb  \r\nc\r\n", ["b", "c"]),
    ],
)
def test_the_lines_that_can_be_a_footer(text, lines):
    assert footer_lines(text, is_resume_line) == lines


ALIASES = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=32)
BRANCHES = st.text(st.characters(codec="utf-8"), min_size=1).filter(
    lambda branch: len(branch.split()) == 1 and branch == branch.split()[0]
)


@settings(deadline=None)
@given(ALIASES, st.none() | BRANCHES)
def test_what_is_written_is_read_again(alias, branch):
    projects = projects_of(alias, "other")
    context = RunContext(alias.lower(), branch)
    line = format_context_line(context, projects=projects)
    assert parse_context_line(line, projects=projects) == context
    text = message("Answer.\n\nctx: other", context_line=line, resume_line="`codex resume x`")
    assert parse_context_line(text, projects=projects) == context


@settings(deadline=None)
@given(
    st.one_of(
        st.text(),
        st.lists(
            st.sampled_from(["ctx:", "CTX: ", "proj", "nosuch", "@", "b", "`", " ", "\n"])
        ).map("".join),
    )
)
def test_any_text_can_be_replied_to(text):
    try:
        context = parse(text)
    except DirectiveError:
        return
    assert context is None or (context.project in PROJECTS.projects and context.branch != "")
