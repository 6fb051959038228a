"""The command line as a user has it: real processes, real files, a home of its own."""

import json
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from tests.support.command_line import SCRIPTS, environment, in_terminal, takopi

ROOT = Path(__file__).resolve().parents[2]

ACME = r"""
adapter: 1
id: acme
name: Acme
command: acme
args: [run, "${run().prompt}", "${run().resume}"]
resume:
  line: acme --session ${token}
session: {match: {type: session}, id: id}
events:
  - match: {type: session}
  - match: {type: done}
    complete: {answer: text}
"""

ACME_CLI = """#!/bin/sh
echo '{"type": "session", "id": "s-1"}'
echo "{\\"type\\": \\"done\\", \\"text\\": \\"you said $2\\"}"
"""


@pytest.fixture
def home(tmp_path):
    """A home directory, a project with three files, and a folder on PATH."""
    for name in (".takopi/adapters", "project/src", "bin"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "project/README.md").write_text("# Sample\n\nA small project. TODO: more\n")
    (tmp_path / "project/src/app.py").write_text("print('hi')  # TODO\n")
    return tmp_path


def install_acme(home, yaml=ACME):
    (home / ".takopi/adapters/acme.yaml").write_text(yaml)
    script = home / "bin/acme"
    script.write_text(ACME_CLI)
    script.chmod(0o755)


