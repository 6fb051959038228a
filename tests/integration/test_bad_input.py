"""Bad input of every kind, typed into the real command line once each.

What is asked every time: is the message right, is the exit code, is there no traceback, and does
everything else still work? The messages are documented: `docs/reference/messages.md`.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.command_line import SCRIPTS, environment, in_terminal
from tests.support.processes import gone

ROOT = Path(__file__).resolve().parents[2]
MESSAGES = (ROOT / "docs/reference/messages.md").read_text(encoding="utf-8")

ACME = r"""
adapter: 1
id: acme
name: Acme
install: npm i -g acme
command: acme
options: {model: {type: string}}
args: [run, "${run().prompt}", "${run().resume}", "${run().model}"]
resume:
  line: acme --session ${token}
session: {match: {type: session}, id: id}
events:
  - match: {type: session}
  - match: {type: step}
    action: {id: id, title: title, detail: {more: more}}
  - match: {type: done}
    complete: {answer: text}
quiet: 0.4
"""

# An engine's command line of a few Python statements.
CLI = f"""#!{sys.executable} -SE
import json, os, signal, sys, time
def say(raw):
    sys.stdout.buffer.write(raw)
    sys.stdout.buffer.flush()
def line(**fields):
    say(json.dumps(fields).encode() + b"\\n")
def session():
    line(type="session", id="s-1")
def done(text="ok"):
    line(type="done", text=text)
"""


@pytest.fixture
def home(tmp_path):
    for name in (".takopi/adapters", "project", "bin"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ".takopi/adapters/acme.yaml").write_text(ACME)
    install(tmp_path, "session(); done()")
    return tmp_path


def install(home, script, *, mode=0o755, head=CLI):
    cli = home / "bin/acme"
    cli.write_text(head + script + "\n")
    cli.chmod(mode)


def takopi(home, *args, stdin=b"", env=None, **options):
    """Run a command; nothing it does may end in a traceback or be called a bug."""
    done = subprocess.run(
        [SCRIPTS / "takopi", *args],
        env={**environment(home), **(env or {})},
        cwd=options.pop("cwd", home / "project"),
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
        **options,
    )
    out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    assert "Traceback" not in out + err, err
    assert done.returncode in (0, 1, 2), err
    return done.returncode, out, err


def refused(home, *args, code, message, **options):
    """The command says ``message`` (a documented one), prints nothing and ends with ``code``."""
    got, out, err = takopi(home, *args, **options)
    assert message in err
    assert (got, out) == (code, "")
    return err


def documented(message):
    """Whether the reference has it. A file's place and what follows it vary."""
    return message in MESSAGES


# -- adapter files ---------------------------------------------------------------------------------


def changed(*pairs):
    text = ACME
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


COMPLETE = "complete: {answer: text}"
LINE = "line: acme --session ${token}"
BOMB = "a: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)

