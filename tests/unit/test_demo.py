"""The demo engine's understanding of prompts, its file access, and its Markdown."""

from __future__ import annotations

import os
import time

import pytest

import takopi
from takopi.demo import VERSION
from takopi.demo.files import FileProblem, FoundFile, Limits, MissingFile, Workspace
from takopi.demo.intents import Intent, parse_intent, resolve
from takopi.demo.kinds import file_test
from takopi.demo.markdown import block, clip, code, count, printable, size
from takopi.demo.sessions import Result, SessionError, SessionStore, Turn

INTENTS = [
    ("list files", Intent("list")),
    ("List the files, please.", Intent("list")),
    ("what files are here?", Intent("list")),
    ("which files are there in the src folder?", Intent("list", path="src")),
    ("Could you show me all the files?", Intent("list")),
    ("ls -la src/", Intent("list", path="src/")),
    ("list all the markdown files in docs", Intent("list", path="docs", files="markdown")),
    ("find *.py", Intent("list", files="*.py")),
    ("find files named config", Intent("list", files="config")),
    ("where is app.py?", Intent("list", files="app.py")),
    ("what's in src?", Intent("list", path="src")),
    ("what do we have here", Intent("list")),
    ("how many files?", Intent("count_files")),
    ("how many files are in src?", Intent("count_files", path="src")),
    ("How many Python files are there?", Intent("count_files", files="Python")),
    ("how many test files", Intent("count_files", files="test")),
    ("how many lines of code are there in this project?", Intent("count_lines")),
    ("how many lines of Python?", Intent("count_lines", files="Python")),
    ("how many lines does src/app.py have?", Intent("count_lines", path="src/app.py")),
    ("count the lines of README.md", Intent("count_lines", path="README.md")),
    ("lines of code", Intent("count_lines")),
    ("how many TODOs are there in src", Intent("search", query="TODO", path="src")),
    ("search for TODO", Intent("search", query="TODO")),
    ("search in src for TODO", Intent("search", query="TODO", path="src")),
    ("can you grep for `def main` in src please", Intent("search", query="def main", path="src")),
    ('search for "lines in order"', Intent("search", query="lines in order")),
    ("which files mention retry?", Intent("search", query="retry")),
    ("find files containing cache", Intent("search", query="cache")),
    ("any todos?", Intent("search", query="todo")),
    ("show me the TODOs", Intent("search", query="TODO")),
    ("search for TODO in Python files", Intent("search", query="TODO", files="Python")),
    ("where do we use add?", Intent("search", query="add")),
    ("where is `Cache` mentioned", Intent("search", query="Cache")),
    ("where is the function add defined?", Intent("definition", query="add")),
    ("find the definition of add", Intent("definition", query="add")),
    ("read README.md", Intent("read", path="README.md")),
    ("open the readme", Intent("read", path="readme")),
    ("what's in README.md?", Intent("read", path="README.md")),
    ("show the first 5 lines of README.md", Intent("read", path="README.md", number=5)),
    ("cat /etc/passwd", Intent("read", path="/etc/passwd")),
    ("read ..", Intent("read", path="..")),
    ("src/app.py", Intent("read", path="src/app.py")),
    ("Summarize README.md", Intent("read", path="README.md")),
    ("summarize this project", Intent("summary")),
    ("What is this project about?", Intent("summary")),
    ("what does this project do", Intent("summary")),
    ("biggest files", Intent("biggest", number=5)),
    ("what are the 3 biggest files in src?", Intent("biggest", path="src", number=3)),
    ("top 10 largest python files", Intent("biggest", files="python", number=10)),
    ("and in tests?", Intent("narrow", path="tests")),
    ("what about FIXMEs?", Intent("narrow", query="FIXME")),
    ("and python files?", Intent("narrow", query="python", files="python")),
    ("and how many files?", Intent("count_files")),
    ("do that again", Intent("again")),
    ("what did I ask?", Intent("history")),
    ("show the first one", Intent("pick", number=1)),
    ("open #3", Intent("pick", number=3)),
    ("the last one", Intent("pick", number=-1)),
    ("fail", Intent("fail")),
    ("please crash", Intent("crash")),
    ("sleep 30", Intent("sleep", number=30)),
    ("wait for 2 minutes", Intent("sleep", number=120)),
    ("sleep 999999", Intent("sleep", number=3600)),
    ("help", Intent("help")),
    ("what can you do?", Intent("help")),
    ("show me what you can do", Intent("help")),
    ("", Intent("unknown")),
    ("?", Intent("unknown")),
    ("-v", Intent("unknown")),
    ("why do the tests fail", Intent("unknown")),
    ("write a poem about the sea", Intent("unknown")),
    ("\0\x1b[31m", Intent("unknown")),
    ("search\0for\nTODO", Intent("search", query="TODO")),
]


