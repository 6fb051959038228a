"""`takopi chat` as a user has it: at a terminal, in a script, with engines that work and that do not."""

import os
import re
import signal
import stat
import subprocess
import time

import psutil
import pytest

from tests.support.chat_home import add_engine, home_with_engines
from tests.support.command_line import SCRIPTS, environment, takopi
from tests.support.terminal import Terminal


@pytest.fixture
def home(tmp_path):
    return home_with_engines(tmp_path)


@pytest.fixture
def chat(home):
    with Terminal(home, "chat", "acme") as terminal:
        terminal.expect("Ctrl-D ends")
        yield terminal


def go(home):
    (home / "project/go").touch()


# -- a conversation


def test_progress_answer_and_resume_line_are_seen(home, chat):
    chat.enter("wait for it")
    chat.expect("#1 working · acme", "thinking hard")
    chat.expect("#1 working · acme · 1s")  # it moves on while nothing happens
    go(home)
    chat.expect("#1 done · acme", "acme heard 11 bytes", "acme resume acme-")
    assert "#1 working" not in chat.shown  # it was redrawn in place


def test_a_plain_message_goes_on_with_the_session(chat):
    chat.enter("one")
    chat.expect("#1 done", "heard 3 bytes\n")
    chat.enter("four")
    chat.expect("acme heard 4 bytes again")
    assert len(set(re.findall("acme resume acme-\\d+", chat.shown))) == 1


def test_a_pasted_resume_line_goes_on_with_its_session(chat):
    chat.enter("one")
    chat.expect("acme resume acme-")
    line = re.search(r"acme resume acme-\d+", chat.shown)[0]
    chat.enter("/new")
    chat.expect("the next message begins a new session")
    chat.paste(f"{line}\nnow what?")
    chat.type("\r")
    chat.expect("acme heard 9 bytes again")
    assert chat.shown.count(line) == 3


def test_sessions_run_in_parallel(home, chat):
    chat.enter("wait one")
    chat.enter("/other wait two!!")
    chat.expect("#1 working · acme", "#2 working · other")
    chat.enter("/new /acme three")
    chat.expect("#3 done · acme", "acme heard 5 bytes\n")
    assert "#1 done" not in chat.shown
    go(home)
    chat.expect("#1 done · acme", "#2 done · other", "other heard 10 bytes\n")


def test_a_message_behind_a_run_is_queued_and_can_be_taken_back(home, chat):
    chat.enter("wait one")
    chat.expect("#1 working")
    chat.enter("two")
    chat.expect("#2 queued")
    chat.enter("three")
    chat.expect("#3 queued")
    chat.enter("/cancel 2")
    chat.expect("#2 cancelled")
    go(home)
    chat.expect("#1 done")
    chat.expect("#3 done")
    chat.expect("acme heard 5 bytes again")


@pytest.mark.parametrize("how", ["/cancel\r", "/cancel #1\r", "\x03"])
def test_a_run_is_cancelled(chat, how):
    chat.enter("hang")
    chat.expect("thinking hard")
    engines = psutil.Process(chat.pid).children(recursive=True)
    assert engines
    chat.type(how)
    chat.expect("#1 cancelled · acme")
    chat.expect("acme resume acme-")
    assert psutil.wait_procs(engines, timeout=5)[1] == []
    chat.enter("still there?")
    chat.expect("acme heard 12 bytes again")


def test_ctrl_c_clears_the_line_first(chat):
    chat.enter("hang")
    chat.expect("thinking hard")
    chat.type("half a thought\x03")
    chat.enter("/cancel 9")
    chat.expect("no run has the number 9; running: #1 acme")


def test_ctrl_c_with_nothing_running_says_how_to_end(chat):
    chat.type("\x03")
    chat.expect("nothing is running; Ctrl-D or /quit ends the chat")


