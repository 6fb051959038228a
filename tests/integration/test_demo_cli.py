"""The demo engine as a program: what it prints, how it ends, and what it refuses."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "takopi.demo")


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    for name, text in {
        "README.md": "# Notes\n\nKeeps notes.\n",
        "src/app.py": "def main():\n    pass  # TODO: more\n",
        "src/util.py": "# TODO: cache\nLIMIT = 3\n",
        "tests/test_app.py": "assert True  # TODO\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def environ(tmp_path):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TAKOPI")}
    return {**kept, "TAKOPI_DEMO_HOME": str(tmp_path / "sessions")}


@pytest.fixture
def run(project, environ):
    def start(*arguments, stdin=b"", cwd=None, **variables):
        return subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            cwd=cwd or project,
            env={**environ, **variables},
            capture_output=True,
            timeout=20,
            check=False,
        )

    return start


@pytest.fixture
def ask(run):
    """Ask one prompt with ``--json``; the decoded lines of a run that succeeded."""

    def start(prompt, *flags, exit_code=0, **more):
        done = run("ask", "--json", *flags, "--", prompt, **more)
        assert done.returncode == exit_code, done.stderr
        assert b"Traceback" not in done.stderr
        return decoded(done.stdout)

    return start


def decoded(stdout):
    assert stdout.endswith(b"\n")
    events = [json.loads(line) for line in stdout.decode("utf-8").split("\n")[:-1]]
    assert events[0]["event"] == "session"
    return events


def answer(events):
    assert events[-1]["event"] == "done"
    return next(event["text"] for event in events if event["event"] == "answer")


def steps(events):
    """(tool, ok) of every step; each must begin and end once."""
    begun = {e["step"]: e["tool"]["name"] for e in events if e["event"] == "step.begin"}
    ended = {e["step"]: e["ok"] for e in events if e["event"] == "step.end"}
    assert begun.keys() == ended.keys()
    assert events[-1]["stats"]["steps"] == len(begun)
    return [(begun[step], ended[step]) for step in begun]


@pytest.mark.parametrize(
    ("prompt", "tools", "facts"),
    [
        ("list files", ["list_files"], ["**4 files**, 2 directories", "- `src/app.py` · 35 B"]),
        ("ls src", ["list_files"], ["**2 files** in `src`"]),
        ("how many Python files?", ["list_files"], ["**3 files**", "`Python` files only"]),
        ("how many lines?", ["list_files", "count_lines"], ["**8 lines** in 4 files"]),
        ("how many lines in src/app.py", ["list_files", "count_lines"], ["**2 lines** in `src/a"]),
        ("search for todo", ["search_text"], ["**3 matches** for `todo` in 3", "`src/util.py:1`"]),
        ("search for todo in src", ["search_text"], ["**2 matches**", "in `src`"]),
        ("search for xyzzy", ["search_text"], ["`xyzzy` is not mentioned; I looked at 4 files"]),
        ("where is main defined?", ["search_text", "read_file"], ["defined here", "def main():"]),
        ("where is LIMIT?", ["search_text", "read_file"], ["`src/util.py` · line", "LIMIT = 3"]),
        ("read README.md", ["read_file"], ["`README.md` · 3 lines", "```markdown\n# Notes\n"]),
        ("what is this?", ["list_files", "read_file", "count_lines"], ["> Keeps notes.", "3 py"]),
        ("biggest files", ["list_files"], ["1. `src/app.py` · 35 B\n2. `src/util.py`"]),
        ("help", [], ["and in tests?", "sleep 30", "crash"]),
        ("tell me a joke", ["list_files"], ["did not understand", "how many lines", "**4 files**"]),
        ("", ["list_files"], ["list files", "**4 files**"]),
        ("--version", ["list_files"], ["did not understand"]),
        ("-", ["list_files"], ["did not understand"]),
    ],
    ids=lambda value: value.replace("/", "|") if isinstance(value, str) else "",
)
def test_questions_are_answered(ask, prompt, tools, facts):
    events = ask(prompt)
    assert steps(events) == [(tool, True) for tool in tools]
    for fact in facts:
        assert fact in answer(events)


def test_a_name_without_its_folder_or_suffix_is_found(ask):
    wanted = [("read_file", False), ("list_files", True), ("read_file", True)]
    for prompt in ("read util.py", "show readme"):
        events = ask(prompt)
        assert steps(events) == wanted
        assert "```" in answer(events)


def test_a_missing_file_is_a_failed_step_and_close_names_are_offered(ask):
    events = ask("read src/apq.py")
    assert steps(events) == [("read_file", False), ("list_files", True)]
    assert "no such file" in next(e["error"] for e in events if e.get("ok") is False)
    assert "- `src/app.py`" in answer(events)


@pytest.mark.parametrize(
    "prompt",
    [
        *("read ../secret.txt", "read {secret}", "read out", "search for word in ..", "ls linked"),
        *("how many lines in {secret}", "read src/../../secret.txt", "list files in linked"),
    ],
    ids=range(8),
)
def test_nothing_outside_is_read(ask, project, prompt):
    secret = project.parent / "secret.txt"
    secret.write_text("hidden word\n")
    (project / "out").symlink_to(secret)
    (project / "linked").symlink_to("..")
    events = ask(prompt.format(secret=secret))
    assert [ok for _, ok in steps(events)] == [False]
    assert "did not work" in answer(events)
    assert "hidden" not in json.dumps(events)


def test_a_search_never_leaves_through_a_link(ask, project):
    (project.parent / "secret.txt").write_text("TODO: hidden\n")
    (project / "out").symlink_to("../secret.txt")
    (project / "around").symlink_to("..")
    (project / "loop").symlink_to("loop")
    text = answer(ask("search for TODO"))
    assert "**3 matches**" in text
    assert "3 links not followed" in text


def test_follow_ups_use_the_session(ask):
    first = ask("search for TODO")
    flag = f"--session={first[0]['id']}"
    second = ask("and in tests?", flag)
    assert (first[0]["resumed"], second[0]["resumed"]) == (False, True)
    assert second[0]["id"] == first[0]["id"]
    assert "**1 match** for `TODO` in 1 file in `tests`" in answer(second)
    assert "assert True" in answer(ask("show the first one", flag))
    assert "**1 match**" in answer(ask("again", flag))
    assert "listed only 1 thing" in answer(ask("show the second one", flag))
    said = answer(ask("what did I ask?", flag))
    assert "1. search for TODO\n2. and in tests?\n3. show the first one\n4. again" in said


def test_follow_ups_without_anything_before_say_so(ask):
    assert "no earlier question" in answer(ask("again"))
    assert "listed nothing" in answer(ask("show the first one"))
    assert "first question" in answer(ask("what did I ask?"))


def test_a_session_in_another_directory_begins_anew(ask, tmp_path):
    first = ask("search for TODO")
    (tmp_path / "other").mkdir()
    events = ask("again", f"--session={first[0]['id']}", cwd=tmp_path / "other")
    assert events[1]["event"] == "warning"
    assert "another directory" in events[1]["text"]
    assert "no earlier question" in answer(events)


@pytest.mark.parametrize("name", ["demo-0000000000", "../x"], ids=["gone", "path"])
def test_an_unknown_session(run, name):
    for command in (["ask", "--json", f"--session={name}", "--", "list files"], ["resume", name]):
        done = run(*command)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.decode().startswith(f"takopi-demo: no session `{name}`; start a new")
        assert done.stderr.count(b"\n") == 1


def test_a_damaged_session(run, tmp_path):
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "demo-x.json").write_text("{")
    done = run("ask", "--json", "--session=demo-x", "--", "list files")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"is damaged: delete" in done.stderr


def test_an_answer_comes_even_if_the_session_cannot_be_kept(ask, tmp_path):
    (tmp_path / "file").write_text("")
    events = ask("list files", TAKOPI_DEMO_HOME=str(tmp_path / "file" / "sessions"))
    assert "cannot be continued" in events[1]["text"]
    assert "**4 files**" in answer(events)


def test_a_failing_run(ask):
    events = ask("fail", exit_code=1)
    assert [event["event"] for event in events] == ["session", "failed"]
    assert "on purpose" in events[-1]["error"]


def test_a_crash_has_no_closing_line(run):
    done = run("ask", "--json", "--", "crash")
    assert done.returncode == 3
    assert decoded(done.stdout)[-1]["event"] == "step.begin"
    assert done.stderr == b"takopi-demo: crashed, because the prompt asked for it\n"


def test_files_that_are_hard_to_read(ask, project):
    (project / "latin.txt").write_bytes(b"gr\xfc\xdfe TODO\n")
    (project / "image.bin").write_bytes(b"\x89PNG\0TODO")
    (project / os.fsdecode(b"n\xff.txt")).write_bytes(b"TODO\n")
    (project / "a\nb`c.txt").write_text("TODO\n")
    (project / "escape.txt").write_text("\x1b[31mTODO\u2028 more\n")
    os.mkfifo(project / "pipe")
    text = answer(ask("search for TODO"))
    assert "**7 matches**" in text
    assert "1 file skipped" in text
    assert "`n\ufffd.txt:1`" in text
    assert "``" in text
    assert "\x1b" not in text
    assert "not valid UTF-8" in json.dumps(ask("read latin.txt"))
    assert "binary" in answer(ask("read image.bin"))
    assert "not a regular file" in answer(ask("read pipe"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_opened_is_said(ask, project):
    (project / "src").chmod(0)
    (project / "README.md").chmod(0)
    try:
        assert "1 directory could not be opened" in answer(ask("list files"))
        assert "permission denied" in answer(ask("read README.md"))
    finally:
        (project / "src").chmod(0o700)


def test_an_empty_directory(ask, tmp_path):
    (tmp_path / "empty").mkdir()
    for prompt in ("list files", "how many lines?", "biggest files", "", "search for a"):
        text = answer(ask(prompt, cwd=tmp_path / "empty"))
        assert "There are no files here." in text or "I looked at 0 files" in text
    assert answer(ask("what is this?", cwd=tmp_path / "empty")) == "`empty` is empty."


@pytest.mark.parametrize(
    ("stdin", "fact"),
    [
        (b"list files\n", "**4 files**"),
        (b"search\0for TODO", "**3 matches**"),
        (b"\xed\xa0\x80\xff", "did not understand"),
        (b"", "did not understand"),
        (b"word " * 200_000, "did not understand"),
    ],
    ids=["plain", "nul", "surrogate", "empty", "1 MB"],
)
def test_a_prompt_on_stdin(run, stdin, fact):
    done = run("ask", "--json", "-", stdin=stdin)
    assert done.returncode == 0, done.stderr
    events = decoded(done.stdout)
    assert fact in answer(events)
    assert (events[1]["event"] == "warning") is (len(stdin) > 2000)


def test_a_prompt_that_is_not_unicode_in_the_arguments(ask):
    assert "did not understand" in answer(ask(os.fsdecode(b"\xff\xfe")))
    assert "`\ufffd` is not mentioned" in answer(ask(os.fsdecode(b"search for \xff")))


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["term", "int"]
)
def test_a_signal_ends_it_at_once(project, environ, number, exit_code):
    with subprocess.Popen(
        [*COMMAND, "ask", "--json", "sleep", "30"],
        cwd=project,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        lines = [process.stdout.readline() for _ in range(2)]  # flushed while it still runs
        assert b'"step.begin"' in lines[1]
        began = time.monotonic()
        process.send_signal(number)
        rest, errors = process.communicate(timeout=10)
        assert time.monotonic() - began < 3
    assert process.returncode == exit_code
    assert b"done" not in rest
    assert errors == b""


def test_a_reader_that_goes_away_is_no_error(project, environ):
    with subprocess.Popen(
        [*COMMAND, "ask", "--json", "--delay=0.2", "list files"],
        cwd=project,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_delay_lets_progress_be_watched(run):
    for flags, variables in ((["--delay=0.3"], {}), ([], {"TAKOPI_DEMO_DELAY": "0.3"})):
        done = run("ask", "--json", *flags, "list files", **variables)
        assert decoded(done.stdout)[-1]["stats"]["ms"] >= 300
    done = run("ask", "--json", "--delay=0", "list files", TAKOPI_DEMO_DELAY="5")
    assert decoded(done.stdout)[-1]["stats"]["ms"] < 4000


@pytest.mark.parametrize("delay", ["x", "-1", "nan", "inf"])
def test_a_bad_delay_is_wrong_usage(run, delay):
    done = run("ask", f"--delay={delay}", "list files")
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"`{delay}` is not a number of seconds".encode() in done.stderr


def test_plain_text_is_the_answer_and_talk_is_on_stderr(run):
    done = run("ask", "how", "many", "files?")
    assert done.stdout.startswith(b"**4 files**")
    assert b"list_files" in done.stderr
    assert b"takopi-demo resume demo-" in done.stderr


def test_version_and_usage(run):
    assert run("--version").stdout == b"takopi-demo 1.0.0\n"
    assert b"crash" in run("--help").stdout
    assert run().returncode == 2
    assert b"a prompt is needed" in run("ask").stderr


def test_a_session_is_shown_and_goes_on_in_a_terminal(ask, run, environ, tmp_path):
    token = ask("search for TODO")[0]["id"]
    shown = run("resume", token)
    assert shown.stdout.decode().startswith("> search for TODO\n\n**3 matches**")
    assert run("resume", token, "and in tests?", cwd=tmp_path).stdout.startswith(b"**1 match**")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [*COMMAND, "resume", token], {**environ, "PYTHONPATH": str(ROOT)})
    try:
        text = read_until(terminal, "\n> ")
        assert "and in tests?" in text
        os.write(terminal, b"again\n")
        assert "in `tests`" in read_until(terminal, "\n> ")
        os.write(terminal, b"fail\n")
        assert "failed: this run" in read_until(terminal, "\n> ")
        os.write(terminal, b"exit\n")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(terminal)
    assert "> fail" in run("resume", token).stdout.decode()


def read_until(terminal, mark):
    text = ""
    while not text.replace("\r", "").endswith(mark):
        assert select.select([terminal], [], [], 10)[0], text
        text += os.read(terminal, 65536).decode()
    return text


def test_it_loads_little_and_nothing_else_of_takopi():
    code = (
        "import sys, takopi.demo.cli; print(*(m for m in sys.modules if m.startswith('takopi') or "
        "m in ('asyncio', 'tempfile', 'subprocess', 'dataclasses', 'pathlib', 'logging')))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True)
    loaded = set(done.stdout.decode().split())
    startup = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; print(*sys.modules)"],
        capture_output=True,
        check=True,
    )
    extra = loaded - set(startup.stdout.decode().split())
    assert all(name == "takopi" or name.startswith("takopi.demo") for name in extra), extra


def test_the_fixtures_are_what_the_engine_prints():
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "record_demo.py", "--check"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
