"""Resume lines: the codec that every adapter gets."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from takopi.adapters.catalog import load_catalog
from takopi.adapters.compile import compile_adapter
from takopi.adapters.resume import MAX_LINE_CHARS, SAMPLE_TOKENS
from takopi.adapters.source import Source
from takopi.config import Config

ADAPTERS = Path(__file__).parents[2] / "adapters"


def form(line, regex=None):
    """The resume format of an adapter with this line."""
    resume = f"{{line: '{line}'" + (f", regex: '{regex}'}}" if regex else "}")
    text = (
        f"adapter: 1\nid: acme\ncommand: acme\nargs: ['${{run().prompt}}', '${{run().resume}}']\nresume: {resume}\n"
        "session: {id: id}\nevents:\n  - match: {type: a}\n    complete: {}\n"
    )
    compiled = compile_adapter(Source("acme.yaml", text))
    assert compiled.diagnostics == ()
    return compiled.adapter.resume


def built_in(engine):
    return load_catalog(Config(Path("takopi.toml"))).adapter(engine).resume


BUILT = form("acme resume ${token}")
WRITTEN = form("acme resume ${token}", r"(?im)^\s*`?acme\s+resume\s+(?P<token>[^`\s]+)`?\s*$")
both = pytest.mark.parametrize("resume", [BUILT, WRITTEN], ids=["built", "written"])


@both
@pytest.mark.parametrize(
    ("text", "token"),
    [
        (None, None),
        ("", None),
        ("acme resume A", "A"),
        ("`acme resume A`", "A"),
        ("  `acme resume A`  ", "A"),
        ("ACME Resume aB", "aB"),
        ("acme  resume\tA", "A"),
        ("acme resume", None),
        ("acme resume ", None),
        ("run acme resume A please", None),
        ("acme resume A please", None),
        ("`claude --resume A`", None),
        ("acme resume A\nacme resume B", "B"),
        ("acme resume A\r\nacme resume B\r\n", "B"),
        ("acme resume A\r\n", "A"),
        ("answer\n\n`acme resume A`\n", "A"),
        ("acme resume A\nmore text\n", "A"),
        ("acme resume -rf", None),
        ("acme resume --last", None),
        ("acme resume A\nacme resume -x", "A"),
        ("xacme resume A", None),
        ("acme resume a.b/c:d_e", "a.b/c:d_e"),
    ],
)
def test_extract(resume, text, token):
    assert resume.extract(text) == token


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ('acme resume "/a b/c d.jsonl"', "/a b/c d.jsonl"),
        ('`acme resume "a b"`', "a b"),
        ('acme resume "a"', "a"),
        ('acme resume ""', None),
        ('acme resume "-x y"', None),
        ('acme resume "a b', None),
        ("acme resume /a b", None),
    ],
)
def test_a_quoted_token_may_hold_spaces(text, token):
    assert BUILT.extract(text) == token


@both
@pytest.mark.parametrize(
    ("line", "whole"),
    [
        ("acme resume A", True),
        ("`acme resume A`", True),
        ("  acme resume A\r\n", True),
        ("see acme resume A", False),
        ("acme resume A\nacme resume B", False),
        ("text\nacme resume A", False),
        ("acme resume -x", False),
        ("", False),
    ],
)
def test_is_line(resume, line, whole):
    assert resume.is_line(line) == whole


def test_a_token_with_white_space_is_quoted():
    assert BUILT.format("a") == "acme resume a"
    assert BUILT.format("a b") == 'acme resume "a b"'
    assert BUILT.format("a\tb") == 'acme resume "a\tb"'


def test_a_line_may_go_on_after_the_token():
    resume = form("acme --session=${token} --chat")
    assert resume.extract("acme --session=x --chat") == "x"
    assert resume.extract("acme --session=x") is None


TOKENS = st.text(
    st.characters(codec="utf-8", exclude_characters='"`\n\r', exclude_categories=("Cs",)),
    min_size=1,
).filter(lambda token: not token.startswith("-"))


@given(TOKENS, st.sampled_from(["{}", "`{}`", "text\n\n{}\n", "a\r\n`{}`\r\nb"]))
def test_what_is_written_is_read_again(token, around):
    line = BUILT.format(token)
    assert BUILT.extract(around.format(line)) == token


@given(st.text())
def test_any_text_can_be_searched(text):
    for resume in (BUILT, WRITTEN):
        token = resume.extract(text)
        assert token is None or (token and not token.startswith("-"))
        resume.is_line(text)


@pytest.mark.parametrize("engine", sorted(path.stem for path in ADAPTERS.glob("*.yaml")))
def test_each_adapter_reads_its_own_line(engine):
    resume = built_in(engine)
    understood = [t for t in SAMPLE_TOKENS if resume.extract(resume.format(t)) == t]
    assert understood
    token = understood[0]
    line = resume.format(token)
    assert resume.is_line(f"`{line}`")
    assert resume.extract(f"{line}\n{line.replace(token, token + 'x')}") == token + "x"
    assert resume.extract(f"please run {line}") is None
    assert resume.extract(line.replace(token, "-" + token)) is None


@pytest.mark.parametrize(
    ("engine", "line", "token"),
    [
        ("codex", "`codex resume A`", "A"),
        ("codex", "codex resume A", "A"),
        ("codex", "codex resume A\ncodex resume B", "B"),
        ("codex", "codex resume", None),
        ("codex", "run codex resume A please", None),
        ("codex", "`claude --resume A`", None),
        ("claude", "claude --resume A", "A"),
        ("claude", "claude -r A", "A"),
        ("claude", "codex resume A", None),
    ],
)
def test_the_lines_users_have_in_their_chats(engine, line, token):
    assert built_in(engine).extract(line) == token


def test_a_resume_line_is_one_line():
    """Each line is tried by itself, and none that is too long: so a slow expression cannot hang."""
    spread = form("acme resume ${token}", r"(?i)acme\s+resume\s+(?P<token>[^\s`]+)`?$")
    assert spread.extract("acme resume\nA") is None
    assert spread.extract("text\nacme resume A\nmore") == "A"
    assert BUILT.extract("acme resume " + "A" * (MAX_LINE_CHARS - 12)) is not None
    assert BUILT.extract("acme resume " + "A" * MAX_LINE_CHARS) is None
    assert not BUILT.is_line("acme resume " + "A" * MAX_LINE_CHARS)
    assert BUILT.extract("acme resume A\n" + "acme resume " + "B" * MAX_LINE_CHARS) == "A"


def test_a_slow_expression_on_a_long_text_is_bounded():
    slow = form("acme resume ${token}", r"\s*`?acme resume (?P<token>[^\s`]+)`?\s*$")
    began = time.perf_counter()
    assert slow.extract((" " * 1_900 + "\n") * 20 + " " * 1_000_000) is None
    assert time.perf_counter() - began < 3