@pytest.mark.parametrize("how", ["\x04", "/quit\r", signal.SIGTERM, signal.SIGHUP])
def test_the_end_leaves_no_process(chat, how):
    chat.enter("hang")
    chat.expect("thinking hard")
    chat.enter("and then")
    chat.expect("#2 queued")
    engines = psutil.Process(chat.pid).children(recursive=True)
    if isinstance(how, str):
        chat.type(how)
    else:
        os.kill(chat.pid, how)
    assert chat.wait() == (0 if isinstance(how, str) else 128 + how)
    assert "#1 interrupted · acme" in chat.shown
    assert psutil.wait_procs(engines, timeout=5)[1] == []
    if isinstance(how, str):
        assert "#2 was queued and is not run" in chat.shown


def test_a_terminal_that_goes_away_leaves_no_process(chat):
    chat.enter("hang")
    chat.expect("thinking hard")
    takopi = psutil.Process(chat.pid)
    engines = takopi.children(recursive=True)
    chat.hang_up()
    assert psutil.wait_procs([takopi, *engines], timeout=20)[1] == []


def test_an_interrupt_from_outside_is_ctrl_c(chat):
    chat.enter("hang")
    chat.expect("thinking hard")
    os.kill(chat.pid, signal.SIGINT)
    chat.expect("#1 cancelled")
    chat.type("\x04")
    assert chat.wait() == 0


def test_tab_completes_engines_and_commands(chat):
    chat.type("/oth\t")
    chat.expect("› /other")
    chat.enter("hello")
    chat.expect("#1 done · other")
    chat.expect("other heard 5 bytes")
    chat.type("/qu\t")
    chat.expect("› /quit")
    chat.type("\r")
    assert chat.wait() == 0


def test_the_history_is_kept_and_private(home, chat):
    chat.enter("remember this")
    chat.expect("#1 done")
    chat.type("\x04")
    assert chat.wait() == 0
    file = home / ".takopi/terminal_history"
    assert "+remember this" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with Terminal(home, "chat", "acme") as again:
        again.expect("Ctrl-D ends")
        again.type("\x1b[A\r")
        again.expect("acme heard 13 bytes")


def test_without_a_place_for_the_history_one_can_chat(home):
    with Terminal(home, "chat", "demo", TAKOPI_CONFIG="/dev/null/takopi.toml") as terminal:
        terminal.expect("Ctrl-D ends")
        terminal.enter("list files")
        terminal.expect("#1 done")


def test_a_megabyte_is_pasted_at_once(home, chat):
    began = time.monotonic()
    chat.paste("word\n" * 200_000)
    chat.expect("[pasted text #1, 1000000 characters]")
    assert time.monotonic() - began < 10
    chat.enter(" and /demo is no directive here")
    # The engine takes its prompt as an argument, which has a limit; the whole text got that far.
    chat.expect("the prompt is too long for acme")
    chat.expect("976 KiB")


# -- what is wrong


def test_an_engine_that_is_missing_or_broken_says_so_and_harms_nothing(home):
    (home / "bin/other-cli").unlink()
    (home / ".takopi/adapters/broken.yaml").write_text("adapter: 1\nid: broken\n")
    with Terminal(home, "chat", "acme") as chat:
        chat.expect("Ctrl-D ends")
        chat.enter("/other hello")
        chat.expect("#1 error · other")
        chat.expect("other-cli not found on PATH")
        chat.enter("/broken hello")
        chat.expect("#2 error · broken")
        chat.enter("/acme hello")
        chat.expect("acme heard 5 bytes")


