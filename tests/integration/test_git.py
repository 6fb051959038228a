"""git: it never hangs or asks, and what is asked about repositories of every shape; names of branches."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi import git
from takopi.errors import WorktreeError
from tests.support.repos import commit, isolate_git, make_repo, run_git


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    isolate_git(monkeypatch, tmp_path / "home")


@pytest.fixture
def repo(tmp_path):
    return make_repo(tmp_path / "répo with blanks")


def fake_git(tmp_path, monkeypatch, script):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


# -- running git


def test_answers(repo):
    assert git.git_run(["rev-parse", "--show-prefix"], repo).returncode == 0
    assert git.git_stdout(["symbolic-ref", "HEAD"], repo) == "refs/heads/main"
    assert git.git_stdout(["rev-parse", "--show-prefix"], repo) is None
    assert git.git_stdout(["no-such-command"], repo) is None
    assert git.git_ok(["rev-parse", "HEAD"], repo)
    assert not git.git_ok(["rev-parse", "--verify", "nothing"], repo)


def test_no_git_is_no_answer(repo, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert git.git_run(["version"], repo) is None
    assert git.git_stdout(["version"], repo) is None
    assert not git.git_ok(["version"], repo)
    assert git.resolve_main_worktree_root(repo) is None
    with pytest.raises(WorktreeError, match=r"^git not available on PATH$"):
        git.check_branch_name("x")


def test_a_missing_folder_is_a_failure_that_says_so(tmp_path):
    result = git.git_run(["version"], tmp_path / "nowhere")
    assert result.returncode != 0
    assert "nowhere" in git.git_failure(result, "?")


def test_the_environment_of_a_hook_does_not_decide_the_repository(repo, tmp_path, monkeypatch):
    other = make_repo(tmp_path / "other", branch="elsewhere")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "index"))
    assert git.checked_out_branch(repo) == "main"
    assert git.git_toplevel(repo) == repo


def test_git_speaks_english_and_cannot_ask(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    fake_git(tmp_path, monkeypatch, 'echo "$LC_ALL $GIT_TERMINAL_PROMPT"; read x || echo closed')
    assert git.git_stdout([], tmp_path) == "C 0\nclosed"


def test_what_is_not_utf8_is_readable_and_still_names_files(tmp_path, monkeypatch):
    fake_git(tmp_path, monkeypatch, r"printf 'a\377b'; printf 'c\377d' >&2; exit 1")
    result = git.git_run([], tmp_path)
    assert os.fsencode(result.stdout) == b"a\xffb"
    assert result.stderr == "c\ufffdd"
    quiet = subprocess.CompletedProcess([], 1, result.stdout, "")
    assert git.git_failure(quiet, "?") == "a?b"


def test_a_git_that_hangs_is_stopped_with_all_it_started(tmp_path, monkeypatch):
    fake_git(tmp_path, monkeypatch, f"echo began >&2; sleep 60 & echo $! > {tmp_path}/pid; wait")
    begun = time.monotonic()
    result = git.git_run(["worktree", "add", "x"], tmp_path, timeout_s=0.5)
    assert time.monotonic() - begun < 10
    assert result.returncode == git.STOPPED
    assert result.stderr == "began\ngit worktree add took longer than 0.5 s and was stopped"
    child = int((tmp_path / "pid").read_text())
    status = Path(f"/proc/{child}/status")
    deadline = time.monotonic() + 5
    while status.exists() and "Z (zombie)" not in status.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_left_behind_by_a_hook_is_not_waited_for(tmp_path, monkeypatch):
    fake_git(tmp_path, monkeypatch, "sleep 5 & echo done")
    begun = time.monotonic()
    assert git.git_stdout([], tmp_path) == "done"
    assert time.monotonic() - begun < 4


# -- names of branches


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "branch name cannot be empty"),
        ("  ", "branch name cannot be empty"),
        ("/x", "branch name cannot start with '/'"),
        ("../x", "branch name cannot contain '..'"),
        ("a/../b", "branch name cannot contain '..'"),
        ("..", "branch name cannot contain '..'"),
    ],
)
def test_names_that_are_no_path(name, said):
    with pytest.raises(WorktreeError) as caught:
        git.check_branch_name(name)
    assert str(caught.value) == said


@pytest.mark.parametrize("name", ["-D", "-m", "--detach", "-b", "-", "--", "-x/y"])
def test_s13_a_name_that_git_would_take_for_an_option_is_refused(name):
    with pytest.raises(WorktreeError, match=r"^branch name cannot start with '-'$"):
        git.check_branch_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "@{-1}",
        "@{u}",
        "@",
        "HEAD",
        "a..b",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[b",
        "a\\b",
        "a.lock",
        "a/.b",
        ".a",
        "a.",
        "a/",
        "a//b",
        "a\nb",
        "a\0b",
        "a\x7fb",
        "a\ud800b",
        "a\u202eb",
        "0" * 40,
        "f" * 64,
    ],
)
def test_s13_what_git_refuses_or_expands_is_refused(name):
    with pytest.raises(WorktreeError, match=r"^invalid branch name "):
        git.check_branch_name(name)


def test_s13_a_name_too_long_for_a_file_is_refused_and_not_repeated():
    with pytest.raises(WorktreeError, match=r"^branch name is too long; 200 bytes at most$"):
        git.check_branch_name("ä" * 101)


@pytest.mark.parametrize("name", ["x", "feat/a/b", "größe", "日本語", "a@b", "a-b", "#12", "🙂"])
def test_names_that_are_fine(name):
    git.check_branch_name(name)


@settings(deadline=None, max_examples=500)
@given(st.text(max_size=20))
def test_s13_a_name_without_a_problem_can_only_be_a_path_below_its_folder(name):
    if git.branch_name_problem(name) is None:
        assert "\0" not in name
        assert not name.startswith(("-", "/"))
        assert os.path.normpath(f"/root/{name}").startswith("/root")
        name.encode()


# -- the base of new branches


def test_s14_the_base_is_the_default_branch_of_origin(repo, tmp_path):
    run_git("switch", "-q", "-c", "topic", cwd=repo)
    assert git.resolve_default_base(repo) == "topic"
    clone = tmp_path / "clone"
    run_git("switch", "-q", "main", cwd=repo)
    run_git("clone", "-q", str(repo), str(clone), cwd=tmp_path)
    run_git("switch", "-q", "-c", "other", cwd=clone)
    assert git.resolve_default_base(clone) == "main"


def test_s14_the_base_is_origins_branch_where_there_is_no_local_one(repo, tmp_path):
    clone = tmp_path / "clone"
    run_git("clone", "-q", str(repo), str(clone), cwd=tmp_path)
    run_git("switch", "-q", "-c", "other", cwd=clone)
    run_git("branch", "-q", "-D", "main", cwd=clone)
    assert git.resolve_default_base(clone) == "origin/main"
    assert git.git_ok(["rev-parse", "--verify", "origin/main"], clone)


def test_s14_a_head_of_origin_that_leads_nowhere_is_passed_over(repo):
    run_git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/gone", cwd=repo)
    assert git.resolve_default_base(repo) == "main"


@pytest.mark.parametrize(("branches", "base"), [(["main", "master"], "master"), (["main"], "main")])
def test_a_detached_head_leaves_master_then_main(repo, branches, base):
    run_git("switch", "-q", "--detach", cwd=repo)
    for branch in branches:
        run_git("branch", "-f", branch, cwd=repo)
    assert git.resolve_default_base(repo) == base


def test_without_a_commit_or_a_known_name_there_is_no_base(repo, tmp_path):
    run_git("switch", "-q", "--detach", cwd=repo)
    run_git("branch", "-q", "-m", "main", "trunk", cwd=repo)
    assert git.resolve_default_base(repo) is None
    empty = tmp_path / "empty"
    run_git("init", "-q", "-b", "main", str(empty), cwd=tmp_path)
    assert git.resolve_default_base(empty) is None
    assert git.resolve_default_base(tmp_path) is None


# -- worktrees


def test_only_the_top_of_a_work_tree_is_a_worktree(repo, tmp_path):
    (repo / "sub").mkdir()
    link = tmp_path / "link"
    link.symlink_to(repo)
    assert git.git_is_worktree(repo)
    assert git.git_is_worktree(link)
    assert not git.git_is_worktree(repo / "sub")
    assert not git.git_is_worktree(repo / ".git")
    assert not git.git_is_worktree(tmp_path)
    assert not git.git_is_worktree(tmp_path / "nowhere")


def test_s16_the_root_is_the_main_worktree_from_everywhere_in_it(repo, tmp_path):
    run_git("worktree", "add", "-q", "-b", "x", str(tmp_path / "x\ny"), cwd=repo)
    (repo / "sub").mkdir()
    for place in (repo, repo / "sub", repo / ".git", tmp_path / "x\ny"):
        assert git.resolve_main_worktree_root(place) == repo
    assert git.resolve_main_worktree_root(tmp_path) is None


def test_s16_the_root_of_a_bare_repository_is_itself_also_from_its_worktrees(repo, tmp_path):
    bare = tmp_path / "bare.git"
    run_git("clone", "-q", "--bare", str(repo), str(bare), cwd=tmp_path)
    run_git("worktree", "add", "-q", str(tmp_path / "x"), "main", cwd=bare)
    for place in (bare, bare / "refs", tmp_path / "x"):
        assert git.resolve_main_worktree_root(place) == bare


def test_s16_the_root_in_a_submodule_is_the_submodule(repo, tmp_path):
    library = make_repo(tmp_path / "library")
    add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add"]
    run_git(*add, str(library), "lib", cwd=repo)
    run_git("worktree", "add", "-q", "-b", "x", str(tmp_path / "x"), cwd=repo / "lib")
    for place in (repo / "lib", tmp_path / "x"):
        assert git.resolve_main_worktree_root(place) == repo / "lib"
    assert git.resolve_main_worktree_root(repo) == repo


def test_s16_the_root_of_a_repository_with_its_git_folder_elsewhere(tmp_path):
    run_git(
        "init", "-q", "--separate-git-dir", str(tmp_path / "dir"), str(tmp_path / "a"), cwd=tmp_path
    )
    assert git.resolve_main_worktree_root(tmp_path / "a") == tmp_path / "a"


def test_s16_a_git_that_does_not_know_z_is_asked_without(repo, tmp_path, monkeypatch):
    script = 'case "$*" in *-z*) exit 129;; esac; exec /usr/bin/git "$@"'
    run_git("worktree", "add", "-q", "-b", "x/y", str(tmp_path / "x"), cwd=repo)
    fake_git(tmp_path, monkeypatch, script)
    assert [(each.path, each.branch) for each in git.list_worktrees(repo)] == [
        (repo, "main"),
        (tmp_path / "x", "x/y"),
    ]


def test_worktrees_are_listed_with_what_holds_them(repo, tmp_path):
    run_git("worktree", "add", "-q", "--detach", str(tmp_path / "x"), cwd=repo)
    run_git("worktree", "lock", "--reason", "on a\nstick", str(tmp_path / "x"), cwd=repo)
    main, linked = git.list_worktrees(repo)
    assert main == git.Worktree(repo, "main")
    assert linked == git.Worktree(tmp_path / "x", locked="on a\nstick")


def test_a_branch_that_is_being_rebased_is_still_checked_out(repo):
    for branch, text in (("topic", "a"), ("main", "b")):
        run_git("switch", "-q", *([] if branch == "main" else ["-c"]), branch, cwd=repo)
        commit(repo, "file", text)
    run_git("switch", "-q", "topic", cwd=repo)
    assert subprocess.run(["git", "rebase", "main"], cwd=repo, capture_output=True).returncode
    assert git.git_stdout(["symbolic-ref", "--quiet", "HEAD"], repo) is None
    assert git.checked_out_branch(repo) == "topic"
    run_git("rebase", "--abort", cwd=repo)
    run_git("switch", "-q", "--detach", cwd=repo)
    assert git.checked_out_branch(repo) is None
