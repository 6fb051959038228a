"""`takopi init`: the repository you are in becomes a project."""

import subprocess
import tomllib

import pytest

from tests.support.command_line import in_terminal, takopi

TOKEN = "123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc"


def git(folder, *args):
    identity = [
        "-c",
        "user.name=T",
        "-c",
        "user.email=t@example.com",
        "-c",
        "init.defaultBranch=trunk",
    ]
    subprocess.run(["git", *identity, *args], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-b", "trunk")
    git(folder, "commit", "--allow-empty", "-m", "first")
    return tmp_path


def projects(home):
    return tomllib.loads((home / ".takopi/takopi.toml").read_text())["projects"]


def test_s20_works_before_anything_is_configured(home):
    done = takopi(home, "init", "app")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("saved project 'app' to ~/.takopi/takopi.toml\n")
    assert projects(home) == {
        "app": {
            "path": str(home / "project"),
            "worktrees_dir": ".worktrees",
            "worktree_base": "trunk",
        }
    }


def test_s20_the_default_engine_is_not_pinned(home):
    takopi(home, "config", "set", "default_engine", "codex")
    takopi(home, "init", "app")
    assert "default_engine" not in projects(home)["app"]


def test_the_folders_name_is_the_alias_without_a_terminal(home):
    takopi(home, "init")
    assert list(projects(home)) == ["project"]


def test_default_makes_it_the_default_project(home):
    takopi(home, "init", "app", "--default")
    done = takopi(home, "config", "get", "default_project")
    assert done.stdout == '"app"\n'


def test_a_worktree_means_its_repository(home):
    git(home / "project", "worktree", "add", "-b", "side", "../side")
    takopi(home, "init", "app", cwd=home / "side")
    assert projects(home)["app"]["path"] == str(home / "project")


def test_a_folder_without_git_is_a_project_too(home):
    (home / "plain").mkdir()
    done = takopi(home, "init", "plain", cwd=home / "plain")
    assert done.returncode == 0
    assert projects(home)["plain"] == {"path": str(home / "plain"), "worktrees_dir": ".worktrees"}


@pytest.mark.parametrize(
    ("alias", "message"),
    [
        ("Codex", "Invalid project alias 'Codex'; aliases must not match engine ids."),
        ("NEW", "Invalid project alias 'NEW'; aliases must not match reserved commands."),
        (" ", "project alias cannot be empty"),
    ],
)
def test_an_alias_that_means_something_else(home, alias, message):
    done = takopi(home, "init", alias)
    assert (done.returncode, done.stderr) == (1, f"error: {message}\n")
    assert not (home / ".takopi/takopi.toml").exists()


def test_s20_a_bad_file_is_an_error_without_a_traceback_or_the_token(home):
    (home / ".takopi").mkdir()
    file = home / ".takopi/takopi.toml"
    text = f'[transports.telegram]\nbot_token = "{TOKEN}"\nchat_id = "x"\n'
    file.write_text(text)
    done = takopi(home, "init", "app")
    assert done.returncode == 1
    assert "transports.telegram.chat_id: expected an integer" in done.stderr
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr
    assert file.read_text() == text


def test_without_a_terminal_an_existing_project_stays(home):
    takopi(home, "init", "app")
    takopi(home, "config", "set", "projects.app.chat_id", "-5")
    done = takopi(home, "init", "APP")
    assert done.returncode == 1
    assert done.stderr == "error: project 'APP' already exists; nothing was changed\n"
    assert list(projects(home)) == ["app"]


def test_in_a_terminal_the_alias_is_asked_for(home):
    code, shown = in_terminal(home, [(b"project alias [project]", b"mine\n")], "init")
    assert code == 0, shown
    assert list(projects(home)) == ["mine"]


def test_s20_overwriting_keeps_what_says_something_else(home):
    takopi(home, "init", "app")
    takopi(home, "config", "set", "projects.app.chat_id", "-5")
    takopi(home, "config", "set", "projects.app.default_engine", "codex")
    git(home / "project", "branch", "-m", "trunk", "main")
    code, shown = in_terminal(home, [(b"already exists, overwrite?", b"y\n")], "init", "App")
    assert code == 0, shown
    assert projects(home) == {
        "App": {
            "path": str(home / "project"),
            "worktrees_dir": ".worktrees",
            "worktree_base": "main",
            "chat_id": -5,
            "default_engine": "codex",
        }
    }


def test_saying_no_changes_nothing(home):
    takopi(home, "init", "app")
    before = (home / ".takopi/takopi.toml").read_text()
    code, _ = in_terminal(home, [(b"overwrite?", b"\n")], "init", "app", "--default")
    assert code == 1
    assert (home / ".takopi/takopi.toml").read_text() == before