def test_a_misspelt_engine_is_asked_about(chat):
    chat.enter("/othr hello")
    chat.expect("/othr is no command here; did you mean /other?")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["acm"], 2, "error: unknown engine `acm`; did you mean `acme`?\n"),
        (["codex"], 1, "error: Default engine 'codex' unavailable: codex not found on PATH\n"),
    ],
)
def test_an_engine_that_cannot_be_the_default_ends_it(home, args, code, message):
    done = takopi(home, "chat", *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.endswith(message)


def test_a_crash_of_the_engine_is_an_error_of_its_run(home):
    (home / "bin/acme-cli").write_text("#!/bin/sh\necho oops >&2\nexit 3\n")
    done = takopi(home, "chat", "acme", "hello", stdin="")
    assert done.returncode == 0
    assert "#1 error · acme" in done.stdout
    assert "oops" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


# -- scripts


def test_a_script_s_lines_are_messages_and_the_answers_its_output(home):
    done = takopi(home, "chat", "acme", stdin="one\n\n  \n/other four\ntwo two")
    assert done.returncode == 0
    for expected in ("#1 done · acme", "#2 done · other", "#3 done · other", "acme heard 3 bytes"):
        assert expected in done.stdout
    assert "other heard 7 bytes again" in done.stdout
    assert "#3 queued" in done.stderr
    assert "thinking hard" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_a_first_message_and_no_more(home):
    with open(os.devnull) as null:
        done = subprocess.run(
            [SCRIPTS / "takopi", "chat", "demo", "list", "files"],
            env=environment(home),
            cwd=home / "project",
            stdin=null,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 0
    assert "README.md" in done.stdout
    assert "takopi-demo resume demo-" in done.stdout


def test_quit_in_a_script_waits_for_nothing(home):
    done = takopi(home, "chat", "acme", stdin="hang\n/quit\nnever read\n")
    assert done.returncode == 0
    assert "#2" not in done.stdout + done.stderr


def test_lines_come_from_a_file(home):
    (home / "lines").write_text("one\n")
    with (home / "lines").open() as lines:
        done = subprocess.run(
            [SCRIPTS / "takopi", "chat", "acme"],
            env=environment(home),
            cwd=home / "project",
            stdin=lines,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert "acme heard 3 bytes" in done.stdout


def test_a_megabyte_in_one_line_of_a_script(home):
    done = takopi(home, "chat", "demo", stdin="word " * 200_000 + "\nlist files\n")
    assert done.returncode == 0
    assert "too long" in done.stdout
    assert "error" not in done.stderr  # it was said once
    assert "README.md" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_script_s_chat_and_its_engines(home, number):
    process = subprocess.Popen(
        [SCRIPTS / "takopi", "chat", "acme"],
        env=environment(home),
        cwd=home / "project",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdin.write("hang\n")
    process.stdin.flush()
    while "thinking hard" not in process.stderr.readline():
        assert process.poll() is None
    engines = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert "#1 interrupted" in out
    assert "Traceback" not in err
    assert psutil.wait_procs(engines, timeout=5)[1] == []


def test_no_configuration_and_no_lock_are_needed(home):
    done = takopi(home, "chat", stdin="hello\n")
    assert "acme heard 5 bytes" in done.stdout
    assert not (home / ".takopi/takopi.toml").exists()
    assert not list((home / ".takopi").rglob("*.lock"))


def test_two_chats_at_once(home):
    with Terminal(home, "chat", "acme") as one, Terminal(home, "chat", "acme") as two:
        for chat in (one, two):
            chat.expect("Ctrl-D ends")
            chat.enter("/new hello")
        for chat in (one, two):
            chat.expect("#1 done")


# -- plugins

PLUGIN = """
from takopi.api import CommandResult, RunRequest

class Twice:
    id = "twice"
    description = "for tests"

    async def handle(self, ctx):
        requests = [RunRequest(ctx.args_text, engine=engine) for engine in ("acme", "other")]
        results = await ctx.executor.run_many(requests, mode="capture", parallel=True)
        return CommandResult(" and ".join(result.answer for result in results) or "nothing")

BACKEND = Twice()
"""


@pytest.fixture
def site(home):
    info = home / "site/twice-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: twice\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[takopi.command_backends]\ntwice = twice:BACKEND\n")
    (home / "site/twice.py").write_text(PLUGIN)
    return str(home / "site")


def test_a_plugin_s_command_runs_engines(home, site):
    done = takopi(home, "chat", "acme", stdin="/twice hello\n", PYTHONPATH=site)
    assert done.returncode == 0
    assert done.stdout == "acme heard 5 bytes and other heard 5 bytes\n\n"


def test_a_plugin_s_command_is_cancelled_like_a_run(home, site):
    with Terminal(home, "chat", "acme", PYTHONPATH=site) as chat:
        chat.expect("Ctrl-D ends")
        chat.enter("/twice hang")
        chat.enter("/cancel 9")
        chat.expect("running: #1 /twice")
        chat.enter("/cancel")
        chat.expect("cancelled")
        chat.enter("hello")
        chat.expect("#2 done", "acme heard 5 bytes")


def test_a_plugin_s_sessions_are_gone_on_with_and_its_engine_is_not(home, site):
    with Terminal(home, "chat", "acme", PYTHONPATH=site) as chat:
        chat.expect("Ctrl-D ends")
        chat.enter("/twice hello")
        chat.expect("and other heard 5 bytes")
        chat.enter("go on")
        chat.expect("#2 done · acme", "acme heard 5 bytes again")


def test_a_message_waits_for_the_session_that_a_plugin_is_opening(home, site):
    with Terminal(home, "chat", "acme", PYTHONPATH=site) as chat:
        chat.expect("Ctrl-D ends")
        chat.enter("/twice wait")
        while len(psutil.Process(chat.pid).children()) < 2:
            time.sleep(0.02)
        chat.enter("go on")
        chat.expect("#2 queued · acme")
        chat.enter("/cancel 9")
        chat.expect("running: #1 /twice, #2 acme (queued)")
        go(home)
        chat.expect("acme heard 4 bytes and other heard 4 bytes")
        chat.expect("#2 done · acme", "acme heard 5 bytes again")


# -- how one gets here


def test_takopi_without_a_config_asks_where_to_chat(home):
    with Terminal(home, "acme") as terminal:
        terminal.expect("Where do you want to chat?")
        terminal.expect("[1]:")
        terminal.enter("")
        terminal.expect("acme answers here")
        terminal.enter("hello")
        terminal.expect("acme heard 5 bytes")
        terminal.type("\x04")
        assert terminal.wait() == 0


def test_the_other_choice_is_the_set_up_of_telegram(home):
    with Terminal(home) as terminal:
        terminal.expect("Choose [1]:")
        terminal.type("3\r2\r")
        terminal.expect("bot token:")
        assert terminal.shown.count("Choose [1]:") == 2
        assert "answers here" not in terminal.shown


def test_takopi_without_a_config_and_a_terminal_does_not_ask(home):
    done = takopi(home)
    assert done.returncode == 1
    assert "Where do you want" not in done.stdout + done.stderr


def test_the_terminal_can_be_the_configured_chat(home):
    (home / ".takopi/takopi.toml").write_text('transport = "terminal"\ndefault_engine = "acme"\n')
    done = takopi(home, stdin="hello\n")
    assert done.returncode == 0, done.stderr
    assert "acme heard 5 bytes" in done.stdout
    assert "info" not in done.stderr.lower()
    (home / "bin/acme-cli").unlink()
    done = takopi(home, stdin="hello\n")
    assert done.returncode == 1
    assert done.stderr.startswith("error: install acme-cli")


@pytest.mark.parametrize(("args", "bells"), [([], 1), (["--no-final-notify"], 0)])
def test_an_answer_rings_where_it_is_wanted(home, args, bells):
    (home / ".takopi/takopi.toml").write_text('transport = "terminal"\ndefault_engine = "acme"\n')
    with Terminal(home, *args) as terminal:
        terminal.expect("Ctrl-D ends")
        terminal.enter("hello")
        terminal.expect("acme heard 5 bytes", "acme resume acme-")
        terminal.type("\x04")
        assert terminal.wait() == 0
        assert terminal.display.bells == bells


def test_a_changed_adapter_is_used_without_a_restart(home):
    (home / ".takopi/takopi.toml").write_text("watch_config = true\n")
    with Terminal(home, "chat", "acme") as chat:
        chat.expect("Ctrl-D ends")
        add_engine(home, "zulu")
        end = time.monotonic() + 20
        number = 0
        while "zulu heard" not in chat.shown:
            assert time.monotonic() < end, chat.shown[-500:]
            number += 1
            chat.enter("/zulu hello")
            chat.expect(f"#{number} done")


def test_help_does_not_wait_for_the_chat(home):
    done = takopi(home, "chat", "--help")
    assert done.returncode == 0
    assert "[engine] [prompt]..." in done.stdout
    code = "import sys, takopi.cli.app; print('prompt_toolkit' in sys.modules)"
    found = subprocess.run(
        [SCRIPTS / "python", "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout == "False\n"
