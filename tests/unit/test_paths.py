"""Paths and commands for display, relative to where a run works."""

import contextvars
import os
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from takopi.paths import (
    get_run_base_dir,
    relativize_command,
    relativize_path,
    reset_run_base_dir,
    set_run_base_dir,
)

# Texts rich in what matters: the base, its neighbours and everything that may stand around it.
TEXTS = st.lists(
    st.sampled_from(["/repo", "/", "x", "srv", " ", '"', "'", "=", ":", ".", "~", "$", "\n", "é"])
).map("".join)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", ""),
        ("/a/repo", "."),
        ("/a/repo/", "."),
        ("/a/repo/src/x.py", "src/x.py"),
        ("/a/repo//src", "src"),
        ("/a/repo2/x", "/a/repo2/x"),
        ("~/a/repo/x", "~/a/repo/x"),
        ("src/x.py", "src/x.py"),
        ("/a", "/a"),
        ("/", "/"),
    ],
)
def test_a_path_in_the_base_becomes_relative(value, shown):
    assert relativize_path(value, base_dir="/a/repo") == shown
    assert relativize_path(value, base_dir=Path("/a/repo")) == shown
    assert relativize_path(value, base_dir="/a/repo/") == shown


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("find /repo/tests", "find tests"),
        ("/repo/bin/x", "bin/x"),
        ("--path=/repo/src", "--path=src"),
        ("cp /repo/a /repo/b", "cp a b"),
        ("cat /repo//x", "cat x"),
        ("cat /repo/repo/x", "cat repo/x"),
        ('cat "/repo/a b"', 'cat "a b"'),
        ("sh -c \"cat '/repo/x'\"", "sh -c \"cat 'x'\""),
        (r"echo \"/repo/x\"", r"echo \"x\""),
        ("echo $(cat /repo/x)", "echo $(cat x)"),
        ("echo `/repo/x`", "echo `x`"),
        ("ls>/repo/x", "ls>x"),
        ("PATH=/repo/bin:/repo/lib", "PATH=bin:lib"),
        ("rm /repo/*.py /repo/{a,b}", "rm *.py {a,b}"),
        ("cd\n/repo/x", "cd\nx"),
    ],
)
def test_the_base_goes_where_a_path_begins(command, shown):
    assert relativize_command(command, base_dir="/repo") == shown
    assert relativize_command(command, base_dir=Path("/repo")) == shown


@pytest.mark.parametrize(
    "command",
    [
        "ls /srv/repo/x",
        "ls ~/repo/x",
        "ls ./repo/x",
        "ls ../repo/x",
        "ls $HOME/repo/x",
        "ls ${HOME}/repo/x",
        "ls $(pwd)/repo/x",
        'ls "$HOME"/repo/x',
        "ls */repo/x",
        "ls été/repo/x",
        "grep @/repo/x",
        "open file:///repo/x",
        "ls /repository/x",
        "ls /repo2/x",
        # The base alone is not in front of anything.
        "cd /repo && ls",
        "ls /repo",
        "cd /repo/ && ls",
        "ls /repo/",
        "ls /repo//",
        'ls "/repo/"',
    ],
)
def test_a_path_elsewhere_and_the_base_itself_are_kept(command):
    assert relativize_command(command, base_dir="/repo") == command


def test_c7_a_path_that_only_contains_the_base_is_left_alone():
    command = "diff /repo/x /srv/repo/x"
    assert relativize_command(command, base_dir="/repo") == "diff x /srv/repo/x"


def test_the_base_is_text_not_a_pattern():
    assert relativize_command("ls /r.p+o/x /raapo/x", base_dir="/r.p+o") == "ls x /raapo/x"


@pytest.mark.parametrize("value", ["/etc/passwd", "cat /etc/passwd //x", "ls / /etc", "x"])
def test_nothing_is_relative_to_the_root(value):
    assert relativize_path(value, base_dir="/") == value
    assert relativize_command(value, base_dir="/") == value


def test_the_root_itself_is_a_dot_as_any_base():
    assert relativize_path("/", base_dir="/") == "."


def test_the_base_is_the_argument_then_the_runs_then_the_processs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cwd = os.getcwd()
    assert relativize_path(f"{cwd}/x") == "x"
    assert relativize_command(f"ls {cwd}/x") == "ls x"
    token = set_run_base_dir(Path("/run"))
    try:
        assert relativize_path(f"{cwd}/x") == f"{cwd}/x"
        assert relativize_path("/run/x") == "x"
        assert relativize_command("ls /run/x") == "ls x"
        assert relativize_path("/arg/x", base_dir="/arg") == "x"
        assert relativize_path("/run/x", base_dir="/arg") == "/run/x"
    finally:
        reset_run_base_dir(token)
    assert relativize_path("/run/x") == "/run/x"


def test_a_relative_base_is_in_the_processs_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = os.path.join(os.getcwd(), "sub", "x")
    assert relativize_path(path, base_dir="sub") == "x"
    assert relativize_command(f"cat {path} sub/x", base_dir="sub") == "cat x sub/x"


def test_a_vanished_working_directory_costs_nothing(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert relativize_path(f"{gone}/x") == f"{gone}/x"
    assert relativize_command(f"ls {gone}/x", base_dir="sub") == f"ls {gone}/x"


def test_the_runs_base_nests_and_does_not_leak_into_other_contexts():
    assert get_run_base_dir() is None
    outer = set_run_base_dir(Path("/outer"))
    inner = set_run_base_dir(None)
    assert get_run_base_dir() is None
    reset_run_base_dir(inner)
    assert get_run_base_dir() == Path("/outer")
    contextvars.copy_context().run(set_run_base_dir, Path("/elsewhere"))
    assert get_run_base_dir() == Path("/outer")
    reset_run_base_dir(outer)
    assert get_run_base_dir() is None


@given(TEXTS | st.text())
def test_text_without_the_base_never_changes(text):
    text = text.replace("/repo", "")
    assume("/repo" not in text)
    assert relativize_path(text, base_dir="/repo") == text
    assert relativize_command(text, base_dir="/repo") == text


@given(TEXTS)
def test_relativizing_again_changes_nothing(text):
    for relativize in (relativize_path, relativize_command):
        once = relativize(text, base_dir="/repo")
        assert relativize(once, base_dir="/repo") == once


@given(TEXTS)
def test_only_the_base_is_ever_taken_out(text):
    """Everything else is left, in order."""
    shown = relativize_command(text, base_dir="/repo")

    def rest(text):
        return text.replace("/", "").replace("repo", "")

    assert rest(shown) == rest(text)


@given(TEXTS)
def test_a_path_below_a_longer_one_is_never_taken(text):
    hidden = text.replace("/repo", "/srv/repo")
    assert relativize_command(hidden, base_dir="/repo") == hidden
