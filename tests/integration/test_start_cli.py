"""`takopi` and `takopi ENGINE`: from the set-up over the lock to the chat, with a chat of a plugin's."""

import json
import os
import signal
import stat
import subprocess
from contextlib import contextmanager

import pytest

from tests.support.command_line import SCRIPTS, environment, in_terminal, takopi

TOKEN = "123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc"
CONFIG = f"""\
default_engine = "acme"
transport = "fake"
[transports.fake]
bot_token = "{TOKEN}"
"""
FAKE = """
import json, os, sys
from pathlib import Path
import anyio
from takopi.bridge.transport import SetupResult
from takopi.config import config_path, read_config, write_config
from takopi.engines.backend import SetupIssue
from takopi.engines.executables import find_executable
from takopi.engines.backend import install_issue
from takopi.logs import get_logger


class Fake:
    id = "fake"
    description = "for tests"

    def check_setup(self, engine_backend, *, transport_override=None):
        path = config_path()
        issues = []
        table = read_config(path).get("transports", {}).get("fake", {}) if path.exists() else {}
        if "bot_token" not in table:
            issues.append(SetupIssue("configure fake", (f"   {path}",)))
        command = engine_backend.cli_cmd or engine_backend.id
        if find_executable(command, os.environ) is None:
            issues.insert(0, install_issue(command, engine_backend.install_cmd))
        return SetupResult(issues, path)

    async def interactive_setup(self, *, force):
        answer = input(f"token (force={force})? ")
        if not answer:
            return False
        path = config_path()
        data = read_config(path) if path.exists() else {}
        data.setdefault("transports", {})["fake"] = {"bot_token": answer}
        data["transport"] = "fake"
        write_config(data, path)
        return True

    def lock_token(self, *, transport_config, _config_path):
        return transport_config.get("bot_token")

    def build_and_run(self, *, transport_config, config_path, runtime, final_notify, default_engine_override):
        get_logger("fake").warning("fake.started", token=transport_config["bot_token"])
        print(json.dumps({
            "config": str(config_path), "engine": runtime.default_engine, "final_notify": final_notify,
            "override": default_engine_override, "lock": sorted(p.name for p in Path(config_path).parent.glob("*.lock")),
        }), flush=True)
        if transport_config.get("do") == "wait":
            anyio.run(anyio.sleep, 60)
        if transport_config.get("do") == "raise":
            raise RuntimeError("the chat fell over with " + transport_config["bot_token"])


BACKEND = Fake()
"""


@pytest.fixture
def home(tmp_path):
    for name in ("project", "bin", ".takopi/adapters", "site/fake_chat-1.0.dist-info"):
        (tmp_path / name).mkdir(parents=True)
    info = tmp_path / "site/fake_chat-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-chat\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[takopi.transport_backends]\nfake = fake_chat:BACKEND\n"
    )
    (tmp_path / "site/fake_chat.py").write_text(FAKE)
    for engine in ("acme", "other"):
        (tmp_path / f".takopi/adapters/{engine}.yaml").write_text(
            f"adapter: 1\nid: {engine}\ncommand: {engine}-cli\ninstall: get {engine}\n"
            'args: ["${run().prompt}"]\nresume: null\nsession: null\n'
            "events: [{match: {type: end}, complete: {answer: text}}]\n"
        )
        script = tmp_path / f"bin/{engine}-cli"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
    (tmp_path / ".takopi/takopi.toml").write_text(CONFIG)
    return tmp_path


def start(home, *args, **env):
    return takopi(home, *args, PYTHONPATH=str(home / "site"), **env)


def add(home, line):
    with (home / ".takopi/takopi.toml").open("a") as file:
        file.write(line + "\n")


def test_starts_the_chat_with_the_lock_held_and_frees_it(home):
    done = start(home)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {
        "config": str(home / ".takopi/takopi.toml"),
        "engine": "acme",
        "final_notify": True,
        "override": None,
        "lock": ["takopi.lock"],
    }
    assert not list((home / ".takopi").rglob("*.lock"))
    assert TOKEN not in done.stderr


def test_an_engine_typed_as_a_command_is_the_default(home):
    told = json.loads(start(home, "other").stdout)
    assert (told["engine"], told["override"]) == ("other", "other")


def test_s18_options_before_the_engine_count(home):
    told = json.loads(start(home, "--no-final-notify", "other").stdout)
    assert (told["engine"], told["final_notify"]) == ("other", False)


def test_s18_options_after_the_engine_beat_those_before(home):
    told = json.loads(start(home, "--no-final-notify", "other", "--final-notify").stdout)
    assert told["final_notify"] is True


def test_an_unknown_word_is_a_usage_error_that_knows_engines(home):
    done = start(home, "acm")
    assert done.returncode == 2
    assert "did you mean `acme`?" in done.stderr
    done = start(home, "doctr")
    assert (done.returncode, done.stderr) == (
        2,
        "error: `doctr` is neither a command nor an engine; did you mean `doctor`?\n",
    )


def test_another_transport_for_this_time(home):
    (home / ".takopi/takopi.toml").write_text(CONFIG.replace('"fake"', '"telegram"'))
    assert start(home, "--transport", "fake").returncode == 0
    done = start(home, "--transport", " ")
    assert (done.returncode, done.stderr) == (
        1,
        "error: Invalid `--transport`; expected a non-empty string.\n",
    )


