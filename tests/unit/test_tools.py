"""The tool table as a mechanism (what the built-in one says is tested beside its data)."""

import pytest

from takopi.adapters.scope import Scope
from tests.support.adapters import adapter_from

SCOPE = Scope(run={"cwd": "/home/user/project"})

TOOLS = """
tools:
  - {name: [Run, KillRun], kind: command, title: input.what || name}
  - {name: apply_it, kind: file_change, path: input.target}
  - {name: mcp__git__commit, title: "'commit'"}
  - {name: "mcp__*", kind: tool, title: "${replace(removeprefix(name, 'mcp__'), '__', '.')}"}
  - {name: read, title: "'look'"}
  - {name: write, kind: tool}
  - {name: bash, kind: note}
  - {name: "odd[x]?.*z", kind: note}
"""


def view(name, given=None, tools=TOOLS):
    found = adapter_from(tools).tools.view(name, given, SCOPE)
    return found.kind, found.title, found.paths


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("Run", {"what": "x"}, ("command", "x", ())),
        ("RUN", {}, ("command", "RUN", ())),
        ("functions.run", {"what": "x"}, ("command", "x", ())),
        ("a.b.killrun", None, ("command", "a.b.killrun", ())),
        ("apply_it", {"target": "/home/user/project/a"}, ("file_change", "a", ("/home/user/project/a",))),
        ("apply_it", {"target": ["/x", "/y", "", 5]}, ("file_change", "/x, /y", ("/x", "/y"))),
        ("apply_it", {"target": 5}, ("file_change", "apply_it", ())),
        ("apply_it", "text", ("file_change", "apply_it", ())),
        ("mcp__files__read", {}, ("tool", "files.read", ())),
        ("mcp__git__commit", {}, ("tool", "commit", ())),
        ("read", {"path": "/x"}, ("tool", "look", ())),
        ("write", {"path": "/x"}, ("tool", "/x", ())),
        ("bash", {"command": "ls"}, ("note", "ls", ())),
        ("odd[x]?.42z", {}, ("note", "odd[x]?.42z", ())),
        ("oddx.42z", {}, ("tool", "oddx.42z", ())),
        ("frobnicate", {"x": 1}, ("tool", "frobnicate", ())),
    ],
)  # fmt: skip
def test_a_tool_call(name, given, expected):
    kind, title, paths = view(name, given)
    if name == "write":  # the built-in title may be the paths, which are no change here
        assert (kind, paths) == ("tool", ())
        assert title in ("/x", "write")
        return
    assert (kind, title, paths) == expected


def test_the_built_in_table_is_behind_the_adapters_own():
    assert view("bash", {"command": "ls"}, "")[:2] == ("command", "ls")
    assert view("Bash", {"command": "/bin/bash -lc 'ls -l'"}, "")[:2] == ("command", "ls -l")
    assert view("Read", {"file_path": "/home/user/project/a.py"}, "")[:2] == ("tool", "read `a.py`")
    assert view("Edit", {"file_path": "/home/user/project/a.py"}, "") == (
        "file_change",
        "a.py",
        ("/home/user/project/a.py",),
    )


def test_the_first_entry_that_names_a_tool_wins():
    tools = "tools:\n  - {name: 'x_*', kind: note}\n  - {name: x_y, kind: command}"
    assert view("x_y", None, tools)[0] == "note"


def test_the_whole_name_and_the_bare_one_are_tried():
    tools = "tools:\n  - {name: git.log, kind: note}\n  - {name: log, kind: command}"
    assert view("git.log", None, tools)[0] == "note"
    assert view("svn.log", None, tools)[0] == "command"


def test_names_that_never_repeat_do_not_fill_memory():
    table = adapter_from(TOOLS).tools
    for i in range(3_000):
        assert table.view(f"tool{i}", None, SCOPE).title == f"tool{i}"
    assert len(table._found) == 1_000
    assert table.view("Run", None, SCOPE).kind == "command"