@pytest.mark.parametrize(("prompt", "intent"), INTENTS, ids=range(len(INTENTS)))
def test_a_prompt_is_understood(prompt, intent):
    assert parse_intent(prompt) == intent


LONG = [
    *("in " * 5000, "how many " * 400, "find " + "a " * 3000, "`" * 3000, "the " * 2000),
    *("x" * 10**6, "search for " + "in src " * 500, "what is this " * 200, "\ud800" * 3000),
    *(". ? " * 900, "show " * 500, "list " + "files " * 600, "biggest " * 300, "lines of " * 300),
]


@pytest.mark.parametrize("prompt", LONG, ids=range(len(LONG)))
def test_no_prompt_takes_long(prompt):
    began = time.perf_counter()
    parse_intent(prompt)
    assert time.perf_counter() - began < 1


FOLLOW_UPS = [
    ("and in tests?", Intent("search", query="a"), Intent("search", query="a", path="tests")),
    ("and tests?", Intent("count_files"), Intent("count_files", path="tests")),
    ("what about FIXME?", Intent("search", query="a"), Intent("search", query="FIXME")),
    ("and markdown files?", Intent("count_lines"), Intent("count_lines", files="markdown")),
    ("and in ../x?", Intent("list"), Intent("list", path="../x")),
    ("what about slug?", Intent("list"), Intent("search", query="slug")),
    ("and tests?", None, Intent("read", path="tests")),
    ("what about slug?", None, None),
    ("again", Intent("biggest", number=3), Intent("biggest", number=3)),
    ("again", None, None),
    ("list files", Intent("search", query="a"), Intent("list")),
]


@pytest.mark.parametrize(("prompt", "last", "wanted"), FOLLOW_UPS, ids=range(len(FOLLOW_UPS)))
def test_a_follow_up_refers_to_the_last_question(prompt, last, wanted):
    assert resolve(parse_intent(prompt), last, {"tests"}.__contains__) == wanted


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    (root / "src" / "app.py").write_text("one\nTWO two\nthree")
    (root / "README.md").write_text("# Title\n")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("two")
    (tmp_path / "secret.txt").write_text("two secrets")
    return root


def names(listing):
    return [file.path for file in listing.files]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../secret.txt", "outside"),
        ("src/../../secret.txt", "outside"),
        ("/etc/passwd", "absolute"),
        ("~/x", "absolute"),
        ("way-out", "leads out"),
        ("way-out-folder/secret.txt", "leads out"),
        (".git/config", "never looked into"),
        ("loop", "too many levels"),
        ("pipe", "not a regular file"),
        ("src", "is a directory"),
        ("x" * 300, "name too long"),
        ("\ud800", "no such file"),
        ("a\0b", "not a path"),
    ],
    ids=str,
)
def test_what_may_not_be_read_is_refused(project, path, reason):
    (project / "way-out").symlink_to("../secret.txt")
    (project / "way-out-folder").symlink_to("..")
    (project / "loop").symlink_to("loop")
    os.mkfifo(project / "pipe")
    with pytest.raises(FileProblem, match=reason):
        Workspace(str(project)).read(path)


def test_a_link_inside_is_read_but_not_walked(project):
    (project / "inner").symlink_to("src/app.py")
    (project / "around").symlink_to(".")
    workspace = Workspace(str(project))
    listing = workspace.walk()
    assert workspace.read("inner").text.startswith("one")
    assert names(listing) == ["README.md", "src/app.py"]
    assert listing.links == 2


def test_version_control_environments_and_caches_are_skipped(project):
    for folder in ("node_modules", "src/__pycache__", "my-env"):
        (project / folder).mkdir()
        (project / folder / "x.py").write_text("")
    (project / "my-env" / "pyvenv.cfg").write_text("")
    assert names(Workspace(str(project)).walk()) == ["README.md", "src/app.py"]


def test_a_walk_is_bounded(project):
    for number in range(20):
        (project / "src" / f"{number}.txt").write_text("x")
    listing = Workspace(str(project), Limits(files=10)).walk()
    assert len(listing.files) == 10
    assert listing.capped


def test_reading_is_bounded(project):
    (project / "big.txt").write_text("line\n" * 100)
    workspace = Workspace(str(project), Limits(file_bytes=52, total_bytes=30))
    text = workspace.read("big.txt")
    assert (text.partial, len(text.lines()), text.damaged) == (True, 10, False)
    files = workspace.walk().files
    scan = workspace.scan(files)
    assert (scan.skipped, scan.capped, list(scan.lines)) == (1, False, ["README.md", "src/app.py"])
    assert workspace.scan([FoundFile("README.md", 8), FoundFile("src/app.py", 23)]).capped