class TestRun:
    def test_answer_on_stdout_and_the_rest_on_stderr(self, home):
        done = takopi(home, "run", "demo", "search", "for", "TODO")
        assert done.returncode == 0
        assert "src/app.py" in done.stdout
        assert "resume" not in done.stdout
        assert re.search(r"^✓ tool: search `TODO`$", done.stderr, re.M)
        assert re.search(r"^resume: takopi-demo resume demo-\w+$", done.stderr, re.M)

    def test_json_prints_the_events_field_by_field(self, home):
        done = takopi(home, "run", "demo", "--json", "list files")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert events[0]["type"] == "started"
        assert events[-1]["type"] == "completed"
        assert events[-1]["ok"] is True
        assert events[0]["resume"] == events[-1]["resume"]
        assert list(events[0]) == ["type", "engine", "resume", "title", "meta"]

    @pytest.mark.parametrize("form", ["token", "line", "quoted"])
    def test_resume_by_token_or_line(self, home, form):
        first = takopi(home, "run", "demo", "search for TODO")
        line = re.search(r"^resume: (.*)$", first.stderr, re.M).group(1)
        value = {"token": line.split()[-1], "line": line, "quoted": f"`{line}`"}[form]
        second = takopi(home, "run", "demo", "--resume", value, "what did I ask?")
        assert second.returncode == 0
        assert "search for TODO" in second.stdout
        assert line in second.stderr

    def test_unknown_session_fails_and_says_what_to_do(self, home):
        done = takopi(home, "run", "demo", "--resume", "demo-nothing000", "hello")
        assert done.returncode == 1
        assert done.stdout == ""
        assert "no session `demo-nothing000`" in done.stderr
        assert "hint:" in done.stderr

    def test_a_failed_run_has_exit_code_1_and_a_reason(self, home):
        done = takopi(home, "run", "demo", "fail")
        assert done.returncode == 1
        assert "error: " in done.stderr

    def test_a_crash_shows_exit_code_and_stderr_of_the_engine(self, home):
        done = takopi(home, "run", "demo", "crash")
        assert done.returncode == 1
        assert "Demo failed (exit code 3)" in done.stderr
        assert "crashed, because the prompt asked for it" in done.stderr

    def test_cwd(self, home):
        done = takopi(home, "run", "demo", "--cwd", "src", "list files")
        assert "app.py" in done.stdout
        assert "README" not in done.stdout

    def test_cwd_that_does_not_exist(self, home):
        done = takopi(home, "run", "demo", "--cwd", "nowhere", "list files")
        assert done.returncode == 1
        assert "nowhere" in done.stderr
        assert "Traceback" not in done.stderr

    def test_unknown_engine_is_a_usage_error_with_a_suggestion(self, home):
        done = takopi(home, "run", "dmo", "hello")
        assert done.returncode == 2
        assert done.stderr == "error: unknown engine `dmo`; did you mean `demo`?\n"

    def test_missing_cli_says_how_to_install_it(self, home):
        (home / ".takopi/adapters/acme.yaml").write_text(ACME + "install: npm i acme\n")
        done = takopi(home, "run", "acme", "hello")
        assert done.returncode == 1
        assert "`acme` was not found; install it with `npm i acme`" in done.stderr

    def test_prompt_from_stdin(self, home):
        done = takopi(home, "run", "demo", "-", stdin="search for TODO")
        assert "src/app.py" in done.stdout

    def test_prompt_that_begins_with_a_dash(self, home):
        install_acme(home)
        done = takopi(home, "run", "acme", "--", "--help me")
        assert done.stdout == "you said --help me\n"

    def test_bad_configuration_names_file_and_key(self, home):
        (home / ".takopi/takopi.toml").write_text("[demo]\ndelay = 'long'\n")
        done = takopi(home, "run", "demo", "hi")
        assert done.returncode == 1
        assert "Invalid `demo.delay` in" in done.stderr
        assert "expected a number" in done.stderr

    def test_misspelt_option_warns(self, home):
        (home / ".takopi/takopi.toml").write_text("[demo]\ndelya = 1\n")
        done = takopi(home, "run", "demo", "list files")
        assert done.returncode == 0
        assert "has no option `delya` (did you mean `delay`?)" in done.stderr

    def test_malformed_configuration(self, home):
        (home / ".takopi/takopi.toml").write_text("[demo\n")
        done = takopi(home, "run", "demo", "hi")
        assert done.returncode == 1
        assert done.stderr.startswith("error: Malformed TOML in ")

    def test_closed_stdout_ends_quietly(self, home):
        process = subprocess.Popen(
            [SCRIPTS / "takopi", "run", "demo", "--json", "search for TODO"],
            env=environment(home) | {"TAKOPI_DEMO_DELAY": "0.2"},
            cwd=home / "project",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 1
        assert "Traceback" not in process.stderr.read()
        process.stderr.close()

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_ends_the_whole_tree(self, home, number, code):
        with subprocess.Popen(
            [SCRIPTS / "takopi", "run", "demo", "sleep 60"],
            env=environment(home),
            cwd=home / "project",
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            while "wait" not in process.stderr.readline():
                pass
            children = psutil.Process(process.pid).children(recursive=True)
            assert children
            process.send_signal(number)
            rest = process.communicate(timeout=20)[1]
        assert process.returncode == code
        assert "cancelled · demo" in rest
        assert "resume: takopi-demo resume" in rest
        assert not [c for c in children if c.is_running()]

    def test_live_view_in_a_terminal(self, home):
        words = ("run", "demo", "search for TODO")
        code, screen = in_terminal(home, [], *words, TAKOPI_DEMO_DELAY="0.3")
        assert code == 0
        assert "working · demo" in screen
        assert "done · demo" in screen
        assert "search `TODO`" in screen
        assert "resume: takopi-demo resume" in screen


class TestAdapters:
    def test_list_shows_status_source_and_shadowing(self, home):
        install_acme(home)
        (home / ".takopi/adapters/broken.yaml").write_text("adapter: 1\nid: broken\n")
        demo = (ROOT / "adapters/demo.yaml").read_text()
        (home / ".takopi/adapters/demo.yaml").write_text(demo)
        done = takopi(home, "adapters", "list")
        assert done.returncode == 0
        assert re.search(
            r"^acme +ok +user ~/.takopi/adapters/acme.yaml +~/bin/acme$", done.stdout, re.M
        )
        assert re.search(r"^broken +broken \(\d+\)", done.stdout, re.M)
        assert re.search(
            r"^demo +ok +user ~/.takopi/adapters/demo.yaml .*\n  shadows built-in$",
            done.stdout,
            re.M,
        )
        assert "takopi adapters validate broken" in done.stderr

    def test_a_broken_file_disables_only_itself(self, home):
        (home / ".takopi/adapters/broken.yaml").write_text("adapter: [\n")
        assert takopi(home, "run", "demo", "list files").returncode == 0
        done = takopi(home, "run", "broken", "hello")
        assert done.returncode == 1
        assert "error[syntax]" in done.stderr

    def test_list_versions_asks_the_clis(self, home):
        done = takopi(home, "adapters", "list", "--versions")
        assert re.search(r"^demo .* 1\.0\.0 +1\.0\.0$", done.stdout, re.M)

    def test_adapters_paths(self, home):
        install_acme(home)
        (home / "extra").mkdir()
        (home / ".takopi/adapters/acme.yaml").rename(home / "extra/acme.yaml")
        (home / ".takopi/takopi.toml").write_text('[adapters]\npaths = ["../extra"]\n')
        assert takopi(home, "run", "acme", "hi").stdout == "you said hi\n"

    def test_validate_all(self, home):
        done = takopi(home, "adapters", "validate")
        assert done.returncode == 0
        assert done.stdout.endswith(": ok\n")

    def test_validate_a_bad_file(self, home):
        bad = home / "project/acme.yaml"
        bad.write_text(ACME.replace("answer: text", "answer: trimm(text)"))
        done = takopi(home, "adapters", "validate", "acme.yaml")
        assert done.returncode == 1
        assert (
            textwrap.dedent(
                """\
               |
            13 |     complete: {answer: trimm(text)}
               |                        ^^^^^ events[1].complete.answer
               = help: did you mean `trim`?
            """
            )
            in done.stdout
        )
        assert "--> acme.yaml:13:24" in done.stdout

    def test_validate_formats(self, home):
        bad = home / "project/acme.yaml"
        bad.write_text(ACME.replace("answer: text", "anser: text"))
        found = json.loads(
            takopi(home, "adapters", "validate", "acme.yaml", "--format", "json").stdout
        )
        assert [(d["code"], d["span"]["line"]) for d in found if d["severity"] == "error"] == [
            ("unknown-key", 13)
        ]
        github = takopi(home, "adapters", "validate", "acme.yaml", "--format", "github").stdout
        assert "::error file=acme.yaml,line=13,col=16,title=unknown-key::" in github

    def test_validate_missing_command_is_a_warning(self, home):
        (home / "project/acme.yaml").write_text(ACME)
        done = takopi(home, "adapters", "validate", "acme.yaml")
        assert done.returncode == 0
        assert "warning[missing-command]: `acme` was not found on PATH" in done.stdout

    @pytest.mark.parametrize("target", ["nothing", "nothing.yaml"])
    def test_validate_what_is_not_there(self, home, target):
        assert takopi(home, "adapters", "validate", target).returncode == 2

    def test_show_prints_the_command_line_new_and_resumed(self, home):
        install_acme(home, ACME + "env: {set: {ACME_MODE: json}, unset: [LANG]}\n")
        done = takopi(home, "adapters", "show", "acme")
        assert done.returncode == 0
        assert "argv   acme run 'Say hello.'\n" in done.stdout
        assert re.search(r"^argv   acme run 'Say hello.' \S+$", done.stdout, re.M)
        assert "env    ACME_MODE=json" in done.stdout
        assert "unset  LANG" in done.stdout
        assert "acme --session 0199" in done.stdout

    def test_replay(self, home):
        case = ROOT / "fixtures/streams/demo/search"
        done = takopi(home, "adapters", "replay", "demo", str(case))
        assert done.returncode == 0
        assert "✓ tool: search" in done.stdout
        chat = takopi(home, "adapters", "replay", "demo", str(case), "--chat").stdout
        assert chat.startswith("── progress message")
        assert "── final message" in chat
        assert chat.count("`takopi-demo resume demo-") > 1
        lines = takopi(home, "adapters", "replay", "demo", str(case), "--json").stdout.splitlines()
        assert json.loads(lines[-1])["type"] == "completed"

    def test_replay_tells_what_is_unmapped(self, home):
        install_acme(home)
        stream = home / "project/s.jsonl"
        stream.write_text(
            '{"type": "session", "id": "x"}\n{"type": "new thing"}\n{"type": "done", "text": "ok"}\n'
        )
        done = takopi(home, "adapters", "replay", "acme", "s.jsonl")
        assert done.returncode == 0
        assert "no rule matched 1 of 3 lines" in done.stderr
        assert "1 × type=new thing" in done.stderr

    def test_replay_reads_the_meta_beside_a_bare_stream(self, home):
        install_acme(home)
        (home / "project/s.jsonl").write_text("")
        (home / "project/s.meta.json").write_text('{"exit_code": -15, "stderr": "bye"}')
        done = takopi(home, "adapters", "replay", "acme", "s.jsonl")
        assert done.returncode == 1
        assert "Acme was killed by SIGTERM" in done.stderr
        assert "bye" in done.stderr

    def test_replay_of_nothing(self, home):
        assert takopi(home, "adapters", "replay", "demo", "nothing.jsonl").returncode == 2

    def test_speed_slows_a_replay_down(self, home):
        install_acme(home)
        (home / "project/s.jsonl").write_text('{"type": "done", "text": "ok"}\n' * 4)
        began = time.monotonic()
        takopi(home, "adapters", "replay", "acme", "s.jsonl", "--speed", "5")
        assert time.monotonic() - began > 0.8

    def test_schema_is_the_shipped_one(self, home):
        done = takopi(home, "adapters", "schema")
        assert done.stdout == (ROOT / "schemas/adapter.schema.json").read_text()


def test_version_and_help(home):
    assert takopi(home, "--version").stdout == "1.0.0\n"
    done = takopi(home, "--help")
    assert done.returncode == 0
    for command in ("run", "adapters"):
        assert re.search(rf"^ +{command} ", done.stdout, re.M)


def test_a_bug_is_reported_as_one(home):
    """Anything unexpected is exit code 3, with something to paste into a report."""
    code = (
        "import takopi.cli.run as r, takopi.cli.app as a, sys\n"
        "def broken(*x, **y): raise ZeroDivisionError('oops')\n"
        "r.run_command = broken\n"
        "sys.argv = ['takopi', 'run', 'demo', 'hi']\n"
        "a.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "ZeroDivisionError: oops" in done.stderr
    assert "this is a bug in takopi 1.0.0; please report it" in done.stderr


class TestFriendlyRun:
    @pytest.mark.parametrize("value", ["resume: takopi-demo resume TOKEN", "TOKEN"])
    def test_the_line_as_it_was_printed_resumes(self, home, value):
        first = takopi(home, "run", "demo", "search for TODO")
        token = first.stderr.split()[-1]
        done = takopi(
            home, "run", "demo", "--resume", value.replace("TOKEN", token), "what did I ask?"
        )
        assert "search for TODO" in done.stdout

    def test_another_engines_line_is_refused(self, home):
        done = takopi(home, "run", "demo", "--resume", "other --resume x1", "hi")
        assert done.returncode == 2
        assert "neither a session token nor a resume line of Demo" in done.stderr
        assert "`takopi-demo resume TOKEN`" in done.stderr

    def test_a_run_without_a_session_or_an_answer_says_so(self, home):
        install_acme(
            home, ACME.replace("id: id", "id: nothing").replace("answer: text", "answer: nothing")
        )
        done = takopi(home, "run", "acme", "hi")
        assert done.returncode == 0
        assert "the answer is empty" in done.stderr
        assert "warning: no line told a session id" in done.stderr
        replayed = home / "project/s.jsonl"
        replayed.write_text('{"type": "session", "id": "x"}\n{"type": "done", "text": "ok"}\n')
        told = takopi(home, "adapters", "replay", "acme", "s.jsonl").stderr
        assert "session: no line told a session id" in told
        assert "events[1].complete.answer was null on 1 of 1 lines, which have: type, text" in told
