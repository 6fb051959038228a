"""The lock with real processes."""

import json
import os
import signal
import subprocess
import sys

import pytest

from takopi.lockfile import read_lock

HOLDER = """
import sys
from pathlib import Path
from takopi.errors import LockError
from takopi.lockfile import acquire_lock
if sys.argv[3:] == ["wait"]:
    print("ready", flush=True)
    sys.stdin.readline()
try:
    handle = acquire_lock(config_path=Path(sys.argv[1]), token_fingerprint=sys.argv[2] or None)
except LockError as error:
    print(str(error).splitlines()[0], flush=True)
    sys.exit(1)
print("held", flush=True)
sys.stdin.read()
handle.release()
"""
A, B = "a" * 10, "b" * 10


@pytest.fixture
def start(tmp_path):
    """Starts a process that takes the lock and holds it until its stdin is closed."""
    started = []
    environ = os.environ | {"HOME": str(tmp_path / "home")}

    def start(config, fingerprint="", *mode):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(config), fingerprint, *mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def says(process):
    return process.stdout.readline().strip()


def test_s23_of_twenty_that_race_exactly_one_wins(tmp_path, start):
    config = tmp_path / "takopi.toml"
    config.with_suffix(".lock").write_text(json.dumps({"pid": 2**31 - 1}))  # all see a stale file
    processes = [start(config, "", "wait") for _ in range(20)]
    assert {says(process) for process in processes} == {"ready"}
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = sorted(says(process) for process in processes)
    assert answers == ["already running"] * 19 + ["held"]


def test_s23_a_killed_holder_holds_nothing(tmp_path, start):
    config = tmp_path / "takopi.toml"
    first = start(config, A)
    assert says(first) == "held"
    second = start(config, A)
    assert says(second) == "already running"
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert read_lock(config.with_suffix(".lock")).pid == first.pid  # left behind
    assert says(start(config, A)) == "held"


def test_s23_a_stale_file_with_a_live_foreign_pid_is_taken(tmp_path, start):
    config = tmp_path / "takopi.toml"
    config.with_suffix(".lock").write_text(json.dumps({"pid": os.getppid()}))
    assert says(start(config)) == "held"


def test_s23_the_same_token_in_two_configurations(tmp_path, start):
    assert says(start(tmp_path / "a" / "takopi.toml", A)) == "held"
    assert says(start(tmp_path / "b" / "takopi.toml", A)) == "already running"
    assert says(start(tmp_path / "b" / "takopi.toml", B)) == "held"


def test_s23_different_tokens_in_the_same_configuration(tmp_path, start):
    config = tmp_path / "takopi.toml"
    first = start(config, A)
    assert says(first) == "held"
    second = start(config, B)
    assert says(second) == "held"
    first.communicate()
    assert read_lock(config.with_suffix(".lock")).pid == second.pid
    assert says(start(config)) == "already running"
    second.communicate()
    assert not config.with_suffix(".lock").exists()
    assert says(start(config)) == "held"


def test_a_directory_that_cannot_be_written_is_a_failure_with_a_reason(tmp_path, start):
    if os.geteuid() == 0:
        folder = "/proc"  # root may write everywhere else
        expected = ("No such file or directory", "Permission denied", "Read-only file system")
    else:
        folder = tmp_path / "closed"
        folder.mkdir(mode=0o500)
        expected = ("Permission denied",)
    answer = says(start(f"{folder}/takopi.toml"))
    assert answer in [f"lock failed: {reason}" for reason in expected]
