"""The screen of `takopi chat`: typing, windows of other sizes, and words without a prompt."""

import pytest

from tests.support.chat_home import home_with_engines
from tests.support.command_line import in_terminal, takopi
from tests.support.terminal import Terminal


@pytest.fixture
def home(tmp_path):
    return home_with_engines(tmp_path)


@pytest.fixture
def chat(home):
    with Terminal(home, "chat", "acme") as terminal:
        terminal.expect("Ctrl-D ends")
        yield terminal


# -- typing


def test_a_search_in_the_history_is_left_with_ctrl_c_and_ends_no_run(chat):
    chat.enter("hang")
    chat.expect("thinking hard")
    chat.type("\x12han")
    chat.expect("(reverse-i-search)`han'")
    chat.type("\x03")
    chat.type("still here")
    chat.expect("› still here")
    assert "reverse-i-search" not in chat.shown
    assert "cancelled" not in chat.shown
    chat.type("\x03\x03")
    chat.expect("#1 cancelled")


def test_enter_on_an_empty_line_does_nothing(chat):
    chat.type("\r  \r\r")
    chat.enter("one")
    chat.expect("#1 done")
    assert chat.shown.split("#1 done")[0].count("›") == 1


def test_alt_enter_begins_another_line_of_the_message(chat):
    chat.type("one\x1b\rtwo")
    chat.expect("› one\ntwo")
    chat.type("\r")
    chat.expect("acme heard 7 bytes")


def test_a_first_message_is_shown_as_it_was_written(home):
    with Terminal(home, "chat", "acme", "what does *this* `error` mean") as chat:
        chat.expect("› what does *this* `error` mean")
        chat.expect("acme heard 29 bytes")


def test_a_window_that_gets_narrower_leaves_nothing_behind(chat):
    typed = "word " * 22
    chat.type(typed)
    chat.expect("› word word")
    for columns in (100, 70, 50, 30):
        chat.resize(columns)
        chat.type("x")
        typed += "x"
        lines = [f"› {typed}"[at : at + columns].rstrip() for at in range(0, 117, columns)]
        chat.expect("\n".join(lines))
        assert chat.shown.count("›") == 1


def test_a_low_window_shows_every_run_and_fewer_of_its_steps(chat):
    for number in (1, 2, 3):
        chat.enter("/new hang")
        chat.expect(f"#{number} working · acme", "thinking hard")
    chat.expect("#3 working · acme · 1s · step 1")
    assert chat.shown.count("thinking hard") == 3
    chat.resize(120, 8)
    chat.expect_gone("thinking hard")
    chat.expect("#1 working", "#2 working", "#3 working")


def test_colours_are_left_out_where_nobody_wants_them(home):
    for env, colours in (({}, True), ({"NO_COLOR": "1"}, False)):
        with Terminal(home, "chat", "acme", **env) as chat:
            chat.expect("Ctrl-D ends")
            chat.enter("hang")
            chat.expect("thinking hard")
            used = chat.display.styles & {str(n) for n in (*range(30, 39), *range(90, 98))}
            assert bool(used) is colours, used
            assert "1" in chat.display.styles


def test_a_dumb_terminal_is_greeted_too(home):
    code, shown = in_terminal(
        home, [(b"Ctrl-D ends", b"one\n"), (b"3 bytes", b"\x04")], "chat", "acme", TERM="dumb"
    )
    assert code == 0
    assert "acme answers here; /help says what else there is" in shown
    assert "\x1b" not in shown


# -- words without a prompt


def test_an_engine_alone_answers_what_follows(chat):
    chat.enter("/other")
    chat.expect("other answers the next message")
    chat.enter("one")
    chat.expect("#1 done · other", "other heard 3 bytes")
    chat.enter("/acme")
    chat.expect("acme answers the next message")
    chat.enter("one")
    chat.expect("#2 done · acme", "acme heard 3 bytes")
    chat.enter("/other")
    chat.enter("four")
    chat.expect("#3 done · other", "other heard 4 bytes again")


def test_a_new_session_can_be_one_of_another_engine(home):
    done = takopi(home, "chat", "acme", stdin="/other one\n/new /other\nfour\n")
    assert "`other` answers the next message" in done.stdout
    assert "other heard 4 bytes\n" in done.stdout


def test_a_project_alone_is_where_what_follows_happens(home):
    (home / "shop").mkdir()
    (home / ".takopi/takopi.toml").write_text(f'[projects.shop]\npath = "{home / "shop"}"\n')
    done = takopi(home, "chat", "acme", stdin="/shop\none\n")
    assert "`acme` answers the next message; `ctx: shop`" in done.stdout
    assert done.stdout.count("ctx: shop") == 2


def test_an_engine_that_cannot_run_is_not_gone_on_with(home):
    (home / "bin/other-cli").unlink()
    done = takopi(home, "chat", "acme", stdin="/other\n/other hello\none\n")
    assert done.stdout.count("other-cli not found on PATH") == 2
    assert "#3 done · acme" in done.stdout
