"""From project and branch to a directory, with real repositories: worktrees, races, attacks, ruins."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from takopi import git
from takopi.bridge import workspace
from takopi.bridge.workspace import resolve_run_cwd, resolve_run_cwd_async
from takopi.config.projects import ProjectConfig, ProjectsConfig
from takopi.errors import ConfigError
from takopi.model import RunContext
from tests.support.repos import commit, isolate_git, make_repo, run_git

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    isolate_git(monkeypatch, tmp_path / "home")


@pytest.fixture
def repo(tmp_path):
    return make_repo(tmp_path / "répo with blanks")


def project(path, worktrees_dir=".worktrees", base=None):
    return ProjectConfig("Proj", path, Path(worktrees_dir), worktree_base=base)


def projects(path, *args, **kwargs):
    return ProjectsConfig({"proj": project(path, *args, **kwargs)})


def cwd(path, branch=None, **kwargs):
    return resolve_run_cwd(projects(path, **kwargs), RunContext("proj", branch))


def refused(path, branch=None, **kwargs):
    with pytest.raises(ConfigError) as caught:
        cwd(path, branch, **kwargs)
    return str(caught.value)


def refs(repo):
    return run_git("for-each-ref", cwd=repo) + run_git("symbolic-ref", "HEAD", cwd=repo)


def branch_of(path):
    return run_git("symbolic-ref", "HEAD", cwd=path).removeprefix("refs/heads/")


# -- without a branch


@pytest.mark.parametrize("context", [None, RunContext(), RunContext(None, "x"), RunContext("")])
def test_without_a_project_takopis_own_directory_is_used(repo, context):
    assert resolve_run_cwd(projects(repo), context) is None


def test_a_project_alone_is_its_folder_git_or_not(repo, tmp_path):
    assert cwd(repo) == repo
    assert cwd(tmp_path) == tmp_path
    assert resolve_run_cwd(projects(repo), RunContext("PROJ")) == repo


def test_an_unknown_project_is_named(repo):
    with pytest.raises(ConfigError) as caught:
        resolve_run_cwd(projects(repo), RunContext("other"))
    assert str(caught.value) == "unknown project 'other'"


@pytest.mark.parametrize("branch", [None, "x"])
def test_s12_a_project_path_that_is_missing_is_said(tmp_path, branch):
    missing = tmp_path / "gone"
    assert refused(missing, branch) == f"project path not found: {missing}"
    missing.write_text("a file")
    assert refused(missing, branch) == f"project path not found: {missing}"


# -- a branch gets a worktree


def test_the_branch_that_is_checked_out_in_the_project_is_the_project(repo):
    assert cwd(repo, "main") == repo
    assert not (repo / ".worktrees").exists()


def test_a_new_branch_starts_from_the_default_branch(repo):
    commit(repo, "file", "on main")
    made = cwd(repo, "feat/a")
    assert made == repo / ".worktrees/feat/a"
    assert branch_of(made) == "feat/a"
    assert (made / "file").read_text() == "on main"
    assert cwd(repo, "feat/a") == made


def test_a_local_branch_is_checked_out(repo):
    run_git("switch", "-q", "-c", "topic", cwd=repo)
    commit(repo, "file", "topic")
    run_git("switch", "-q", "main", cwd=repo)
    assert (cwd(repo, "topic") / "file").read_text() == "topic"


def test_a_branch_of_origin_is_checked_out_and_tracked_while_a_new_one_tracks_nothing(
    repo, tmp_path
):
    run_git("switch", "-q", "-c", "topic", cwd=repo)
    commit(repo, "file", "topic")
    run_git("switch", "-q", "main", cwd=repo)
    clone = tmp_path / "clone"
    run_git("clone", "-q", str(repo), str(clone), cwd=tmp_path)
    made = cwd(clone, "topic")
    assert (made / "file").read_text() == "topic"
    assert run_git("rev-parse", "--abbrev-ref", "@{u}", cwd=made) == "origin/topic"
    run_git("switch", "-q", "--detach", cwd=clone)
    run_git("branch", "-q", "-D", "main", cwd=clone)
    new = cwd(clone, "new")
    assert run_git("config", "--get-regexp", "^branch.*merge", cwd=new).split("\n") == [
        "branch.topic.merge refs/heads/topic"
    ]


@pytest.mark.parametrize(
    ("base", "text"),
    [("topic", "topic"), ("v1", "tagged"), ("stable", "stable"), ("main~1", "topic")],
)
def test_the_base_of_the_project_is_a_branch_a_tag_or_any_commit(repo, base, text):
    commit(repo, "file", "topic")
    run_git("branch", "topic", cwd=repo)
    commit(repo, "file", "tagged")
    run_git("tag", "v1", cwd=repo)
    run_git("tag", "topic", cwd=repo)
    run_git("update-ref", "refs/remotes/origin/stable", "HEAD", cwd=repo)
    if base == "stable":
        text = "tagged"
    assert (cwd(repo, "new", base=base) / "file").read_text() == text


@pytest.mark.parametrize("base", ["nothing", "--all", "HEAD:file"])
def test_a_base_that_is_no_commit_is_named(repo, base):
    commit(repo, "file", "x")
    assert refused(repo, "new", base=base) == (
        "cannot determine base branch for new worktree; "
        f"no commit goes by the name '{base}' of `worktree_base`"
    )


def test_s14_a_new_branch_starts_from_origins_where_there_is_no_local_one(repo, tmp_path):
    clone = tmp_path / "clone"
    run_git("clone", "-q", str(repo), str(clone), cwd=tmp_path)
    run_git("switch", "-q", "--detach", cwd=clone)
    run_git("branch", "-q", "-D", "main", cwd=clone)
    assert branch_of(cwd(clone, "new")) == "new"


def test_a_repository_without_a_commit_has_no_base(tmp_path):
    run_git("init", "-q", "-b", "main", str(tmp_path / "empty"), cwd=tmp_path)
    assert cwd(tmp_path / "empty", "main") == tmp_path / "empty"
    assert refused(tmp_path / "empty", "x").startswith(
        "cannot determine base branch for new worktree; make a first commit"
    )


def test_a_branch_of_a_folder_that_is_no_repository_is_refused(tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    assert refused(folder, "x") == (
        f"no branch 'x' to work on: {folder} is not in a git repository"
    )


def test_without_git_that_is_said(repo, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert refused(repo, "x") == "git not available on PATH"
    assert cwd(repo) == repo


def test_what_git_says_reaches_the_user_and_leaves_nothing_in_the_way(repo):
    run_git("branch", "feat", cwd=repo)
    said = refused(repo, "feat/x")
    assert "'refs/heads/feat' exists" in said
    assert cwd(repo, "feat") == repo / ".worktrees/feat"


def test_a_hook_that_fails_after_the_checkout_stops_nobody(repo, caplog):
    hook = repo / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no direnv >&2\nexit 1\n")
    hook.chmod(0o755)
    assert branch_of(cwd(repo, "x")) == "x"
    assert "no direnv" in caplog.text


@pytest.mark.parametrize("where", ["../ü trees", "deep/er", "/absolute"])
def test_worktrees_may_lie_anywhere(repo, tmp_path, where):
    root = tmp_path / "absolute" if where.startswith("/") else Path(where)
    made = cwd(repo, "feat/ä", worktrees_dir=root)
    assert made == repo / root / "feat/ä"
    assert branch_of(made) == "feat/ä"


# -- the state of the project


def test_the_project_stays_clean_and_is_told_so_once(repo):
    exclude = repo / ".git/info/exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text("mine")
    for branch in ("x", "y"):
        cwd(repo, branch)
    assert run_git("status", "--porcelain", cwd=repo) == ""
    assert exclude.read_text() == "mine\n/.worktrees/\n"


def test_a_folder_that_is_ignored_already_is_not_excluded_again(repo):
    commit(repo, ".gitignore", ".worktrees\n")
    before = (repo / ".git/info/exclude").read_bytes()
    cwd(repo, "x")
    assert (repo / ".git/info/exclude").read_bytes() == before


def test_a_name_with_the_signs_of_patterns_is_excluded_as_it_is(repo):
    cwd(repo, "x", worktrees_dir="a [b] *c ")
    assert run_git("status", "--porcelain", cwd=repo) == ""
    (repo / "a b c").mkdir()
    (repo / "a b c/file").touch()
    assert "a b c" in run_git("status", "--porcelain", cwd=repo)


def test_worktrees_outside_need_no_exclusion(repo):
    before = (repo / ".git/info/exclude").read_bytes()
    cwd(repo, "x", worktrees_dir="../trees")
    assert (repo / ".git/info/exclude").read_bytes() == before


def test_a_project_in_a_part_of_a_repository_is_the_same_part_of_the_worktree(repo):
    commit(repo, "apps/web/file", "x")
    part = repo / "apps/web"
    assert cwd(part, "main") == part
    made = cwd(part, "feat")
    assert made == part / ".worktrees/feat/apps/web"
    assert (made / "file").exists()
    assert cwd(part, "feat") == made
    assert run_git("status", "--porcelain", cwd=repo) == ""


def test_a_part_that_a_branch_does_not_have_is_named(repo):
    run_git("branch", "old", cwd=repo)
    commit(repo, "apps/web/file", "x")
    assert refused(repo / "apps/web", "old").startswith("branch 'old' has no folder apps/web/ (")


def test_a_project_in_a_submodule_and_one_that_has_submodules(repo, tmp_path):
    library = make_repo(tmp_path / "library")
    add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add"]
    run_git(*add, str(library), "lib", cwd=repo)
    run_git("commit", "-q", "-m", "lib", cwd=repo)
    inner = cwd(repo / "lib", "x")
    assert inner == repo / "lib/.worktrees/x"
    assert branch_of(inner) == "x"
    assert cwd(repo / "lib", "main") == repo / "lib"
    assert cwd(inner, "main") == repo / "lib"
    assert branch_of(cwd(repo, "x")) == "x"
    assert run_git("status", "--porcelain", cwd=repo) == ""


def test_a_bare_repository_can_be_a_project(repo, tmp_path):
    bare = tmp_path / "bare.git"
    run_git("clone", "-q", "--bare", str(repo), str(bare), cwd=tmp_path)
    for branch in ("main", "new"):
        assert branch_of(cwd(bare, branch)) == branch
        assert cwd(bare, branch) == bare / ".worktrees" / branch


# -- attacks


@pytest.mark.parametrize("name", ["-D", "-m", "--detach", "-b", "-B", "-d", "--force", "-"])
def test_s13_options_for_names_leave_the_branches_alone(repo, name):
    run_git("branch", "topic", cwd=repo)
    before = refs(repo)
    assert refused(repo, name) == "branch name cannot start with '-'"
    assert refs(repo) == before
    assert not (repo / ".worktrees").exists()


def test_s13_the_branch_before_is_not_meant_by_a_sign(repo):
    run_git("switch", "-q", "-c", "topic", cwd=repo)
    run_git("switch", "-q", "main", cwd=repo)
    assert refused(repo, "@{-1}").startswith("invalid branch name '@{-1}'")


@pytest.mark.parametrize("origin", [False, True])
def test_s13_a_tag_of_the_same_name_is_not_mistaken_for_the_branch(repo, origin):
    run_git("switch", "-q", "-c", "v1", cwd=repo)
    commit(repo, "file", "branch")
    run_git("switch", "-q", "main", cwd=repo)
    commit(repo, "file", "tag")
    run_git("tag", "v1", cwd=repo)
    if origin:
        run_git("update-ref", "refs/remotes/origin/v1", "refs/heads/v1", cwd=repo)
        run_git("branch", "-q", "-D", "v1", cwd=repo)
        run_git("config", "remote.origin.url", str(repo), cwd=repo)
    made = cwd(repo, "v1")
    assert branch_of(made) == "v1"
    assert (made / "file").read_text() == "branch"
    assert run_git("status", "--porcelain", cwd=made) == ""
    assert cwd(repo, "v1") == made


def test_s13_a_new_branch_beside_a_tag_and_a_remote_ref_of_its_name(repo):
    run_git("tag", "v1", cwd=repo)
    run_git("update-ref", "refs/remotes/v1/HEAD", "HEAD", cwd=repo)
    commit(repo, "file", "newer")
    made = cwd(repo, "v1")
    assert branch_of(made) == "v1"
    assert (made / "file").exists()


def test_s13_a_base_is_no_tag_of_its_name(repo):
    run_git("tag", "main", cwd=repo)
    commit(repo, "file", "newer")
    assert (cwd(repo, "x") / "file").exists()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc"])
def test_s13_a_path_out_of_the_worktrees_is_refused(repo, name):
    assert refused(repo, name).startswith("branch name cannot ")


def test_s13_a_link_out_of_the_worktrees_is_not_followed(repo, tmp_path):
    (repo / ".worktrees").mkdir()
    (tmp_path / "outside").mkdir()
    (repo / ".worktrees/feat").symlink_to(tmp_path / "outside")
    for name in ("feat", "feat/x"):
        assert refused(repo, name) == "branch path escapes the worktrees directory"
    assert not list((tmp_path / "outside").iterdir())


NAMES = st.one_of(
    st.text(max_size=12),
    st.text("ab/.-@{}~^:\\ \n\0*[é", min_size=1, max_size=8),
    st.builds("{}/{}".format, st.sampled_from(["a", "-", "..", "x", "main"]), st.text(max_size=4)),
)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(NAMES)
@example("a/" * 90 + "a")
@example("-D")
@example("main/x")
@example("HEAD")
@example("FETCH_HEAD")
@example("refs/heads/main")
@example("origin/main")
def test_s13_no_name_does_more_than_make_a_branch_of_that_name(repo, name):
    outside = sorted(repo.parent.iterdir())
    before = set(run_git("for-each-ref", cwd=repo).splitlines())
    known = {path for path in repo.iterdir() if path.name != ".worktrees"}
    made = None
    with contextlib.suppress(ConfigError):
        made = cwd(repo, name)
    if made is not None:
        assert made == (repo / ".worktrees" / name if name != "main" else repo)
        assert branch_of(made) == name
        assert ".." not in made.relative_to(repo).parts
    after = set(run_git("for-each-ref", cwd=repo).splitlines())
    assert before <= after
    assert {line.split("\t")[1] for line in after - before} <= {f"refs/heads/{name}"}
    assert branch_of(repo) == "main"
    assert sorted(repo.parent.iterdir()) == outside
    assert {path for path in repo.iterdir() if path.name != ".worktrees"} == known


# -- what is there already


def test_s15_a_branch_that_is_checked_out_elsewhere_is_used_there(repo, tmp_path):
    run_git("worktree", "add", "-q", "-b", "x", str(tmp_path / "else where"), cwd=repo)
    assert cwd(repo, "x") == tmp_path / "else where"
    run_git("switch", "-q", "-c", "topic", cwd=repo)
    assert cwd(tmp_path / "else where", "topic") == repo


def test_s15_it_is_used_there_even_if_something_else_is_where_it_would_lie(repo, tmp_path):
    made = cwd(repo, "x")
    run_git("switch", "-q", "-c", "y", cwd=made)
    run_git("worktree", "add", "-q", str(tmp_path / "elsewhere"), "x", cwd=repo)
    assert cwd(repo, "x") == tmp_path / "elsewhere"
    assert cwd(repo, "y") == made


def test_s15_a_worktree_that_holds_another_branch_is_not_used(repo):
    made = cwd(repo, "x")
    run_git("switch", "-q", "-c", "y", cwd=made)
    assert refused(repo, "x") == (
        f"{made} has branch 'y' checked out, not 'x'; "
        "run `git switch x` there, or remove it with `git worktree remove`"
    )
    run_git("switch", "-q", "--detach", cwd=made)
    assert f"{made} has no branch checked out, not 'x'; " in refused(repo, "x")
    run_git("switch", "-q", "x", cwd=made)
    assert cwd(repo, "x") == made


def test_s15_a_worktree_in_the_middle_of_a_rebase_is_used(repo):
    made = cwd(repo, "x")
    commit(made, "file", "x")
    commit(repo, "file", "main")
    assert subprocess.run(["git", "rebase", "main"], cwd=made, capture_output=True).returncode
    assert cwd(repo, "x") == made


def test_s15_a_worktree_of_another_repository_is_not_used(repo, tmp_path):
    make_repo(repo / ".worktrees/x", branch="x")
    assert refused(repo, "x").startswith(
        f"{repo}/.worktrees/x exists but is a worktree of another repository; "
    )


def test_s15_a_worktree_elsewhere_that_became_something_else_is_not_used(repo, tmp_path):
    run_git("worktree", "add", "-q", "-b", "x", str(tmp_path / "x"), cwd=repo)
    (tmp_path / "x/.git").unlink()
    assert "is checked out in" in refused(repo, "x")
    run_git("init", "-q", "-b", "x", str(tmp_path / "x"), cwd=repo)
    assert "no worktree of this repository any more" in refused(repo, "x")


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_no_worktree_is_left_alone(repo, kind):
    target = repo / ".worktrees/x"
    target.parent.mkdir()
    match kind:
        case "folder":
            target.mkdir()
        case "file":
            target.write_text("mine")
        case "link":
            target.symlink_to(target.parent / "nothing")
    assert refused(repo, "x").startswith(f"{target} exists but is not a git worktree; ")
    assert os.path.lexists(target)


def test_no_worktree_is_made_inside_another(repo):
    made = cwd(repo, "feat")
    run_git("switch", "-q", "-c", "other", cwd=made)
    run_git("branch", "-q", "-D", "feat", cwd=repo)
    assert f"would lie inside the worktree {made}; " in refused(repo, "feat/x")
    assert run_git("status", "--porcelain", cwd=made) == ""


def test_a_worktree_that_was_deleted_by_hand_is_made_again(repo):
    made = cwd(repo, "x")
    kept = cwd(repo, "kept")
    commit(made, "file", "committed")
    subprocess.run(["rm", "-rf", made, kept], check=True)
    assert cwd(repo, "x") == made
    assert (made / "file").read_text() == "committed"
    assert [each.path for each in git.list_worktrees(repo)].count(kept) == 1


@pytest.mark.parametrize("branch", ["x", "y"])
def test_a_deleted_worktree_is_forgotten_by_its_place_and_by_its_branch(repo, branch):
    made = cwd(repo, "x")
    run_git("switch", "-q", "-c", "y", cwd=made)
    subprocess.run(["rm", "-rf", made], check=True)
    assert branch_of(cwd(repo, branch)) == branch


def test_a_worktree_missing_elsewhere_may_be_on_a_disk_that_is_not_there(repo, tmp_path):
    place = tmp_path / "stick"
    run_git("worktree", "add", "-q", "-b", "x", str(place), cwd=repo)
    place.rename(tmp_path / "unplugged")
    assert refused(repo, "x").startswith(f"the worktree {place} is missing; ")
    (tmp_path / "unplugged").rename(place)
    assert cwd(repo, "x") == place


def test_a_locked_worktree_that_is_missing_is_kept(repo):
    made = cwd(repo, "x")
    run_git("worktree", "lock", str(made), cwd=repo)
    subprocess.run(["rm", "-rf", made], check=True)
    assert refused(repo, "x").startswith(f"the worktree {made} is missing; ")
    assert len(git.list_worktrees(repo)) == 2


# -- many at once, and broken off


@pytest.mark.anyio
async def test_s15_two_messages_for_one_new_branch_get_one_worktree(repo):
    found = []

    async def ask(branch):
        found.append(await resolve_run_cwd_async(projects(repo), RunContext("proj", branch)))

    async with anyio.create_task_group() as group:
        for branch in ("x", "y", "x", "y", "x"):
            group.start_soon(ask, branch)
    assert sorted(found) == [repo / ".worktrees" / name for name in "xxxyy"]
    assert len(git.list_worktrees(repo)) == 3


def test_s15_two_processes_for_one_new_branch_get_one_worktree(repo):
    script = (
        "import sys; from pathlib import Path\n"
        "from takopi.bridge.workspace import resolve_run_cwd\n"
        "from takopi.config.projects import ProjectConfig, ProjectsConfig\n"
        "from takopi.model import RunContext\n"
        "project = ProjectConfig('p', Path(sys.argv[1]), Path('.worktrees'))\n"
        "sys.stdin.read()\n"
        "print(resolve_run_cwd(ProjectsConfig({'p': project}), RunContext('p', 'x')))\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(repo)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )
        for _ in range(3)
    ]
    for process in started:
        process.stdin.close()
    said = []
    for process in started:
        said.append(process.stdout.read())
        process.stdout.close()
        assert process.wait() == 0
    assert said == [f"{repo}/.worktrees/x\n"] * 3


@pytest.mark.anyio
async def test_s15_git_does_not_block_the_event_loop(repo, monkeypatch):
    monkeypatch.setattr(workspace, "_directory", lambda *_: time.sleep(0.3))
    begun = anyio.current_time()
    async with anyio.create_task_group() as group:
        group.start_soon(resolve_run_cwd_async, projects(repo), RunContext("proj", "x"))
        for _ in range(5):
            await anyio.sleep(0.01)
        assert anyio.current_time() - begun < 0.25
    assert anyio.current_time() - begun > 0.25


@pytest.fixture
def slow(repo):
    """A repository whose checkout takes as long as the file ``seconds`` says."""
    (repo / ".git/seconds").write_text("0")
    run_git("config", "filter.slow.smudge", f"sleep $(cat '{repo}/.git/seconds'); cat", cwd=repo)
    commit(repo, ".gitattributes", "file filter=slow\n")
    commit(repo, "file", "content")

    def set_seconds(seconds):
        (repo / ".git/seconds").write_text(str(seconds))

    return SimpleNamespace(repo=repo, takes=set_seconds)


@pytest.mark.anyio
async def test_a_cancelled_message_leaves_at_once_and_the_next_finds_a_whole_worktree(slow):
    slow.takes(0.6)
    begun = anyio.current_time()
    with anyio.move_on_after(0.25) as scope:
        await resolve_run_cwd_async(projects(slow.repo), RunContext("proj", "x"))
    assert scope.cancelled_caught
    assert anyio.current_time() - begun < 0.5
    made = await resolve_run_cwd_async(projects(slow.repo), RunContext("proj", "x"))
    assert (made / "file").read_text() == "content"
    assert run_git("status", "--porcelain", cwd=made) == ""


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_checkout_that_hangs_is_stopped_and_the_next_one_works(slow, monkeypatch, stubborn):
    monkeypatch.setattr(workspace, "_CREATE_LIMIT_S", 0.4)
    if stubborn:  # killed before it could tidy up
        monkeypatch.setattr(git.signal, "SIGTERM", git.signal.SIGKILL)
    slow.takes(60)
    assert "git worktree add took longer than 0.4 s and was stopped" in refused(slow.repo, "a/x")
    assert len(git.list_worktrees(slow.repo)) == 1
    assert not (slow.repo / ".worktrees/a").exists()
    slow.takes(0)
    monkeypatch.setattr(workspace, "_CREATE_LIMIT_S", 30)
    assert (cwd(slow.repo, "a/x") / "file").read_text() == "content"


def test_a_worktree_that_somebody_else_is_making_is_waited_for(slow):
    slow.takes(0.7)
    target = slow.repo / ".worktrees/x"
    other = subprocess.Popen(["git", "worktree", "add", "-q", "-b", "x", target], cwd=slow.repo)
    while not (target / ".git").exists():
        time.sleep(0.01)
    assert (cwd(slow.repo, "x") / "file").read_text() == "content"
    assert other.wait() == 0


def test_a_worktree_that_a_killed_git_left_is_named_with_the_way_out(slow, monkeypatch):
    monkeypatch.setattr(workspace, "_UNFINISHED_LIMIT_S", 0.1)
    made = cwd(slow.repo, "x")
    run_git("worktree", "lock", "--reason", "initializing", str(made), cwd=slow.repo)
    assert f"`git worktree remove -f -f {made}`" in refused(slow.repo, "x")
    run_git("worktree", "remove", "-f", "-f", str(made), cwd=slow.repo)
    assert cwd(slow.repo, "x") == made


def test_a_repository_that_stays_busy_is_given_up(repo, monkeypatch):
    monkeypatch.setattr(workspace, "_QUEUE_LIMIT_S", 0.1)
    with workspace._locked(repo / ".git"):
        assert "another worktree of" in refused(repo, "x")
    assert branch_of(cwd(repo, "x")) == "x"
