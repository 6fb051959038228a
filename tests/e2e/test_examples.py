"""The example plugins work: built, installed into a folder of their own, loaded and run by the real takopi.

Nothing is downloaded: builds are not isolated, and dependencies are those of the environment that runs
the tests.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.wheels import build, install, run

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
HOW_TO = ROOT / "docs/how-to/write-a-plugin.md"
NAMES = ("takopi-engine-example", "takopi-transport-example", "takopi-command-example")

# An engine that ends only when the other one runs at the same time.
MEETING = """
adapter: 1
id: {me}
command: {home}/{me}
args: ["${{run().prompt}}"]
resume: null
session: null
events:
  - match: {{type: done}}
    complete: {{answer: text}}
"""
MEETING_CLI = """#!/bin/sh
touch {home}/{me}-is-here
while [ ! -e {home}/{other}-is-here ]; do sleep 0.02; done
echo '{{"type": "done", "text": "{me} has met {other}"}}'
"""
BROKEN = {
    "engine_backends": "raise ImportError('no such engine')",
    "transport_backends": "raise SystemExit('leave me alone')",
    "command_backends": "BACKEND = 'not a command'",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder that holds takopi and the examples, scripts in ``bin``."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    for tree in (ROOT, *(EXAMPLES / name for name in NAMES)):
        build("wheel", wheels, tree)
    install(sorted(wheels.iterdir()), site)
    return site


class Home:
    """A home directory, and takopi as it is run there."""

    def __init__(self, folder: Path, site: Path) -> None:
        self.folder = folder
        self.takopi = site / "bin" / "takopi"
        self.env = {
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PATH": f"{site / 'bin'}:{os.defpath}",
            "PYTHONPATH": str(site),
        }
        (folder / ".takopi/adapters").mkdir(parents=True)
        self.project = folder / "project"
        self.project.mkdir()

    def __call__(self, *args, ok=True):
        return run(self.takopi, *args, cwd=self.project, env=self.env, ok=ok)

    def chat(self, *args):
        return Chat([str(self.takopi), "--transport", "lines", *args], self.project, self.env)

    def add_meeting_engines(self):
        for me, other in (("left", "right"), ("right", "left")):
            names = {"home": self.folder, "me": me, "other": other}
            (self.folder / f".takopi/adapters/{me}.yaml").write_text(MEETING.format(**names))
            (self.folder / me).write_text(MEETING_CLI.format(**names))
            (self.folder / me).chmod(0o755)

    def add_broken_plugin(self):
        site = self.folder / "broken-site"
        info = site / "broken_plugin-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
        points = [f"[takopi.{group}]\nbroken = broken_{group}:BACKEND\n" for group in BROKEN]
        (info / "entry_points.txt").write_text("\n".join(points))
        for group, text in BROKEN.items():
            (site / f"broken_{group}.py").write_text(text + "\n")
        self.env["PYTHONPATH"] += f":{site}"


class Chat:
    """The example's chat in a process, as a context manager; leaving it closes stdin and waits."""

    def __init__(self, command, cwd, env):
        self.lines: list[str] = []
        self.ends_with = 0
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.process.kill()
        rest, errors = self.process.communicate(timeout=60)
        self.lines += rest.splitlines()
        if kind is None:
            assert self.process.returncode == self.ends_with, errors

    def say(self, line, until):
        """Write a line; what is printed after it, up to the line that holds a text."""
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        seen = len(self.lines)
        impatience = threading.Timer(60, self.process.kill)
        impatience.start()
        while printed := self.process.stdout.readline():
            self.lines.append(printed.rstrip("\n"))
            if until in printed:
                impatience.cancel()
                return self.lines[seen:]
        raise AssertionError(f"no {until!r} in {self.lines[seen:]}\n{self.process.stderr.read()}")


@pytest.fixture
def home(installed, tmp_path):
    return Home(tmp_path, installed)


def number(lines, text):
    """Of the last message whose first line holds a text."""
    return [m[1] for line in lines if (m := re.match(r"#(\d+) ", line)) and text in line][-1]


def test_all_of_them_load_and_nothing_is_wrong_with_them(home):
    shown = home("plugins", "--load", "--strict").stdout
    for row in ("tally (takopi-engine-example)", "lines (takopi-transport-example)"):
        assert f"  {row}\n" in shown
    assert "  everyone (takopi-command-example)\n" in shown
    assert "errors:" not in shown


