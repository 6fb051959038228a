"""The stand-in for a CLI, and the runtime for tests of chats."""

import os
import signal
import subprocess
import time

import pytest

from takopi.errors import RunnerUnavailableError
from takopi.testing import Call, Play, Return, ScriptRunner, Stage, runtime_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stage needs a POSIX system")

ARGUMENTS = ("--flag", "", "two\nlines", 'it\'s "so" $HOME `x` \\n', "ünï 😀", "-n", "%s")


@pytest.fixture
def stage():
    with Stage() as stage:
        yield stage


def start(stage, play, *arguments, stdin=""):
    return subprocess.run(
        [stage.cli(play), *arguments],
        input=stdin.encode(),
        cwd=stage.folder,
        capture_output=True,
        check=False,
    )


def holding(stage):
    process = subprocess.Popen(
        [stage.cli(Play(stdout=[b"one", b"two"], holds_at=1))], stdin=subprocess.DEVNULL
    )
    while stage.happened("hold") == 0:
        time.sleep(0.005)
    return process


def at_end(pipe, within_s):
    """Whether nobody has a pipe open any more."""
    ends = time.monotonic() + within_s
    while time.monotonic() < ends:
        try:
            return os.read(pipe, 1) == b""
        except BlockingIOError:
            time.sleep(0.01)
    return False


def test_it_prints_its_pieces_and_exits_as_told(stage):
    done = start(stage, Play(stdout=[b"\xff\0one\n", b"'two'"], stderr="it's %s\n", exit_code=3))
    assert (done.stdout, done.stderr, done.returncode) == (b"\xff\0one\n'two'", b"it's %s\n", 3)
    assert start(stage, Play(exit_code=-9)).returncode == -signal.SIGKILL


def test_calls_are_kept_whole(stage):
    start(stage, Play(), *ARGUMENTS, stdin="the\nprompt\n")
    start(stage, Play(reads_stdin=False))
    assert stage.calls == [
        Call(stage.folder, ARGUMENTS, "the\nprompt\n"),
        Call(stage.folder, (), ""),
    ]
    assert [word for word, _ in stage.journal] == ["start", "end"] * 2


@pytest.mark.parametrize(("argument", "stdin"), [("--resume=s2", ""), ("", "go on with s2")])
def test_it_prints_another_session_where_it_is_asked_for_it(stage, argument, stdin):
    play = Play(stdout=[b"s1 and s1\n"], swap=("s1", "s2"))
    assert start(stage, play, argument, stdin=stdin).stdout == b"s2 and s2\n"
    assert start(stage, play, "--resume=s1").stdout == b"s1 and s1\n"


def test_it_holds_with_a_child_until_it_may_go_on(stage):
    process = holding(stage)
    assert stage.is_busy
    assert [word for word, _ in stage.journal] == ["start", "child", "hold"]
    stage.go()
    assert process.wait(10) == 0
    assert stage.happened("end") == 1


@pytest.mark.anyio
async def test_a_child_that_stays_is_noticed_and_ends_with_the_stage():
    with Stage() as stage:
        process = holding(stage)
        process.kill()
        process.wait()
        assert not await stage.wait_until_idle(within_s=0.1)
        (child,) = [pid for word, pid in stage.journal if word == "child"]
        os.kill(child, 0)
        with pytest.raises(TimeoutError, match="has 0 times 'end' instead of 1"):
            await stage.wait("end", within_s=0.1)
        reader = os.dup(stage._reader)
    assert at_end(reader, within_s=5)
    os.close(reader)


def test_a_runtime_around_scripted_engines():
    runtime = runtime_of(
        ScriptRunner([Return("yes")], engine="acme"),
        missing={"zulu": "zulu is not installed"},
        plugin_configs={"everyone": {"engines": ["acme"]}},
    )
    assert (runtime.default_engine, runtime.engine_ids) == ("acme", ("acme", "zulu"))
    assert runtime.available_engine_ids() == ("acme",)
    zulu = runtime.resolve_runner(resume_token=None, engine_override="zulu")
    assert (zulu.available, zulu.issue) == (False, "zulu is not installed")
    assert runtime.plugin_config("everyone") == {"engines": ["acme"]}
    with pytest.raises(RunnerUnavailableError):
        runtime.resolve_runner(resume_token=None, engine_override="nobody")