BROKEN_ADAPTERS = {
    "empty": ("", "the file is empty"),
    "text": ("hello\n", "an adapter is a mapping of keys"),
    "bracket": ("adapter: [\n", "this `[` is never closed"),
    "stray": ("adapter: 1\nid: ]\n", "this `]` closes nothing"),
    "quote": ('adapter: 1\nid: "x\n', "this quote is never closed"),
    "tab": ("adapter: 1\n\tid: x\n", "a tab cannot indent"),
    "colon": ("adapter: 1\nname: a: b\n", "a `: ` cannot stand here, it begins a mapping"),
    "alias": ("a: *nothing\n", "`*nothing` stands for what is marked `&nothing`, and nothing is"),
    "cycle": ("a: &a [*a]\n", "an alias that contains itself"),
    "bomb": (BOMB, "aliases multiply into too many values"),
    "deep": ("a: " + "[" * 100_000, "values are nested too deep"),
    "large": ("a: " + "x" * 200_000, "the file is too large for an adapter: 195 KiB"),
    "control": ("adapter: 1\nid: \x01\n", "a character that YAML does not allow: U+0001"),
    "latin": (b"adapter: 1\nname: \xfc\n", "the file is not UTF-8: invalid start byte at byte 17"),
    "documents": ("adapter: 1\n---\nadapter: 1\n", "a second document begins here"),
    "newer": (
        "adapter: 2\n",
        "this adapter needs a newer takopi: it has format 2, this takopi reads 1",
    ),
    "version": ('adapter: "1"\n', "unknown version of the adapter format"),
    "twice": (ACME + "name: B\n", "`name` is written twice"),
    "typed": (changed(("command: acme", "command: [acme]")), "expected text, not a list"),
    "number": (changed(("name: Acme", "name: 5")), "expected text, not `5`"),
    "key": (changed(("answer: text", "anser: text")), "unknown key `anser`"),
    "kind": (changed(("id: id, title", "kind: comand, title")), "`comand` is not allowed here"),
    "jmespath": (
        changed((COMPLETE, "complete: {answer: trimm(text)}")),
        "unknown function `trimm`",
    ),
    "regex": (
        changed((LINE, LINE + "\n  regex: 'acme (.+'")),
        "not a regular expression: missing ), unterminated subpattern",
    ),
    "group": (
        changed((LINE, LINE + "\n  regex: 'acme .+'")),
        "the regular expression has no group `token`",
    ),
    "slow": (
        changed((LINE, LINE + "\n  regex: 'acme --session (?P<token>(?:\\S+ ?)+)$'")),
        r"this can take exponential time: `(?:\S+ ?)+`",
    ),
    "slow_hint": (
        ACME + "hints:\n  - {match: '(a+)+$', say: wait}\n",
        "this can take exponential time: `(a+)+`",
    ),
    "slow_capture": (
        changed((COMPLETE, "complete: {answer: \"capture(text, '(a+)+$').match\"}")),
        "this can take exponential time: `(a+)+`",
    ),
    "roundtrip": (
        changed((LINE, LINE + "\n  regex: 'other (?P<token>x+)'")),
        "is not matched by its own regular expression",
    ),
    "tokenless": (changed((LINE, "line: acme --last")), "the line does not hold the token"),
}


def test_every_broken_adapter_gets_its_message_and_hurts_nobody_else(home):
    folder = home / ".takopi/adapters"
    for name, (text, _) in BROKEN_ADAPTERS.items():
        raw = text.replace("id: acme", f"id: {name}") if isinstance(text, str) else text
        (folder / f"{name}.yaml").write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    files = [str(folder / f"{name}.yaml") for name in BROKEN_ADAPTERS]
    code, out, _ = takopi(home, "adapters", "validate", "--format", "json", *files)
    assert code == 1
    said = {}
    for problem in json.loads(out):
        if problem["severity"] == "error":
            place = problem["span"]["file"] if problem["span"] else problem["path"]
            said.setdefault(Path(place).stem, []).append(problem["message"])
    for name, (_, message) in BROKEN_ADAPTERS.items():
        assert any(message in found for found in said[name]), (name, said[name])
        assert documented(message), message
    code, out, err = takopi(home, "adapters", "list")
    assert code == 0
    assert len(re.findall(r"^\w+ +broken \(\d+\)", out, re.M)) == len(BROKEN_ADAPTERS)
    assert re.search(r"^acme +ok ", out, re.M)
    assert "see what is wrong: takopi adapters validate" in err
    assert takopi(home, "run", "acme", "hi")[:2] == (0, "ok\n")


def test_one_broken_adapter_as_a_person_sees_it(home):
    (home / "project/acme.yaml").write_text(
        changed((LINE, LINE + "\n  regex: 'acme (?P<token>(a+)+)$'"))
    )
    code, out, _ = takopi(home, "adapters", "validate", "acme.yaml")
    assert code == 1
    assert out.startswith("error[regex]: this can take exponential time: `(a+)+`\n")
    assert "--> acme.yaml:11:" in out
    assert out.endswith("acme: 1 error\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["adapters", "validate", "no.yaml"], "there is no file no.yaml"),
        (["adapters", "validate", "./"], "./ is a folder; name a file in it"),
        (["adapters", "show", "acne"], "unknown engine `acne`; did you mean `acme`?"),
        (["run", "acne", "hi"], "unknown engine `acne`; did you mean `acme`?"),
    ],
)
def test_what_is_not_there(home, args, message):
    err = refused(home, *args, code=2, message=message)
    assert err.startswith("error: ")
    assert documented(message)


