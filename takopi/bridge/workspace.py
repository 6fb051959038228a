"""Where a run works: the folder of a project, or the worktree of one of its branches.

A branch that is checked out somewhere is used where it is. Any other gets a worktree at
``<worktrees root>/<branch>``: of the local branch, of ``origin``'s, or of a new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from takopi import git
from takopi.config.projects import ProjectConfig, ProjectsConfig
from takopi.errors import ConfigError, WorktreeError
from takopi.model import RunContext

_CREATE_LIMIT_S = 300.0  # a large repository takes its time
_QUEUE_LIMIT_S = 330.0  # for one that creates a worktree, and is stopped at its limit
_UNFINISHED_LIMIT_S = 10.0  # for somebody else's `git worktree add`, which our lock does not see
_POLL_S = 0.05
_UNFINISHED = "initializing"  # git's lock on a worktree that it is still making

logger = logging.getLogger(__name__)


def resolve_run_cwd(projects: ProjectsConfig, context: RunContext | None) -> Path | None:
    """The directory of a context; None for takopi's own. Blocks, and may create a worktree.

    Raises `ConfigError` for an unknown project and a branch that cannot be had.
    """
    if context is None or not context.project:
        return None
    project = projects.projects.get(context.project.lower())
    if project is None:
        raise ConfigError(f"unknown project '{context.project}'")
    try:
        return _directory(project, context.branch)
    except WorktreeError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"cannot work in {project.path}: {error}") from error


async def resolve_run_cwd_async(
    projects: ProjectsConfig, context: RunContext | None
) -> Path | None:
    """The same off the event loop. Cancelled, it returns at once while git ends what it began."""
    if context is None or not context.project:
        return None  # no thread for what needs no disk
    return await anyio.to_thread.run_sync(
        resolve_run_cwd,
        projects,
        context,
        abandon_on_cancel=True,
        # Of its own: messages that wait for one slow repository must not use up everybody's threads.
        limiter=anyio.CapacityLimiter(1),
    )


def _directory(project: ProjectConfig, branch: str | None) -> Path:
    if not project.path.is_dir():
        raise WorktreeError(f"project path not found: {project.path}")
    if branch is None:
        return project.path
    git.check_branch_name(branch)
    place = _open(project, branch)
    found = place.find()
    if found is None:
        with _locked(place.common_dir):
            found = place.find() or place.create()
    return found


def _open(project: ProjectConfig, branch: str) -> _Place:
    result = git.git_run(["rev-parse", "--show-prefix"], project.path)
    if result is None or result.returncode != 0:
        said = git.git_failure(result, "git rev-parse failed")
        if "not a git repository" in said:
            said = f"no branch '{branch}' to work on: {project.path} is not in a git repository"
        raise WorktreeError(said)
    common_dir = git.git_common_dir(project.path)
    if common_dir is None:
        raise WorktreeError(f"git does not say where the repository of {project.path} is")
    prefix = result.stdout.removesuffix("\n")
    target = project.worktrees_root / branch
    if not _is_below(target, project.worktrees_root):
        raise WorktreeError("branch path escapes the worktrees directory")
    return _Place(project, branch, target, common_dir, prefix)


def _is_below(path: Path, root: Path) -> bool:
    real, above = (Path(os.path.realpath(each)) for each in (path, root))
    return real != above and real.is_relative_to(above)


@dataclass(frozen=True, slots=True)
class _Place:
    """A branch of a project and where its worktree belongs.

    ``prefix`` is the project's folder in the work tree: ``""``, or ``app/`` in a monorepo.
    """

    project: ProjectConfig
    branch: str
    target: Path
    common_dir: Path
    prefix: str

    # -- what is there -------------------------------------------------------------------------

    def find(self) -> Path | None:
        """The folder of the branch if it is checked out. Raises if something is in its way."""
        here = self.project.path
        if git.git_toplevel(here) is not None and git.checked_out_branch(here) == self.branch:
            return here
        entries = [each for each in git.list_worktrees(here) if not each.bare]
        if any(self._is_wanted(each) and each.locked == _UNFINISHED for each in entries):
            return None
        for entry in entries:
            elsewhere = entry.branch == self.branch and not self._is_target(entry)
            if elsewhere and entry.path.is_dir():
                return self._elsewhere(entry)
        if not os.path.lexists(self.target):
            return None
        self._check_target()
        return self._folder(self.target)

    def _is_wanted(self, entry: git.Worktree) -> bool:
        return entry.branch == self.branch or self._is_target(entry)

    def _is_target(self, entry: git.Worktree) -> bool:
        return os.path.realpath(entry.path) == os.path.realpath(self.target)

    def _check_target(self) -> None:
        advice = "move it away or use another branch"
        if not git.git_is_worktree(self.target):
            raise WorktreeError(f"{self.target} exists but is not a git worktree; {advice}")
        if git.git_common_dir(self.target) != self.common_dir:
            raise WorktreeError(
                f"{self.target} exists but is a worktree of another repository; {advice}"
            )
        branch = git.checked_out_branch(self.target)
        if branch != self.branch:
            held = f"branch '{branch}'" if branch is not None else "no branch"
            raise WorktreeError(
                f"{self.target} has {held} checked out, not '{self.branch}'; "
                f"run `git switch {self.branch}` there, or remove it with `git worktree remove`"
            )

    def _elsewhere(self, entry: git.Worktree) -> Path:
        if not git.git_is_worktree(entry.path) or git.git_common_dir(entry.path) != self.common_dir:
            raise WorktreeError(
                f"branch '{self.branch}' is checked out in {entry.path}, says git, but that is no "
                "worktree of this repository any more; `git worktree prune` forgets it"
            )
        return self._folder(entry.path)

    def _folder(self, worktree: Path) -> Path:
        folder = worktree / self.prefix
        if not folder.is_dir():
            raise WorktreeError(f"branch '{self.branch}' has no folder {self.prefix} ({worktree})")
        return folder

    # -- making it -----------------------------------------------------------------------------

    def create(self) -> Path:
        """The folder of the branch in a new worktree. The repository must be locked."""
        self._await_others()
        found = self.find()
        if found is not None:
            return found
        self._forget_deleted()
        self._check_surroundings()
        source = self._source()
        self.project.worktrees_root.mkdir(parents=True, exist_ok=True)
        self._exclude_root()
        result = self._git("worktree", "add", "--quiet", *source, limit_s=_CREATE_LIMIT_S)
        if result.returncode == 0:
            return self._folder(self.target)
        said = git.git_failure(result, "git worktree add failed")
        # Somebody may have been faster, or only a hook failed, which git calls last.
        if not self._is_unfinished():
            with contextlib.suppress(WorktreeError):
                found = self.find()
        elif result.returncode < 0 or result.returncode == git.STOPPED:
            self._git("worktree", "remove", "--force", "--force", "--", str(self.target))
        if found is None:
            self._remove_empty_parents()
            raise WorktreeError(said)
        logger.warning("git complained about a new worktree: %s", said)
        return found

    def _remove_empty_parents(self) -> None:
        """Leave no folder behind that would be in the way of a branch of its name."""
        with contextlib.suppress(OSError):
            for parent in self.target.parents:
                if parent == self.project.worktrees_root:
                    break
                parent.rmdir()

    def _source(self) -> list[str]:
        """The arguments that say what to check out and where."""
        path = os.path.abspath(self.target)
        if git.ref_exists(f"refs/heads/{self.branch}", self.project.path):
            # git takes a short name for a branch before it thinks of tags; a full one detaches.
            return ["--", path, self.branch]
        origin = f"refs/remotes/origin/{self.branch}"
        if git.ref_exists(origin, self.project.path):
            return ["-b", self.branch, "--", path, origin]
        return ["-b", self.branch, "--", path, self._base()]

    def _base(self) -> str:
        """The commit that a new branch starts from. An id: nothing else goes by that name, and the
        branch does not track its base, to which a push would go."""
        wanted = self.project.worktree_base
        if wanted is None:
            ref = git.default_base_ref(self.project.path)
            names = [ref] if ref is not None else []
        else:
            names = [f"refs/heads/{wanted}", wanted, f"refs/remotes/origin/{wanted}"]
        for name in names:
            commit = None
            if not name.startswith("-"):
                arguments = ["rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
                commit = git.git_stdout(arguments, self.project.path)
            if commit is not None:
                return commit
        why = (
            f"no commit goes by the name '{wanted}' of `worktree_base`"
            if wanted is not None
            else "make a first commit, or set `worktree_base` of the project"
        )
        raise WorktreeError(f"cannot determine base branch for new worktree; {why}")

    def _await_others(self) -> None:
        """Wait for a worktree of the branch that a git outside takopi is making."""
        deadline = time.monotonic() + _UNFINISHED_LIMIT_S
        while self._is_unfinished():
            if time.monotonic() > deadline:
                raise WorktreeError(
                    f"a git is making the worktree {self.target}, or was killed while it did; in "
                    f"that case `git worktree remove -f -f {self.target}` and try again"
                )
            time.sleep(_POLL_S)

    def _is_unfinished(self) -> bool:
        return any(
            self._is_wanted(each) and each.locked == _UNFINISHED
            for each in git.list_worktrees(self.project.path)
        )

    def _forget_deleted(self) -> None:
        """Take out of git's books what stands there for a folder that was deleted by hand.

        Ours only: a folder that is missing elsewhere may be on a disk that is not mounted.
        """
        for entry in git.list_worktrees(self.project.path)[1:]:
            if not self._is_wanted(entry) or entry.path.exists():
                continue
            ours = _is_below(entry.path, self.project.worktrees_root)
            if entry.locked is not None or not ours:
                raise WorktreeError(
                    f"the worktree {entry.path} is missing; if it is gone for good run "
                    f"`git worktree remove -f -f {entry.path}` and try again"
                )
            result = self._git("worktree", "remove", "--force", "--", str(entry.path))
            if result.returncode != 0:
                raise WorktreeError(git.git_failure(result, "git worktree remove failed"))

    def _check_surroundings(self) -> None:
        for entry in git.list_worktrees(self.project.path):
            inside = _is_below(entry.path, self.project.worktrees_root)
            if inside and entry.path.exists() and _is_below(self.target, entry.path):
                raise WorktreeError(
                    f"{self.target} would lie inside the worktree {entry.path}; "
                    "remove that with `git worktree remove` or use another branch"
                )

    def _exclude_root(self) -> None:
        """Keep the worktrees out of the project's `git status`, in the file that is not shared."""
        top = git.git_toplevel(self.project.path)
        root = self.project.worktrees_root
        if top is None or not _is_below(root, top):
            return
        real = os.path.realpath(root)
        ignored = git.git_run(["check-ignore", "--quiet", "--", real], top)
        if ignored is None or ignored.returncode != 1:
            return
        name = re.sub(r"([\\*?\[\] ])", r"\\\1", os.path.relpath(real, top))
        exclude = self.common_dir / "info" / "exclude"
        exclude.parent.mkdir(exist_ok=True)
        text = exclude.read_bytes() if exclude.exists() else b""
        start = b"" if not text or text.endswith(b"\n") else b"\n"
        with exclude.open("ab") as file:
            file.write(start + os.fsencode(f"/{name}/\n"))

    def _git(self, *args: str, limit_s: float = 30.0) -> git.GitResult:
        result = git.git_run(args, self.project.path, timeout_s=limit_s)
        if result is None:
            raise WorktreeError(git.GIT_MISSING)
        return result


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One at a time per repository, also across processes; the system frees it after a crash."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        deadline = time.monotonic() + _QUEUE_LIMIT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise WorktreeError(
                        f"another worktree of {directory} is being made, for too long; try again"
                    ) from None
                time.sleep(_POLL_S)
            except OSError:
                break  # a file system without locks: git refuses the second of two
        yield
    finally:
        os.close(handle)
