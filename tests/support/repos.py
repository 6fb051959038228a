"""Real git repositories, away from the settings of whoever runs the tests."""

import os
import subprocess


def isolate_git(monkeypatch, home):
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ann")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ann@example.com")


def run_git(*args, cwd):
    done = subprocess.run(["git", *args], cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make_repo(path, branch="main"):
    path.mkdir(parents=True)
    run_git("init", "-q", "-b", branch, cwd=path)
    run_git("commit", "-q", "--allow-empty", "-m", "first", cwd=path)
    return path


def commit(path, name, text):
    """Commit a file of this text on the branch that is checked out."""
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_text(text)
    run_git("add", name, cwd=path)
    run_git("commit", "-q", "-m", text, cwd=path)