def test_a_name_in_a_file_cannot_steer_the_terminal(home):
    (home / "project/acme.yaml").write_text(ACME + '"\\e[2Jevil": 1\n')
    _, out, _ = takopi(home, "adapters", "validate", "acme.yaml")
    assert "unknown key `␛[2Jevil`" in out
    assert "\x1b" not in out


# -- takopi.toml -----------------------------------------------------------------------------------

BROKEN_CONFIGURATIONS = [
    ("[acme", "Malformed TOML in "),
    (b"a = '\xff'", "it is not UTF-8 (byte 5); save it as UTF-8"),
    ("acme = 3", "; expected a table."),
    ("adapters = 3", "; expected a list of strings."),
    ("[adapters]\npaths = 'x'", "; expected a list of strings."),
    ("[acme]\nmodel = 3", "; expected a string."),
    ("[acme]\nenv = 3", "; expected a table."),
    ("[acme]\nenv = {A = 3}", "; expected a string."),
    ("[acme]\nenv = {'A=B' = '3'}", "; expected names without `=`, not 'A=B'."),
    ('[acme]\nenv = {A = "\\u0000"}', "; expected a string without NUL."),
    ("[acme]\ntimeout = -1", "; expected a number above 0."),
    ('[acme]\ncommand = "\\u0000"', "; expected a program's name."),
    (
        "[acme]\ncommand = 'nowhere'",
        "`nowhere` was not found; correct `command` in the [acme] table of takopi.toml",
    ),
    (
        '[acme]\nmodel = "\\u0000"',
        "an argument for Acme holds a NUL character, which no command line can carry; see [acme] in takopi.toml",
    ),
]


@pytest.mark.parametrize(("toml", "message"), BROKEN_CONFIGURATIONS)
def test_a_broken_configuration(home, toml, message):
    raw = toml if isinstance(toml, bytes) else toml.encode()
    (home / ".takopi/takopi.toml").write_bytes(raw)
    refused(home, "run", "acme", "hi", code=1, message=message)
    assert documented(message)


def test_a_bad_table_disables_its_own_engine_only(home):
    toml = '[acme]\nmodel = "\\u0000"\n[demo]\ntimeout = "x"\n'
    (home / ".takopi/takopi.toml").write_text(toml)
    code, out, err = takopi(home, "adapters", "list")
    assert code == 0
    assert re.findall(r"^(\w+) +bad config", out, re.M) == ["acme", "demo"]
    assert "warning: Invalid `demo.timeout` in " in err


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[acme]\nmodle = 'x'", "[acme] has no option `modle` (did you mean `model`?)"),
        ("[adapters]\npath = ['x']", "[adapters] has no key `path` (known: `paths`)"),
    ],
)
def test_a_misspelt_key_is_a_warning(home, toml, message):
    (home / ".takopi/takopi.toml").write_text(toml)
    code, out, err = takopi(home, "run", "acme", "hi")
    assert (code, out) == (0, "ok\n")
    assert message in err
    assert documented(message)


def test_a_folder_of_adapters_that_is_not_there(home):
    (home / ".takopi/takopi.toml").write_text('[adapters]\npaths = ["nowhere"]')
    message = "nowhere, which does not exist"
    assert documented(message)
    assert message in takopi(home, "adapters", "validate", "acme")[2] + "".join(
        takopi(home, "adapters", "list")[2]
    )
    err = refused(home, "run", "other", "hi", code=2, message=message)
    assert "error: unknown engine `other`" in err


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "exists but is not a file."),
        (lambda path: path.symlink_to("nowhere"), "it is a link to nowhere, which does not exist"),
    ],
    ids=["folder", "link"],
)
def test_takopi_toml_that_is_no_file(home, make, message):
    make(home / ".takopi/takopi.toml")
    refused(home, "run", "acme", "hi", code=1, message=message)
    assert documented(message)


