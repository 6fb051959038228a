"""`takopi run` with an engine written in Python: nothing tells it from one in YAML."""

import signal
import subprocess

import pytest

from tests.support.command_line import SCRIPTS, environment, takopi

ENGINE = """
import anyio
from takopi.engines.backend import EngineBackend
from takopi.model import CompletedEvent, ResumeToken, StartedEvent


class Coded:
    engine = "coded"

    def __init__(self, config):
        self.word = config.get("word", "said")

    async def run(self, prompt, resume):
        token = resume or ResumeToken("coded", "s1")
        yield StartedEvent("coded", token)
        try:
            if prompt == "wait":
                await anyio.sleep(60)
        finally:
            open("ended", "w").close()
        yield CompletedEvent("coded", True, f"you {self.word}: {prompt}", token)

    def format_resume(self, token):
        return f"`coded resume {token.value}`"

    def is_resume_line(self, line):
        return line.strip("` ").startswith("coded resume ")

    def extract_resume(self, text):
        lines = [line.strip("` ") for line in (text or "").splitlines() if self.is_resume_line(line)]
        return ResumeToken("coded", lines[-1].split()[-1]) if lines else None


BACKEND = EngineBackend("coded", lambda config, path: Coded(config), cli_cmd="sh")
"""


@pytest.fixture
def home(tmp_path):
    for name in ("project", ".takopi", "site/coded_engine-1.0.dist-info"):
        (tmp_path / name).mkdir(parents=True)
    info = tmp_path / "site/coded_engine-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: coded-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[takopi.engine_backends]\ncoded = coded_engine:BACKEND\n"
    )
    (tmp_path / "site/coded_engine.py").write_text(ENGINE)
    (tmp_path / ".takopi/takopi.toml").write_text('[coded]\nword = "wrote"\n')
    return tmp_path


def run(home, *args):
    return takopi(home, "run", "coded", *args, PYTHONPATH=str(home / "site"))


def test_runs_as_configured_and_can_be_resumed(home):
    done = run(home, "hello")
    assert (done.returncode, done.stdout) == (0, "you wrote: hello\n")
    assert done.stderr.endswith("resume: coded resume s1\n")
    done = run(home, "--resume", "coded resume s7", "more")
    assert done.stderr.endswith("resume: coded resume s7\n")


def test_another_engines_resume_line_is_refused(home):
    done = run(home, "--resume", "other --continue x", "more")
    assert done.returncode == 2
    assert "which looks like `coded resume TOKEN`" in done.stderr


def test_ctrl_c_ends_it_and_the_session_can_go_on(home):
    with subprocess.Popen(
        [SCRIPTS / "takopi", "run", "coded", "wait"],
        env={**environment(home), "PYTHONPATH": str(home / "site")},
        cwd=home / "project",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while "session · s1" not in (line := process.stderr.readline()):
            assert line, "it ended before its session was known"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "cancelled · coded" in err
    assert err.endswith("resume: coded resume s1\n")
    assert (home / "project/ended").exists()