def test_an_unknown_transport_says_which_there_are(home):
    done = start(home, "--transport", "pigeon")
    assert done.returncode == 1
    assert "Unknown transport 'pigeon'. Available: " in done.stderr
    assert "fake" in done.stderr


def test_s19_a_missing_cli_comes_with_its_install_command(home):
    (home / "bin/acme-cli").unlink()
    done = start(home)
    assert done.returncode == 1
    assert done.stderr.startswith("error: install acme-cli\n   $ get acme\n")


def test_a_missing_config_says_how_to_get_one(home):
    (home / ".takopi/takopi.toml").unlink()
    done = start(home, "acme", "--transport", "fake")
    assert done.returncode == 1
    assert done.stderr.startswith("error: missing takopi config at ~/.takopi/takopi.toml")


def test_s19_an_invalid_config_says_why(home):
    (home / ".takopi/takopi.toml").write_text('transport = "fake"\nwatch_config = "perhaps"\n')
    done = start(home, "acme")
    assert done.returncode == 1
    assert done.stderr.startswith("error: invalid takopi config at ~/.takopi/takopi.toml\n")
    assert "watch_config: expected true or false" in done.stderr


def test_s17_a_broken_default_engine_is_a_clean_error(home):
    (home / ".takopi/adapters/acme.yaml").write_text("adapter: 1\nid: acme\n")
    done = start(home)
    assert done.returncode == 1
    assert "acme" in done.stderr
    assert "Traceback" not in done.stderr


def test_onboard_needs_a_terminal(home):
    done = start(home, "--onboard")
    assert (done.returncode, done.stderr) == (1, "error: --onboard requires a TTY\n")


def test_a_second_one_is_refused(home):
    add(home, 'do = "wait"')
    with running(home):
        done = start(home)
    assert done.returncode == 1
    assert done.stderr.endswith("error: already running\nremove ~/.takopi/takopi.lock if stale\n")


@contextmanager
def running(home):
    """A takopi whose chat has begun; ended afterwards."""
    with subprocess.Popen(
        [SCRIPTS / "takopi"],
        env={**environment(home), "PYTHONPATH": str(home / "site")},
        cwd=home / "project",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_s19_signals_end_it_and_free_the_lock(home, number, code):
    add(home, 'do = "wait"')
    with running(home) as process:
        assert list((home / ".takopi").rglob("*.lock"))
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert not list((home / ".takopi").rglob("*.lock"))


def test_s24_a_crash_frees_the_lock_and_hides_the_token(home):
    add(home, 'do = "raise"')
    done = start(home, "--debug")
    assert done.returncode == 3
    assert "the chat fell over" in done.stderr
    assert TOKEN not in done.stderr
    log = home / "project/debug.log"
    assert TOKEN not in log.read_text()
    assert "fake.started" in log.read_text()
    assert stat.S_IMODE(os.stat(log).st_mode) == 0o600
    assert not list((home / ".takopi").rglob("*.lock"))


class TestInATerminal:
    def talk(self, home, *args, answers, **env):
        return in_terminal(home, answers, *args, PYTHONPATH=str(home / "site"), **env)

    def test_without_a_file_the_set_up_runs(self, home):
        (home / ".takopi/takopi.toml").unlink()
        answers = [(b"token (force=False)?", TOKEN.encode() + b"\n")]
        code, shown = self.talk(home, "acme", "--transport", "fake", answers=answers)
        assert code == 0, shown
        assert '"engine": "acme"' in shown

    def test_an_incomplete_file_is_asked_about(self, home):
        (home / ".takopi/takopi.toml").write_text('default_engine = "acme"\ntransport = "fake"\n')
        ask = b"config at ~/.takopi/takopi.toml is missing/invalid for fake, run onboarding now?"
        answers = [(ask, b"y\n"), (b"token (force=True)?", TOKEN.encode() + b"\n")]
        code, shown = self.talk(home, answers=answers)
        assert code == 0, shown

    def test_saying_no_is_an_error(self, home):
        (home / ".takopi/takopi.toml").write_text('default_engine = "acme"\ntransport = "fake"\n')
        code, shown = self.talk(home, answers=[(b"run onboarding now?", b"\n")])
        assert code == 1
        assert "error: invalid takopi config at ~/.takopi/takopi.toml: configure fake" in shown

    def test_breaking_the_set_up_off_starts_nothing(self, home):
        code, shown = self.talk(home, "--onboard", answers=[(b"token (force=True)?", b"\n")])
        assert code == 1
        assert '"engine"' not in shown

    @pytest.mark.parametrize("value", ["1", "0"])
    def test_interaction_can_be_forbidden(self, home, value):
        (home / ".takopi/takopi.toml").write_text('default_engine = "acme"\ntransport = "fake"\n')
        code, shown = self.talk(home, answers=[], TAKOPI_NO_INTERACTIVE=value)
        assert code == 1
        assert "run onboarding" not in shown


def test_onboarding_paths_shows_what_happens_when(home):
    done = start(home, "onboarding-paths")
    assert done.returncode == 0
    rows = done.stdout.splitlines()
    assert len(rows) == 13
    assert any(
        row.split() == ["lacks", "the", "chat's", "settings", "no", "yes", "set", "up"]
        for row in rows
    )


def test_python_dash_m(home):
    done = subprocess.run(
        [SCRIPTS / "python", "-m", "takopi", "--version"],
        env=environment(home),
        cwd=home / "project",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout.strip()