# -- streams ---------------------------------------------------------------------------------------

GOOD_ENOUGH = {
    "garbage": r"say(b'garbage\n')",
    "binary": r"say(bytes(range(256)) + b'\n')",
    "nul": r"say(b'\0\0\0\n')",
    "no objects": r"""say(b'3\n[]\nnull\n"x"\n')""",
    "brackets": r"say(b'[' * 100_000 + b'\n')",
    "nested": r"""say(b'{"type": "step", "more": ' + b'[' * 100_000 + b']' * 100_000 + b'}\n')""",
    "truncated": r"""say(b'{"type": "step", "ti\n')""",
}


@pytest.mark.parametrize("script", GOOD_ENOUGH.values(), ids=GOOD_ENOUGH)
def test_a_bad_line_costs_only_itself(home, script):
    install(home, f"session(); {script}; done()")
    code, out, err = takopi(home, "run", "acme", "hi")
    assert (code, out) == (0, "ok\n")
    assert "resume: acme --session s-1" in err
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", err)


def test_a_value_nested_almost_too_deep_is_still_an_event(home):
    """Python can read it and, a few levels further, not write it."""
    install(
        home,
        r"""session()
for depth in (600, 940, 960, 970):
    say(b'{"type": "step", "id": 1, "title": "x", "more": ' + b'[' * depth + b']' * depth + b'}\n')
done()""",
    )
    code, out, _ = takopi(home, "run", "acme", "--json", "hi")
    lines = out.splitlines()
    assert (code, json.loads(lines[-1])["answer"]) == (0, "ok")
    assert sum('"type": "action"' in text for text in lines) == 4


def test_half_characters_are_shown_as_such(home):
    install(
        home,
        r"""session()
say(b'{"type": "step", "id": 1, "title": "\\ud83d half"}\n{"type": "step", "id": 2, "title": "\xff bad"}\n')
done("\ud83d!")""",
    )
    code, out, err = takopi(home, "run", "acme", "hi")
    assert (code, out) == (0, "�!\n")
    assert "▸ � half" in err
    assert "▸ � bad" in err
    assert json.loads(takopi(home, "run", "acme", "--json", "hi")[1].splitlines()[-1])["answer"]


def test_a_line_over_the_limit_is_skipped(home):
    install(home, "session()\nfor _ in range(100): say(b'x' * 1_000_000)\nsay(b'\\n'); done()")
    code, out, err = takopi(home, "run", "acme", "hi")
    assert (code, out) == (0, "ok\n")
    assert "skipped a line of 100.0 MB: too long" in err
    assert documented("skipped a line of 100.0 MB: too long")


def test_a_stream_that_breaks_off(home):
    install(home, """session(); say(b'{"type": "done", "te')""")
    err = refused(home, "run", "acme", "hi", code=1, message="Acme finished without a result event")
    assert '{"type": "done", "te' in err
    assert documented("Acme finished without a result event")


# -- the engine's process --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "mode", "message"),
    [
        (
            None,
            0,
            "`acme` was not found; install it with `npm i -g acme`, or set `command` in the [acme] table of takopi.toml",
        ),
        (CLI, 0o644, "of Acme is not an executable file; if it is a program: `chmod +x "),
        ("#!/no/where\n", 0o755, "the interpreter named in its first line does not exist"),
        (
            "\0\0\0",
            0o755,
            "it is no program for this system, nor a script whose first line is `#!`",
        ),
    ],
    ids=["missing", "not executable", "no interpreter", "no program"],
)
def test_a_cli_that_cannot_start(home, head, mode, message):
    if head is None:
        (home / "bin/acme").unlink()
    else:
        install(home, "", head=head, mode=mode)
    refused(home, "run", "acme", "hi", code=1, message=message)
    assert documented(message)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "sys.exit('boom: \\x1b[31mbad\\x1b[0m flag')",
            "Acme failed (exit code 1)\nboom: bad flag",
        ),
        ("os.kill(os.getpid(), 9)", "Acme was killed by SIGKILL"),
        ("pass", "Acme finished without a result event"),
    ],
    ids=["exit 1", "killed", "nothing"],
)
def test_a_cli_that_fails_tells_why(home, script, message):
    install(home, script)
    refused(home, "run", "acme", "hi", code=1, message="error: " + message)
    assert documented(message.splitlines()[0])


