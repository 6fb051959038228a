"""The built-in tool table: names, kinds, titles and paths, and that no input makes it stumble.

`call` below is the smallest evaluator of the table, so that a mistake found here is one of the data.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from takopi.adapters.jmes import Expression, compile_expression
from takopi.adapters.lint import lint
from takopi.adapters.scope import Scope
from takopi.adapters.syntax import tokens
from takopi.model import ACTION_KINDS

ROOT = Path(__file__).parents[2]
STREAMS = (ROOT / "fixtures" / "streams", ROOT.parent / "shared" / "recordings")
PROJECT = "/home/user/project"
SCOPE = Scope(run={"cwd": PROJECT})

TABLE: list[dict[str, Any]] = YAML(typ="safe").load(
    files("takopi.adapters").joinpath("tools.yaml").read_text(encoding="utf-8")
)
EXPRESSIONS = [entry[field] for entry in TABLE for field in ("title", "path") if field in entry]


@cache
def compiled(text: str) -> Expression:
    return compile_expression(text)


def entry_for(name: str) -> dict[str, Any] | None:
    whole, bare = name.lower(), name.lower().rpartition(".")[2]
    return next(
        (e for e in TABLE for n in e["name"] if fnmatchcase(bare, n) or fnmatchcase(whole, n)), None
    )


def look(entry: dict[str, Any], name: str, given: Any) -> tuple[str, Any, Any]:
    node = {"name": name, "input": given}
    title, path = (
        compiled(entry[field]).evaluate(node, SCOPE) if field in entry else None
        for field in ("title", "path")
    )
    return entry["kind"], title, path


def call(name: str, given: Any) -> tuple[str, Any, Any]:
    entry = entry_for(name)
    assert entry is not None, f"no entry for {name}"
    return look(entry, name, given)


SRC = f"{PROJECT}/src/app.py"
PATCH = """*** Begin Patch
*** Add File: notes.txt
+one
*** Update File: src/app.py
*** Move to: src/main.py
@@
-a
+b
*** Delete File: old name.txt
*** End Patch
"""
DIFF = "--- a/src/app.py\t2026\n+++ b/src/app.py\t2026\n@@ -1 +1 @@\n-a\n+b\n"
TODOS = [
    {"content": "Read code", "status": "completed", "activeForm": "Reading code"},
    {"content": "Write tests", "status": "in_progress", "activeForm": "Writing tests"},
    {"content": "Ship", "status": "pending", "activeForm": "Shipping"},
]
ALL_DONE = [{"content": c, "status": "completed"} for c in "abc"]

COMMANDS = [
    ("Bash", {"command": "ls -1 src", "description": "List"}, "ls -1 src"),
    ("bash", {"cmd": "x"}, "x"),
    ("Bash", {"command": f"cat {SRC}"}, "cat src/app.py"),
    ("shell", {"command": "/bin/bash -lc 'ls | wc'"}, "ls | wc"),
    ("shell", {"command": ["bash", "-lc", f"ls {PROJECT}/src"]}, "ls src"),
    ("shell", {"command": ["sleep", 5]}, "sleep 5"),
    ("shell", {"command": ["bash", "-lc"]}, "bash -lc"),
    ("functions.exec_command", {"cmd": "echo oops >&2; exit 3"}, "echo oops >&2; exit 3"),
    ("file_system.bash", {"command": "ls -1"}, "ls -1"),
    (
        "run_commands",
        {"commands": ["cat missing.txt; exit 3", "ls"]},
        "cat missing.txt; exit 3; ls",
    ),
    ("run_commands", {"commands": "ls"}, "ls"),
    ("run_shell_command", {"command": "ls", "is_background": False}, "ls"),
    ("developer__shell", {"command": "ls -1"}, "ls -1"),
    ("mcp__acp__Bash", {"command": "ls -1"}, "ls -1"),
    ("shellToolCall", {"command": "ls -1"}, "ls -1"),
    ("execute_ipython_cell", {"code": "print(1)"}, "print(1)"),
    ("KillShell", {"shell_id": "b1"}, None),
    ("Bash", {"__unparsedToolInput": {"raw": '{"command": ', "len": 12}}, None),
    ("Bash", {"command": "  "}, None),
    ("Bash", {"command": []}, None),
    ("Bash", {"command": [{}]}, None),
    ("Bash", {"command": ["sh", "-c", None]}, "sh -c"),
    ("Bash", {"command": {"a": 1}, "cmd": "ls"}, "ls"),
    ("Bash", "ls", None),
    ("Bash", None, None),
]

FILE_CHANGES = [
    ("Edit", {"file_path": SRC, "old_string": "a", "new_string": "b"}, SRC),
    ("write", {"filePath": SRC, "content": "x"}, SRC),
    ("edit", {"path": "src/app.py", "edits": [{"oldText": "a", "newText": "b"}]}, "src/app.py"),
    ("NotebookEdit", {"notebook_path": "n.ipynb", "new_source": "x"}, "n.ipynb"),
    ("file_system.search_replace", {"filePath": "a", "changes": [{"oldString": "x"}]}, "a"),
    ("replace", {"file_path": "a", "instruction": "i"}, "a"),
    ("create", {"path": "notes.md", "file_text": "x"}, "notes.md"),
    ("writeToolCall", {"path": "notes.md", "fileText": "x"}, "notes.md"),
    ("multi_edit", {"edits": [{"file_path": "a"}, {"filePath": "b"}]}, ["a", "b"]),
    ("edit_files", {"files": ["a", {"path": "b"}]}, ["a", "b"]),
    ("edit", {"path": ["a", "b", 3]}, ["a", "b"]),
    ("edit", {"edits": ["not a path"]}, None),
    ("edit", {"path": "", "filename": "a"}, "a"),
    ("Write", {}, None),
    ("Write", [SRC], None),
    ("Write", SRC, None),
    ("editor", {"path": "a", "new_text": "b", "command": "create"}, "a"),
    ("editor", {"path": "a", "old_text": "x", "new_text": "b"}, "a"),
    ("file_editor", {"command": "str_replace", "path": "a"}, "a"),
    ("file_editor", None, None),
    ("move_file", {"source": "a", "destination": "b"}, ["a", "b"]),
    ("file_op", {"operation": "delete", "path": "a"}, ["a"]),
    ("file_op", {}, None),
    ("apply_patch", PATCH, ["notes.txt", "src/app.py", "src/main.py", "old name.txt"]),
    ("ApplyPatch", {"input": PATCH.replace("\n", "\r\n")}, ["notes.txt", "src/app.py", "src/main.py", "old name.txt"]),
    ("apply_patch", {"command": ["apply_patch", PATCH]}, ["notes.txt", "src/app.py", "src/main.py", "old name.txt"]),
    ("patch", {"patchText": DIFF}, ["src/app.py"]),
    ("apply_diff", {"path": "a", "diff": "<<<<"}, "a"),
    ("apply_patch", "no patch", None),
    ("apply_patch", {"input": 5}, None),
    ("apply_patch", None, None),
]  # fmt: skip

TITLES = [
    ("Read", {"file_path": SRC}, "tool", "read `src/app.py`"),
    ("read", {"filePath": "big.txt"}, "tool", "read `big.txt`"),
    ("read", {"path": f"{PROJECT}-2/x"}, "tool", f"read `{PROJECT}-2/x`"),
    ("readToolCall", {"path": "a"}, "tool", "read `a`"),
    ("view_image", {"path": "nope.png"}, "tool", "read `nope.png`"),
    ("read_many_files", {"paths": [SRC, "b", None]}, "tool", "read `src/app.py`, `b`"),
    ("read_files", {"files": [{"path": "a"}, {"path": "b"}]}, "tool", "read `a`, `b`"),
    ("Read", {"file_path": ""}, "tool", None),
    ("Read", {"file_path": 3}, "tool", None),
    ("Read", {}, "tool", None),
    ("LS", {"path": f"{PROJECT}/src"}, "tool", "ls `src`"),
    ("list_directory", {"dir_path": PROJECT}, "tool", "ls `.`"),
    ("list_dir", {"target_directory": "src"}, "tool", "ls `src`"),
    ("ls", None, "tool", "ls"),
    ("Glob", {"pattern": "**/*.py"}, "tool", "glob `**/*.py`"),
    ("glob", {"pattern": ["a"]}, "tool", None),
    ("Grep", {"pattern": "TODO", "path": PROJECT}, "tool", "grep `TODO`"),
    ("search_files", {"path": ".", "regex": "a|b"}, "tool", "grep `a|b`"),
    ("search_file_contents", {"query": "TODO"}, "tool", "grep `TODO`"),
    ("grep", {}, "tool", None),
    ("find", {"pattern": "**/*.py"}, "tool", "find `**/*.py`"),
    ("find_files", {}, "tool", None),
    ("codebase_search", {"query": "where is x"}, "tool", "search `where is x`"),
    ("ToolSearch", {"query": "select:Read"}, "tool", "search `select:Read`"),
    ("LSP", {"operation": "hover", "filePath": SRC}, "tool", "LSP hover `src/app.py`"),
    ("lsp_get_diagnostics", {}, "tool", "lsp_get_diagnostics"),
    ("WebSearch", {"query": "mock news"}, "web_search", "mock news"),
    ("google_web_search", {"query": "q"}, "web_search", "q"),
    ("WebFetch", {"url": "http://x/y", "prompt": "what is it"}, "web_search", "http://x/y"),
    ("webfetch", {"url": "http://x/y", "format": "text"}, "web_search", "http://x/y"),
    ("web_fetch", {"prompt": "sum up http://x"}, "web_search", "sum up http://x"),
    ("web_search", {"search_queries": ["a", "b"]}, "web_search", "a, b"),
    ("WebFetch", {"url": None, "prompt": 3}, "web_search", None),
    ("Task", {"description": "Count files", "prompt": "Count"}, "subagent", "Count files"),
    ("Agent", {"prompt": "Count"}, "subagent", "Count"),
    ("spawn_agent", {"task_name": "c", "message": "Count them"}, "subagent", "Count them"),
    ("wait", {"timeout_ms": 10000}, "subagent", None),
    ("task", {"description": ["x"]}, "subagent", None),
    ("TodoWrite", {"todos": TODOS}, "note", "todos 1/3: Writing tests"),
    ("todowrite", {"todos": [{"content": "Ship", "status": "in_progress"}]}, "note", "todos 0/1: Ship"),
    ("todowrite", {"todos": ALL_DONE}, "note", "todos 3/3"),
    ("TodoList", {"todos": [{"title": "a", "status": "done"}, {"title": "b", "status": "in_progress"}]}, "note", "todos 1/2: b"),
    ("write_todos", {"todos": [{"description": "b", "status": "in_progress"}]}, "note", "todos 0/1: b"),
    ("update_plan", {"plan": [{"step": "Read code", "status": "in_progress"}, {"step": "Test", "status": "pending"}]}, "note", "todos 0/2: Read code"),
    ("task_tracker", {"command": "plan", "task_list": [{"title": "a", "status": "in_progress"}]}, "note", "todos 0/1: a"),
    ("task_tracker", {"command": "view"}, "note", "read todos"),
    ("todo", {"action": "read"}, "note", "read todos"),
    ("write_tasks", {"tasks": [{"title": "a", "completed": True}, {"title": "b", "completed": False}]}, "note", "todos 1/2"),
    ("manage_todo_list", {"todoList": [{"title": "a", "status": "in-progress"}]}, "note", "todos 0/1: a"),
    ("update_todo_list", {"todos": "[x] a\n[-] b\n[ ] c"}, "note", "todos 1/3: b"),
    ("TodoWrite", {"todos": "1. [completed] a\n2. [in_progress] b [ugly]"}, "note", "todos 1/2: b [ugly]"),
    ("TodoWrite", {"todos": json.dumps(TODOS)}, "note", "todos 1/3: Writing tests"),
    ("TodoWrite", {"todos": ["a", "b"]}, "note", "todos 0/2"),
    ("TodoWrite", {"todos": [{"status": "in_progress", "content": 5}]}, "note", "todos 0/1"),
    ("TodoWrite", {"todos": []}, "note", "update todos"),
    ("TodoWrite", {"todos": [None, 4]}, "note", "update todos"),
    ("TodoWrite", {"todos": "later"}, "note", "update todos"),
    ("TodoWrite", None, "note", "update todos"),
    ("TodoRead", {}, "note", "read todos"),
    ("TaskCreate", {"subject": "Read code", "description": "all"}, "note", "add todo: Read code"),
    ("TaskCreate", None, "note", "add todo"),
    ("TaskUpdate", {"taskId": "1", "status": "in_progress"}, "note", "todo 1: in progress"),
    ("TaskUpdate", {"taskId": 2, "subject": "New"}, "note", "todo 2: New"),
    ("TaskUpdate", {}, "note", "todo"),
    ("TaskGet", {"taskId": "1"}, "note", "read todo 1"),
    ("TaskList", {}, "note", "list todos"),
    ("AskUserQuestion", {"questions": []}, "note", "ask user"),
    ("question", None, "note", "ask user"),
    ("report_intent", {"intent": "Fixing the bug"}, "note", "Fixing the bug"),
    ("think", {}, "note", None),
    ("ExitPlanMode", {"plan": "1. do it"}, "tool", "exit plan mode"),
    ("enter_plan_mode", {}, "tool", "enter plan mode"),
    ("Skill", {"skill": "pdf"}, "tool", "skill pdf"),
    ("Skill", {}, "tool", None),
    ("invalid", {"tool": "bash", "error": "JSON parsing failed"}, "tool", "invalid call of bash"),
    ("use_mcp_tool", {"server_name": "mini", "tool_name": "echo"}, "tool", "mini.echo"),
    ("use_tool", {"tool_name": "echo"}, "tool", "echo"),
    ("use_tool", None, "tool", None),
    ("read_mcp_resource", {"server": "s", "uri": "x://y"}, "tool", "read `x://y`"),
    ("TaskOutput", {"task_id": "b60"}, "tool", "TaskOutput b60"),
    ("write_stdin", {"session_id": 7, "chars": "y"}, "tool", "write_stdin 7"),
    ("TaskStop", None, "tool", "TaskStop"),
    ("CronCreate", {"prompt": "Check the build"}, "tool", "CronCreate Check the build"),
    ("slack_post_message", {"message": "Hello"}, "tool", "slack_post_message Hello"),
    ("update_goal", {"status": "complete"}, "tool", "update_goal complete"),
    ("get_goal", "x", "tool", "get_goal"),
    ("mcp__mini__echo", {"text": "hi there"}, "tool", "mini.echo"),
    ("mcp__mini__fail", {}, "tool", "mini.fail"),
    ("developer__analyze", {}, "tool", "developer.analyze"),
    ("mcp__some_server__a_tool", None, "tool", "some_server.a_tool"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "title"), COMMANDS)
def test_a_shell_shows_its_command(name, given, title):
    assert call(name, given) == ("command", title, None)


@pytest.mark.parametrize(("name", "given", "path"), FILE_CHANGES)
def test_an_edit_tells_the_paths(name, given, path):
    assert call(name, given) == ("file_change", None, path)


@pytest.mark.parametrize(("name", "given", "kind", "title"), TITLES)
def test_other_tools_have_a_title(name, given, kind, title):
    assert call(name, given) == (kind, title, None)


def test_an_editor_that_only_looks_changes_nothing():
    given = {"command": "view", "path": SRC}
    assert call("file_editor", given) == ("file_change", "view `src/app.py`", None)


def test_entries_have_the_shape_of_an_adapters_tools():
    for entry in TABLE:
        assert entry.keys() <= {"name", "kind", "title", "path"}
        assert entry["kind"] in ACTION_KINDS
        assert ("path" in entry) == (entry["kind"] == "file_change")
        assert ("title" in entry) or ("path" in entry)


def test_names_are_bare_lower_case_and_listed_once():
    names = [name for entry in TABLE for name in entry["name"]]
    assert [n for n in names if not re.fullmatch(r"[a-z][a-z0-9_]*\*?", n)] == []
    assert [n for n, count in Counter(names).items() if count > 1] == []


def test_no_name_stands_behind_a_wildcard_that_hides_it():
    wildcards: list[str] = []
    for entry in TABLE:
        for name in entry["name"]:
            assert not [w for w in wildcards if fnmatchcase(name, w)], name
        wildcards += [name for name in entry["name"] if "*" in name]


@pytest.mark.parametrize("text", EXPRESSIONS, ids=range(len(EXPRESSIONS)))
def test_expressions_hold_no_trap(text):
    assert lint(text, tokens(text)) == []


KEYS = sorted({word for text in EXPRESSIONS for word in re.findall(r"\b[A-Za-z]\w+\b", text)})
ODD: list[Any] = [
    *(None, "", " ", "\n", "text", "[x]", "null", "3", "[3]", 0, 1.5, True, False, {}, {"a": None}),
    *([], [None], [""], [1], [[]], [[None]], [{}], [{"a": 1}], [True, "x"], ["-c", "-c"], [{}, "-c", 3]),
    *([{"path": 1, "status": 2}], [{"status": []}, None], [{"path": ["x"]}], {"path": "x"}, [["x"]]),
]  # fmt: skip


def check(entry: dict[str, Any], given: Any) -> None:
    """Whatever the input, a title or none, paths or none: no error, nothing empty."""
    _, title, path = look(entry, "Some.Name", given)
    assert title is None or (isinstance(title, str) and title.strip()), (title, given)
    assert "``" not in (title or "")
    paths = [path] if isinstance(path, str) else path
    assert paths is None or (isinstance(paths, list) and paths)
    for one in paths or []:
        assert isinstance(one, str), (one, given)
        assert one.strip(), (one, given)


@pytest.mark.parametrize("index", range(len(TABLE)))
def test_odd_values_never_fail_and_never_show(index):
    for value in ODD:
        check(TABLE[index], value)
        for key in KEYS:
            check(TABLE[index], {key: value})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab [x]\n*+/", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6) | JSON)
def test_any_json_as_input_never_fails(value):
    for entry in TABLE:
        check(entry, value)


# Names that no CLI has: recordings in which the model called a tool that does not exist.
MADE_UP = {"nosuchtool", "no_such_tool"}


def objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for child in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        if isinstance(child, dict | list):
            yield from objects(child)


def names_in(node: dict[str, Any]) -> Iterator[Any]:
    """Names of tools called or offered, in the shapes that the engines' streams give them."""
    yield node.get("toolName")
    yield node.get("tool_name")
    called = any(isinstance(node.get(k), dict | str) for k in ("input", "arguments", "rawInput"))
    if called and "description" not in node:  # with one it is a slash command on offer
        yield node.get("name")
    if isinstance(node.get("state"), dict) or "receiver_thread_ids" in node:
        yield node.get("tool")
    if isinstance(node.get("tool_call"), dict) and "function" not in node["tool_call"]:
        yield from (key for key in node["tool_call"] if key.endswith("ToolCall"))
    if node.get("subtype") == "init" and isinstance(node.get("tools"), list):
        yield from node["tools"]


