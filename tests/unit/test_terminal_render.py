"""How a terminal shows a message: readable, and fit to be copied."""

import pytest

from takopi.ansi import without_escapes
from takopi.bridge.markdown import MarkdownParts
from takopi.terminal.render import render_message


def shown(body, *, columns=40, header="", footer=None):
    return without_escapes(render_message(MarkdownParts(header, body, footer), columns=columns))


def test_a_message_has_its_parts_below_each_other():
    assert shown("an answer", header="#1 done", footer="`acme resume 1`") == (
        "\n#1 done\nan answer\n\nacme resume 1\n"
    )


def test_an_error_needs_no_line_of_its_own_to_say_so():
    assert shown("error:\nacme not found") == "\nerror: acme not found\n"
    assert shown("an error:\nacme") == "\nan error:\nacme\n"


def test_lines_stay_lines():
    body = "\n".join(f"line {number}" for number in range(500))
    assert shown(body) == f"\n{body}\n"


@pytest.mark.parametrize("body", ["- a list\n- of two", "# Title", "```\ncode\n```"])
def test_nothing_but_one_empty_line_is_above_a_message(body):
    text = shown(body)
    assert text.startswith("\n")
    assert text.split("\n")[1].strip()


def test_no_line_of_text_ends_in_spaces_that_a_narrower_window_would_fold():
    body = "text\n\n# Title\n\n- item\n\n> quote"
    lines = shown(body).split("\n")
    assert [line for line in lines if line.endswith(" ")] == []
    assert {"text", "▌ quote", " • item"} <= set(lines)


def test_code_can_be_copied():
    code = "def f():\n    return [1, 2]"
    lines = [line.rstrip() for line in shown(f"```python\n{code}\n```").split("\n")]
    assert "\n".join(lines).strip("\n") == code


def test_long_code_in_a_list_is_shown_whole():
    command = "run --with a --lot of --options that --do not --fit into --one line"
    text = shown(f"1. run:\n\n   ```sh\n   {command}\n   ```")
    assert " ".join(text.split()) == f"1 run: {command}"


def test_a_link_tells_where_it_goes():
    text = shown("see [the page](https://example.com/page) and <https://example.com>", columns=90)
    assert text == "\nsee the page (https://example.com/page) and https://example.com\n"


def test_a_resume_line_is_not_broken():
    line = "acme resume " + "x" * 90
    assert line in shown("done", footer=f"`{line}`").split("\n")


def test_what_an_engine_wrote_moves_no_cursor():
    assert shown("a\x1b[2Jb\x07", header="#1 \x1b[31mdone") == "\n#1 done\nab\n"


@pytest.mark.parametrize("body", ["x" + " " * 100_000 + "y", " " * 100_000 + "x", "a  \n" * 20_000])
def test_many_spaces_take_no_time(body):
    assert "x" in shown(body) or "a" in shown(body)