def test_a_cli_that_never_ends_and_is_deaf(home):
    """It is shown as quiet, and ended by the option `timeout`, also against its will."""
    (home / ".takopi/takopi.toml").write_text("[acme]\ntimeout = 1\n")
    install(home, "signal.signal(signal.SIGTERM, signal.SIG_IGN); session(); time.sleep(100)")
    began = time.monotonic()
    message = "Acme ran longer than 1 s and was stopped (option `timeout`)"
    err = refused(home, "run", "acme", "hi", code=1, message=message)
    assert time.monotonic() - began < 15
    assert "↻ no output for 0.4 s" in err
    assert documented(message)
    assert documented("no output for 120 s")


def test_what_an_engine_leaves_behind(home):
    """A child in a session of its own is found and ended; a daemon, which belongs to nobody, is not."""
    (home / ".takopi/takopi.toml").write_text("[acme]\ntimeout = 1.5\n")
    install(
        home,
        """session()
def note(name):
    os.write(os.open(name, os.O_CREAT | os.O_WRONLY), b"%d" % os.getpid())
    time.sleep(100)
for name in ("child", "daemon"):
    first = os.fork()
    if first == 0:
        os.setsid()
        if name == "child":
            note(name)
        if os.fork() == 0:
            note(name)
        os._exit(0)
os.waitpid(first, 0)
time.sleep(100)""",
    )
    takopi(home, "run", "acme", "hi")
    child, daemon = (int((home / "project" / n).read_text()) for n in ("child", "daemon"))
    try:
        assert gone(child)
        assert not gone(daemon)
    finally:
        psutil.Process(daemon).kill()


# -- prompts and tokens ----------------------------------------------------------------------------

ECHO = """session()
given = sys.stdin.buffer.read()
done(f"argv {sys.argv[2:]} stdin {len(given)}")"""


@pytest.mark.parametrize(
    ("args", "stdin", "answer"),
    [
        (["--", "--help"], b"", "argv ['--help'] stdin 0"),
        (["-"], b"caf\xe9", "argv ['caf?'] stdin 0"),
        ([b"caf\xe9"], b"", "argv ['caf?'] stdin 0"),
    ],
    ids=["dash", "bytes on stdin", "bytes"],
)
def test_an_odd_prompt_arrives(home, args, stdin, answer):
    install(home, ECHO)
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    code, out, err = takopi(home, "run", "acme", *args, stdin=stdin, env=strict)
    assert (code, out.replace("\\ufffd", "?").replace("�", "?")) == (0, answer + "\n"), err


@pytest.mark.parametrize(
    ("args", "stdin", "code", "message"),
    [
        ([""], b"", 2, "the prompt is empty; say what the engine should do"),
        (["-"], b" \n", 2, "stdin holds no prompt; say what the engine should do"),
        (["-"], b"a\0b", 1, "the prompt for Acme holds a NUL character, which no command line can carry; remove it"),
        (["-"], b"x" * 1_000_000, 1, "the prompt is too long for Acme: it takes prompts as one argument, which the system limits to 127 KiB, and this one has 976 KiB; put the text into a file and ask about the file"),
        (["--resume", "", "hi"], b"", 2, "an empty text is neither a session token nor a resume line of Acme, which looks like `acme --session TOKEN`"),
        (["--resume", "-x", "hi"], b"", 2, "`-x` is neither a session token nor a resume line of Acme"),
        (["--resume", "a/b\nc", "hi"], b"", 2, "is neither a session token nor a resume line of Acme"),
        (["--resume", "s-9", "hi"], b"", 1, "Acme was asked to resume session s-9 but opened s-1; the run was stopped, start a new session"),
    ],
    ids=["empty", "empty stdin", "nul", "long", "no token", "flag", "lines", "another session"],
)  # fmt: skip
def test_a_prompt_or_token_that_cannot_be_used(home, args, stdin, code, message):
    refused(home, "run", "acme", *args, stdin=stdin, code=code, message=message)
    assert documented(message)