def test_the_engine_runs_and_resumes(home):
    first = home("run", "tally", "one two three")
    assert first.stdout == "3 words, 3 in this session.\n"
    assert "✓ tool: 3 words" in first.stderr
    line = re.search(r"resume: (tally resume \w+)$", first.stderr, re.M)[1]
    assert home("run", "tally", "--resume", line, "four five").stdout == (
        "2 words, 5 in this session.\n"
    )
    token = line.split()[-1]
    assert "3 words, 8 in" in home("run", "tally", "--resume", token, "six seven eight").stdout
    lost = home("run", "tally", "--resume", "nosuchsession", "nine", ok=False)
    assert "there is no session `nosuchsession`" in lost.stderr


def test_a_chat_runs_resumes_and_ends(home):
    with home.chat("tally") as chat:
        lines = chat.say("one two three", until="`tally resume")
        chat.say("/nobody hello there", until="3 words, 3 in this session")
        answer = number(lines, "starting")
        lines = chat.say("one two three", until="replaces")
        answer = number(lines, "replaces")
        chat.say(f">{answer} four five", until="2 words, 5 in this session")
        chat.say("/demo what is this?", until="done · demo")
    assert not any("error" in line for line in chat.lines)


def test_ctrl_c_ends_the_chat_and_its_run(home):
    with home.chat("tally") as chat:
        chat.say("/demo wait 30 seconds", until="wait 30 s")
        chat.ends_with = 130
        chat.process.send_signal(signal.SIGINT)
    assert "`interrupted` · demo" in "\n".join(chat.lines)


def test_the_command_asks_every_engine_at_once(home):
    home.add_meeting_engines()
    with home.chat("tally") as chat:
        chat.say("/everyone what is this?", until="asking demo, left, right, tally …")
        chat.say("", until="3 words, 3 in this session")
        said = "\n".join(chat.lines)
    assert "## left\n\n  left has met right\n" in said
    assert "## right\n\n  right has met left\n" in said
    assert re.search(r"## demo\n\n  \S", said)


def test_a_broken_plugin_is_reported_and_harms_nothing(home):
    home.add_meeting_engines()
    home.add_broken_plugin()
    listed = home("plugins", "--load")
    errors = listed.stdout.partition("errors:\n")[2]
    for kind, reason in {
        "engine": "ImportError: no such engine",
        "transport": "SystemExit: leave me alone",
        "command": "broken_command_backends:BACKEND is not a CommandBackend",
    }.items():
        assert re.search(rf"  {kind} broken \(broken-plugin\): .*{re.escape(reason)}", errors), (
            errors
        )
    assert len(errors.splitlines()) == 3
    assert home("plugins", "--load", "--strict", ok=False).returncode == 1
    assert "Usage" in home("--help").stdout
    assert home("run", "tally", "one two three").stdout == "3 words, 3 in this session.\n"
    with home.chat("tally") as chat:
        chat.say("/everyone so?", until="asking demo, left, right, tally …")
        chat.say("", until="1 words, 1 in this session")
        chat.say("/broken so?", until="error")


@pytest.mark.parametrize("name", NAMES)
def test_the_tests_of_the_examples_pass_where_they_are_installed(name, home):
    tests = EXAMPLES / name / "tests"
    options = ("-q", "-p", "no:cacheprovider", "-c", EXAMPLES / name / "pyproject.toml")
    said = run(sys.executable, "-m", "pytest", *options, tests, cwd=home.project, env=home.env)
    assert re.search(r"^\d+ passed in ", said.stdout, re.M)


def test_the_examples_are_not_written_to():
    left = [
        p for name in NAMES for p in (EXAMPLES / name).rglob("*") if p.name in ("dist", "build")
    ]
    assert left == []


def sources():
    files = [p for p in EXAMPLES.rglob("*") if p.suffix in (".py", ".toml", ".jsonl")]
    return {path: path.read_text(encoding="utf-8") for path in files if "build" not in path.parts}


def test_the_how_to_shows_what_is_in_the_examples():
    page = HOW_TO.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:python|toml)\n(.*?)^```$", page, re.S | re.M)
    assert len(blocks) >= 6
    texts = sources().values()
    for block in blocks:
        parts = [part.strip("\n") for part in re.split(r"^ *# …\n", block, flags=re.M)]
        assert any(all(part in text for part in parts) for text in texts), block


def test_the_examples_use_public_names_only():
    public = {"takopi.api", "takopi.testing"}
    for path, text in sources().items():
        for module in re.findall(r"^(?:from|import) (takopi[\w.]*)", text, re.M):
            own = module.startswith(("takopi_engine_", "takopi_transport_", "takopi_command_"))
            assert own or module in public, f"{path} imports {module}"