def recorded_names(folder: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for stream in chain(folder.glob("*/*.jsonl"), folder.glob("*/*/*.jsonl")):
        engine = found.setdefault(stream.relative_to(folder).parts[0], set())
        text = stream.read_bytes().decode("utf-8", "replace")
        for line in text.split("\n"):
            # Most of a stream is text; only these lines can name a tool.
            if "ool" not in line and '"input"' not in line and '"arguments"' not in line:
                continue
            try:
                value = json.loads(line)
            except ValueError:
                continue
            engine.update(
                n for node in objects(value) for n in names_in(node) if isinstance(n, str)
            )
    return found


def own_names(engine: str) -> set[str]:
    """The tools that the engine's own adapter names, as it writes them."""
    file = ROOT / "adapters" / f"{engine}.yaml"
    if not file.exists():
        return set()
    tools = YAML(typ="safe").load(file.read_text(encoding="utf-8")).get("tools", [])
    names = (tool["name"] for tool in tools if isinstance(tool, dict))
    return {n for name in names for n in (name if isinstance(name, list) else [name])}


@pytest.mark.parametrize("folder", STREAMS, ids=["fixtures", "recordings"])
def test_every_recorded_tool_is_known(folder):
    if not any(folder.glob("**/*.jsonl")):
        pytest.skip(f"no streams in {folder.name}")
    recorded = recorded_names(folder)
    assert any(recorded.values()), "the names are no longer found"
    unknown = {
        (engine, name)
        for engine, names in recorded.items()
        for name in names
        if name.lower() not in MADE_UP and entry_for(name) is None and name not in own_names(engine)
    }
    assert unknown == set()