def test_an_engine_that_reads_stdin_takes_any_prompt(home):
    text = changed(('"${run().prompt}", ', "")) + "stdin: ${run().prompt}\n"
    (home / ".takopi/adapters/acme.yaml").write_text(text)
    install(home, ECHO)
    assert takopi(home, "run", "acme", "-", stdin=b"x" * 1_000_000)[1] == (
        "argv [] stdin 1000000\n"
    )
    assert takopi(home, "run", "acme", "-", stdin=b"a\0b")[1] == "argv [] stdin 3\n"


# -- recordings and fixtures -----------------------------------------------------------------------

STREAM = '{"type": "session", "id": "s-1"}\n{"type": "done", "text": "ok"}\n'
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("{", "it is not JSON: Expecting property name"),
        (DEEP, "it is not JSON: "),
        ("[]", "it must hold a JSON object"),
        ('{"exit_code": "1"}', "`exit_code` must be a whole number"),
        ('{"stderr": ["x"]}', "`stderr` must be a string"),
    ],
    ids=["syntax", "deep", "list", "number", "text"],
)
def test_an_odd_meta(home, meta, message):
    (home / "project/s.jsonl").write_text(STREAM)
    (home / "project/s.meta.json").write_text(meta)
    err = refused(home, "adapters", "replay", "acme", "s.jsonl", code=1, message=message)
    assert err.startswith("error: cannot read s.meta.json: ")
    assert documented(message)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["replay", "acme", "no.jsonl"], 2, "there is no recording no.jsonl"),
        (["replay", "acme", "empty"], 1, "empty is no recording: it holds no stream.jsonl"),
        (["explain", "acme", "s.jsonl:9"], 2, "s.jsonl has lines 1 to 2, not 9"),
        (["test", "--fixtures", "no"], 2, "there are no fixtures in no; name their folder with --fixtures"),
    ],
    ids=["missing", "empty folder", "line", "fixtures"],
)  # fmt: skip
def test_a_recording_that_is_not_there(home, args, code, message):
    (home / "project/s.jsonl").write_text(STREAM)
    (home / "project/empty").mkdir()
    refused(home, "adapters", *args, code=code, message=message)
    assert documented(message)


def test_odd_expectations_of_fixtures(home):
    odd = {
        "deep": (DEEP, "cannot read events.json: it is not JSON: "),
        "missing": (None, "events.json is missing; write it with --update and look at it"),
        "object": ("{}", "events.json must hold a list of events"),
        "syntax": ("{", "cannot read events.json: it is not JSON: "),
    }
    for name, (text, message) in odd.items():
        case = home / "project/fx/acme" / name
        case.mkdir(parents=True)
        (case / "stream.jsonl").write_text(STREAM)
        if text is not None:
            (case / "events.json").write_text(text)
        assert documented(message)
    folder = home / "project/fx/acme/folder"
    (folder / "events.json").mkdir(parents=True)
    (folder / "stream.jsonl").write_text(STREAM)
    code, out, _ = takopi(home, "adapters", "test", "--fixtures", "fx")
    assert code == 1
    for name, (_, message) in odd.items():
        assert f"acme/{name}: {message}" in out
    assert "acme/folder: cannot read events.json: Is a directory" in out
    code, out, _ = takopi(home, "adapters", "test", "--fixtures", "fx", "--update")
    assert code == 1
    assert out.count("wrote events.json") == len(odd)
    assert "acme/folder: cannot write events.json: Is a directory" in out


# -- the place where takopi runs -------------------------------------------------------------------


def test_a_working_directory_that_is_gone(home):
    message = "the working directory does not exist any more; change to one that does: `cd ~`"
    done = subprocess.run(
        [
            "/bin/sh",
            "-c",
            f'mkdir gone; cd gone; rmdir ../gone; exec "{SCRIPTS}/takopi" run acme hi',
        ],
        env=environment(home),
        cwd=home / "project",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, f"error: {message}\n")
    assert documented(message)