def test_a_scan_counts_lines_and_keeps_matches(project):
    workspace = Workspace(str(project))
    scan = workspace.scan(workspace.walk().files, lambda text: "two" in text.lower())
    assert scan.lines == {"README.md": 1, "src/app.py": 3}
    assert [tuple(match) for match in scan.matches] == [("src/app.py", 2, "TWO two")]


def test_text_that_is_not_utf_8_is_read_and_binary_is_not(project):
    (project / "old.txt").write_bytes(b"gr\xfc\xdfe\r\n")
    (project / "image").write_bytes(b"\x89PNG\0\0")
    (project / "bom.txt").write_bytes(b"\xef\xbb\xbfhello")
    workspace = Workspace(str(project))
    assert workspace.read("old.txt").damaged
    assert workspace.read("old.txt").lines() == ["gr\ufffd\ufffde"]
    assert workspace.read("bom.txt").text == "hello"
    with pytest.raises(FileProblem, match="binary"):
        workspace.read("image")


def test_a_missing_file_is_told_from_a_refused_one(project):
    with pytest.raises(MissingFile):
        Workspace(str(project)).read("nothing.py")


@pytest.mark.parametrize(
    ("word", "path", "fits"),
    [
        ("Python", "a/b.PY", True),
        ("py", "a/b.py", True),
        (".md", "README.md", True),
        ("*.y*ml", "x/a.yaml", True),
        ("test", "tests/test_a.py", True),
        ("test", "tests/a.py", False),
        ("code", "a.rs", True),
        ("code", "README.md", False),
        ("c", "x.cpp", False),
        ("", "anything", True),
    ],
    ids=str,
)
def test_kinds_of_files(word, path, fits):
    assert file_test(word)(path) is fits


def test_a_session_survives_being_saved(tmp_path):
    store = SessionStore(str(tmp_path / "state"))
    session = store.new("/home/user/project")
    session.begin("search for \ud800")
    session.finish("**1 match**")
    session.last = Intent("search", query="a", path="src")
    session.results = [Result("src/a\udcff.py", 3)]
    store.save(session)
    again = store.load(session.id)
    assert vars(again) == vars(session)
    assert again.turns == [Turn("search for \ud800", "**1 match**")]
    file = tmp_path / "state" / f"{session.id}.json"
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_session_keeps_its_last_turns_only(tmp_path):
    session = SessionStore(str(tmp_path)).new("/x")
    for number in range(70):
        session.begin(f"{number}" + "x" * 9000)
    assert len(session.turns) == 50
    assert session.turns[-1].prompt.startswith("69")
    assert len(session.turns[-1].prompt) == 4000


DAMAGED = [
    *("", "[]", "{}", "[" * 100_000, '{"cwd": 1, "turns": [], "last": null, "results": []}'),
    '{"cwd": "/", "turns": [{}], "last": null, "results": []}',
    '{"cwd": "/", "turns": [], "last": {"kind": 1}, "results": []}',
    '{"cwd": "/", "turns": [], "last": {"kind": "list", "more": 1}, "results": []}',
]


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_session_says_so(tmp_path, text):
    (tmp_path / "demo-x.json").write_text(text)
    with pytest.raises(SessionError, match="damaged: delete"):
        SessionStore(str(tmp_path)).load("demo-x")


@pytest.mark.parametrize("session_id", ["nope", "../nope", "", "-x", "a/b", "x" * 500, "a\0b"])
def test_an_unknown_session_says_so(tmp_path, session_id):
    (tmp_path / "nope.json").write_text("{}")
    with pytest.raises(SessionError, match=r"no session .*; start a new one"):
        SessionStore(str(tmp_path / "state")).load(session_id)


def test_where_sessions_are_kept():
    assert SessionStore.of_user({"TAKOPI_DEMO_HOME": "/a", "XDG_STATE_HOME": "/b"}).folder == "/a"
    assert SessionStore.of_user({"XDG_STATE_HOME": "/b"}).folder == "/b/takopi-demo"
    home = os.path.expanduser("~")
    assert SessionStore.of_user({}).folder == f"{home}/.local/state/takopi-demo"


def test_markdown_stays_intact():
    assert code("a`b") == "`` a`b ``"
    assert code("a\nb\x1b[31m") == "`a b [31m`"
    assert block(["```", "x"], "md") == "````md\n```\nx\n````"
    assert printable("a\x00b\ud800\tc\n") == "a b\ufffd\tc\n"
    assert clip("word " * 10, 9) == "word wor…"
    assert [count(1, "match"), count(2, "match"), count(2000, "file")] == [
        "1 match",
        "2 matches",
        "2,000 files",
    ]
    assert count(3, "directory") == "3 directories"
    assert [size(0), size(1023), size(1024), size(5 << 20)] == ["0 B", "1023 B", "1.0 KB", "5.0 MB"]


def test_the_version_is_that_of_the_package():
    assert takopi.__version__ == VERSION
