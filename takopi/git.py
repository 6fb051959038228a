"""git: one way to run it that neither asks nor hangs, and what takopi asks it about a repository.

Text of a user becomes an argument only after `check_branch_name`, and never where git takes options.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from takopi.errors import WorktreeError

GitResult: TypeAlias = subprocess.CompletedProcess[str]

GIT_MISSING = "git not available on PATH"
STOPPED = 124
"""The return code of a git that took too long, as of timeout(1)."""

_LIMIT_S = 30.0
_GRACE_S = 3.0  # between asking a git to stop and killing it: it removes what is half made
_HEADS = "refs/heads/"
_NAME_BYTES = 200  # a file name has 255 at most, and git appends to it

# These tie git to one repository, whatever its directory is. A takopi started by a hook has them.
_TIES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CEILING_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)


# -- running git -------------------------------------------------------------------------------


def git_run(args: Sequence[str], cwd: Path, *, timeout_s: float = _LIMIT_S) -> GitResult | None:
    """What git said; None where there is no git. It never asks anything.

    ``stdout`` is decoded so that it can name any file (`os.fsdecode`), ``stderr`` for reading. A git
    that takes longer is stopped with all it started: then the code is `STOPPED`.
    """
    program = shutil.which("git")
    if program is None:
        return None
    command = [program, *args]
    # Files, not pipes: a hook may leave a process behind that holds a pipe open for ever.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            # A session of its own has no terminal to ask on, and no Ctrl-C that ends it half way.
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return subprocess.CompletedProcess(command, 126, "", f"cannot run git: {error}")
        late = ""
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _stop(process)
            code = STOPPED
            late = f"git {' '.join(args[:2])} took longer than {timeout_s:g} s and was stopped"
        except BaseException:
            _stop(process)
            raise
        out.seek(0)
        err.seek(0)
        words = err.read().decode("utf-8", "replace")
        said = os.fsdecode(out.read())
    words = "\n".join(filter(None, [words.rstrip("\n"), late]))
    return subprocess.CompletedProcess(command, code, said, words)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _TIES}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)


def git_stdout(args: Sequence[str], cwd: Path) -> str | None:
    """What git printed, stripped; None when it failed or printed nothing."""
    result = git_run(args, cwd)
    if result is None or result.returncode != 0:
        return None
    return result.stdout.strip() or None


def git_ok(args: Sequence[str], cwd: Path) -> bool:
    """Whether git succeeded."""
    result = git_run(args, cwd)
    return result is not None and result.returncode == 0


def git_failure(result: GitResult | None, otherwise: str) -> str:
    """The words for a git that failed: its own if it had any."""
    if result is None:
        return GIT_MISSING
    # What stdout cannot encode is a file name in another encoding.
    said = result.stdout.encode("utf-8", "replace").decode("utf-8")
    return result.stderr.strip() or said.strip() or otherwise


# -- branches ----------------------------------------------------------------------------------


def check_branch_name(name: str) -> None:
    """Raise `WorktreeError` for what cannot be the name of a branch, or would be taken for more."""
    problem = branch_name_problem(name)
    if problem is not None:
        raise WorktreeError(problem)
    result = git_run(["check-ref-format", "--branch", name], Path("/"))
    if result is None:
        raise WorktreeError(GIT_MISSING)
    if result.returncode == STOPPED:
        raise WorktreeError(git_failure(result, ""))
    if result.returncode != 0:
        raise WorktreeError(f"invalid branch name {name!r}; git does not allow it")


def branch_name_problem(name: str) -> str | None:
    """What is wrong with the name of a branch, as far as that can be said without git."""
    if not name.strip():
        return "branch name cannot be empty"
    if len(name.encode("utf-8", "surrogatepass")) > _NAME_BYTES:
        return f"branch name is too long; {_NAME_BYTES} bytes at most"
    if name.startswith("/"):
        return "branch name cannot start with '/'"
    if ".." in name.split("/"):
        return "branch name cannot contain '..'"
    if name.startswith("-"):
        return "branch name cannot start with '-'"
    if (
        not name.isprintable()
    ):  # control characters, and halves of characters that cannot be encoded
        return f"invalid branch name {name!r}; it has characters that cannot be seen"
    if "@{" in name or name == "@":
        return f"invalid branch name {name!r}; git does not allow it"
    if re.fullmatch(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}", name):
        return f"invalid branch name '{name}'; git takes it for a commit"
    return None


def ref_exists(ref: str, cwd: Path) -> bool:
    """Whether there is a ref of this full name: ``refs/heads/main``."""
    return git_ok(["show-ref", "--verify", "--quiet", "--", ref], cwd)


def resolve_default_base(root: Path) -> str | None:
    """What new branches start from: ``main``, ``origin/main``; None if nothing offers itself."""
    ref = default_base_ref(root)
    return ref.removeprefix(_HEADS).removeprefix("refs/remotes/") if ref is not None else None


def default_base_ref(root: Path) -> str | None:
    """The full ref of `resolve_default_base`: a tag of the same name is something else."""
    return next((ref for ref in _bases(root) if ref_exists(ref, root)), None)


def _bases(root: Path) -> Iterator[str]:
    origin = "refs/remotes/origin/"
    head = git_stdout(["symbolic-ref", "--quiet", f"{origin}HEAD"], root)
    if head is not None and head.startswith(origin):
        yield _HEADS + head.removeprefix(origin)
        yield head
    current = git_stdout(["symbolic-ref", "--quiet", "HEAD"], root)
    if current is not None:
        yield current
    yield f"{_HEADS}master"
    yield f"{_HEADS}main"


# -- worktrees ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Worktree:
    """A worktree as git has it in its books; the folder need not exist.

    ``branch`` is None if the head is detached, ``locked`` the reason, ``""`` for none given.
    """

    path: Path
    branch: str | None = None
    bare: bool = False
    locked: str | None = None


def list_worktrees(cwd: Path) -> tuple[Worktree, ...]:
    """The worktrees of a repository, the main one or the bare repository first; () outside git."""
    result = git_run(["worktree", "list", "--porcelain", "-z"], cwd)
    separator = "\0"
    if result is not None and result.returncode == 129:  # git before 2.36 does not know -z
        result = git_run(["worktree", "list", "--porcelain"], cwd)
        separator = "\n"
    if result is None or result.returncode != 0:
        return ()
    found = list(_parse_worktrees(result.stdout.split(separator)))
    return (replace(found[0], path=_main_path(found[0], cwd)), *found[1:]) if found else ()


def _parse_worktrees(lines: list[str]) -> Iterator[Worktree]:
    current: Worktree | None = None
    for line in lines:
        key, _, value = line.partition(" ")
        if key == "worktree":
            if current is not None:
                yield current
            current = Worktree(Path(value))
        elif current is not None:
            match key:
                case "branch":
                    current = replace(current, branch=value.removeprefix(_HEADS))
                case "bare":
                    current = replace(current, bare=True)
                case "locked":
                    current = replace(current, locked=value)
    if current is not None:
        yield current


def _main_path(first: Worktree, cwd: Path) -> Path:
    """Where the main worktree lies. git guesses from its own folder, wrongly if that is elsewhere."""
    if first.bare or (first.path / ".git").exists():
        return first.path
    common = git_common_dir(cwd)
    if common is None:
        return first.path
    if git_path(["rev-parse", "--git-dir"], cwd) == common:
        return git_toplevel(cwd) or first.path
    configured = git_stdout(["--git-dir", str(common), "config", "core.worktree"], cwd)
    return Path(os.path.realpath(common / configured)) if configured is not None else first.path


def resolve_main_worktree_root(cwd: Path) -> Path | None:
    """The main worktree of the repository a folder is in, or the bare one; None outside git."""
    worktrees = list_worktrees(cwd)
    return worktrees[0].path if worktrees else None


def git_is_worktree(path: Path) -> bool:
    """Whether a folder is the top of a git work tree; one further down is not."""
    return git_toplevel(path) == Path(os.path.realpath(path))


def git_toplevel(cwd: Path) -> Path | None:
    """The top of the work tree a folder is in; None in a bare repository and outside git."""
    return git_path(["rev-parse", "--show-toplevel"], cwd)


def git_common_dir(cwd: Path) -> Path | None:
    """The folder that all worktrees of a repository share; None outside git."""
    return git_path(["rev-parse", "--git-common-dir"], cwd)


def git_path(args: Sequence[str], cwd: Path) -> Path | None:
    """The path that git prints, absolute and with links followed; None when it prints none."""
    result = git_run(args, cwd)
    if result is None or result.returncode != 0:
        return None
    text = result.stdout.removesuffix("\n")  # a folder's name may begin or end with a blank
    return Path(os.path.realpath(cwd / text)) if text else None


def checked_out_branch(cwd: Path) -> str | None:
    """The branch of a work tree, also while it is rebased or bisected; None if there is none."""
    ref = git_stdout(["symbolic-ref", "--quiet", "HEAD"], cwd)
    if ref is not None:
        return ref.removeprefix(_HEADS)
    git_dir = git_path(["rev-parse", "--git-dir"], cwd)
    for name in ("rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START"):
        with contextlib.suppress(OSError):
            text = (git_dir / name).read_text("utf-8", "replace").strip() if git_dir else ""
            branch = text.removeprefix(_HEADS)
            if branch and ref_exists(_HEADS + branch, cwd):
                return branch
    return None