def test_a_directory_to_work_in_that_is_none(home):
    for folder, problem in (("nowhere", "does not exist"), ("/dev/null", "is not a directory")):
        err = refused(home, "run", "acme", "hi", "--cwd", folder, code=1, message=problem)
        assert re.search(rf"the working directory `\S*{folder}` {problem}\n", err)
        assert documented(problem)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody unknown")
def test_nobody_knows_where_home_is(home):
    message = "cannot tell where the home directory is; set the environment variable HOME"
    env = {k: v for k, v in environment(home).items() if k != "HOME"}
    command = [SCRIPTS / "takopi", "run", "acme", "hi"]
    try:
        done = subprocess.run(
            command, env=env, user=54321, cwd="/", capture_output=True, text=True, check=False
        )
    except PermissionError:
        pytest.skip("takopi is installed where others may not go")
    assert documented(message)
    assert (done.returncode, done.stderr) == (1, f"error: {message}\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_the_null_device(home, closed):
    """And no file or pipe of the run gets their numbers."""
    install(home, "session(); done('to nobody')")
    done = shell(home, f"takopi run acme hi {closed}")
    assert done.returncode == 0
    assert done.stdout == ("to nobody\n" if closed == "2>&-" else "")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "command",
    ["run acme hi", "run acme --json hi", "adapters list", "--help"],
)
def test_a_full_disk(home, command):
    message = "error: cannot write the output: No space left on device\n"
    done = shell(home, f"takopi {command} > /dev/full")
    assert done.returncode == 1
    assert done.stderr.endswith(message)
    assert "Traceback" not in done.stderr
    assert documented(message.strip())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_nothing_can_be_said_at_all(home):
    for command in ("run acme hi", "run acne hi"):
        assert shell(home, f"takopi {command} > /dev/full 2> /dev/full").returncode == 1


def shell(home, command):
    return subprocess.run(
        ["/bin/sh", "-c", command],
        env=environment(home),
        cwd=home / "project",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["ascii", "C"],
)
def test_a_locale_without_utf8(home, env):
    install(home, "session(); line(type='step', id=1, title='→ ü'); done('ü →')")
    code, out, err = takopi(home, "run", "acme", "hi", env=env)
    assert (code, out) == (0, "? ?\n")
    assert "? ? ?" in err
    answer = json.loads(takopi(home, "run", "acme", "--json", "hi", env=env)[1].splitlines()[-1])
    assert answer["answer"] == "ü →"


EVIL = r"\u001b[2J\u001b]0;evil\u0007\u009b31m"


def test_a_narrow_terminal_is_not_corrupted(home):
    """Long titles are cut, and no escape sequence of an engine's arrives."""
    install(
        home,
        r"""session()
say(b'{"type": "step", "id": 1, "title": "EVIL a long title \\u4e2d\\u6587\\u5b57\\u7b26 \\r\\n\\t of words"}\n')
time.sleep(0.3)
say(b'raw \x1b[2J garbage \x1b]52;c;AAAA\x07\n')
sys.stderr.write('err \x1b[2J\n')
say(b'{"type": "done", "text": "EVIL **bold** [link](http://x/EVIL)\\n\\n```\\nEVIL code\\n```"}\n')
""".replace("EVIL", EVIL.replace("\\", "\\\\")),
    )
    code, shown = in_terminal(home, [], "run", "acme", "hi", columns=20)
    assert code == 0, shown
    for evil in ("\x1b[2J", "\x1b]0", "\x1b]52", "\x07", "\x9b"):
        assert evil not in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\]8;[^\x1b]*\x1b\\", "", shown)
    assert "bold" in plain
    assert "code" in plain
    assert "resume: acme --session s-1\r\n" in plain  # whole, to be copied
    steps = [text for text in plain.splitlines() if "a long title" in text]
    assert steps
    assert all(len(text) <= 20 for text in steps)
