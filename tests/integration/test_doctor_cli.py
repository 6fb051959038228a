"""`takopi doctor`: each line is right, and says what to do."""

import json
import subprocess

import pytest

from tests.integration.test_start_cli import CONFIG, TOKEN, add, running, start
from tests.integration.test_start_cli import home as home  # a fixture
from tests.support.command_line import takopi

LOGIN = 'login: {args: [auth, status], say: "run `acme-cli login`"}\ntested: "2.0.0"\n'


def checks(home, *args, **env):
    done = takopi(home, *args, "doctor", "--json", PYTHONPATH=str(home / "site"), **env)
    found = {check["label"]: check for check in json.loads(done.stdout)}
    assert (done.returncode == 1) == any(c["state"] == "error" for c in found.values())
    return found


def cli(home, script):
    (home / "bin/acme-cli").write_text("#!/bin/sh\n" + script)


def test_s22_all_is_well(home):
    cli(home, "echo acme 1.2.3\n")
    done = start(home, "doctor")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == "takopi doctor"
    assert "- config: ok (~/.takopi/takopi.toml)" in lines
    assert "- engine acme: ok (1.2.3, ~/bin/acme-cli, default)" in lines
    assert "- plugins: ok (no errors)" in lines
    assert "- lock: ok (free)" in lines
    assert "- fake: ok (configured)" in lines
    assert TOKEN not in done.stdout


def test_a_new_user(home):
    (home / ".takopi/takopi.toml").unlink()
    found = checks(home)
    assert found["config"]["state"] == "warning"
    assert "takopi init" in found["config"]["advice"]


def test_a_broken_file_is_shown_with_its_line(home):
    (home / ".takopi/takopi.toml").write_text(CONFIG + "default_engine = 1\n[")
    found = checks(home)
    assert found["config"]["state"] == "error"
    assert "takopi.toml:" in found["config"]["advice"]
    assert TOKEN not in json.dumps(found)
    assert "engine acme" in found  # the rest is checked all the same


def test_a_misspelt_key_is_warned_about(home):
    add(home, "")
    file = home / ".takopi/takopi.toml"
    file.write_text('defualt_project = "x"\n' + file.read_text())
    found = checks(home)
    assert found["config"]["state"] == "warning"
    assert "did you mean `default_project`?" in found["config"]["advice"]


def test_s22_a_missing_cli(home):
    (home / "bin/acme-cli").unlink()
    found = checks(home)["engine acme"]
    assert found["state"] == "error"  # the default engine cannot be missing
    assert found["detail"].startswith("acme-cli not found on PATH")
    assert found["advice"] == "install it: get acme"


@pytest.mark.parametrize(
    ("code", "state", "advice"), [(0, "ok", None), (1, "warning", "run `acme-cli login`")]
)
def test_s22_the_login_where_the_cli_can_tell(home, code, state, advice):
    file = home / ".takopi/adapters/acme.yaml"
    file.write_text(file.read_text() + LOGIN)
    cli(home, f'[ "$1" = auth ] && exit {code}\necho 2.0.0\n')
    found = checks(home)["engine acme"]
    assert (found["state"], found["advice"]) == (state, advice)


@pytest.mark.parametrize(
    ("version", "state", "words"),
    [
        ("2.0.0", "ok", "2.0.0, ~/bin/acme-cli, default"),
        ("2.1.0", "ok", "tested with 2.0.0"),
        ("1.9.9", "warning", "1.9.9"),
        ("10.0.0", "ok", "tested with 2.0.0"),
    ],
)
def test_s22_the_version_beside_the_tested_one(home, version, state, words):
    file = home / ".takopi/adapters/acme.yaml"
    file.write_text(file.read_text() + 'tested: "2.0.0"\n')
    cli(home, f"echo {version}\n")
    found = checks(home)["engine acme"]
    assert found["state"] == state
    assert words in found["detail"]


def test_s22_a_broken_adapter(home):
    (home / ".takopi/adapters/other.yaml").write_text("adapter: 1\nid: other\n")
    found = checks(home)
    assert found["adapters"]["state"] == "error"
    assert "takopi adapters validate other" in found["adapters"]["advice"]
    assert found["engine acme"]["state"] == "ok"


def test_s22_a_plugin_that_cannot_be_loaded(home):
    (home / "site/fake_chat.py").write_text("raise RuntimeError('boom')\n")
    found = checks(home)
    assert found["plugins"]["state"] == "error"
    assert "boom" in found["plugins"]["advice"]


def test_s22_projects(home):
    subprocess.run(["git", "init", "-q", home / "project"], check=True)
    add(home, '[projects.good]\npath = "../project"\n[projects.gone]\npath = "../gone"\n')
    found = checks(home)
    assert found["project gone"]["state"] == "error"
    assert found["project gone"]["detail"] == "project path not found: ~/.takopi/../gone"
    assert "takopi config set projects.gone.path DIR" in found["project gone"]["advice"]
    assert found["project good"]["state"] == "warning"  # no commit yet
    assert "worktree_base" in found["project good"]["advice"]


def test_s22_the_lock_of_a_running_one(home):
    add(home, 'do = "wait"')
    with running(home) as process:
        found = checks(home)["lock"]
    assert found["state"] == "ok"
    assert found["detail"] == f"takopi is running, process {process.pid}"


def test_s22_a_chat_that_lacks_its_settings(home):
    (home / ".takopi/takopi.toml").write_text('default_engine = "acme"\ntransport = "fake"\n')
    found = checks(home)["fake"]
    assert (found["state"], found["detail"]) == ("error", "configure fake")
    assert "takopi --onboard" in found["advice"]


def test_s22_a_chats_own_checks(home):
    text = (home / "site/fake_chat.py").read_text()
    (home / "site/fake_chat.py").write_text(
        text.replace(
            "    def lock_token",
            "    def doctor_checks(self, *, transport_config, config_path):\n"
            "        yield 'fake server', 'error', 'no answer', 'start it'\n\n"
            "    def lock_token",
        )
    )
    found = checks(home)["fake server"]
    assert (found["state"], found["detail"], found["advice"]) == ("error", "no answer", "start it")
