"""Commands that outlive a takopi that was killed."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from takopi.engines.left_over import end_left_over

# A takopi that starts a command with a child, says their pids, and waits to be killed.
TAKOPI = """
import sys, time
from pathlib import Path
import anyio
from takopi.engines import left_over
from takopi.engines.process import Command, spawn

async def main():
    left_over.keep_notes(Path(sys.argv[1]))
    script = sys.argv[2]
    process = await spawn(Command(("sh", "-c", script), None, {"PATH": "/usr/bin:/bin"}, None))
    lines = (await process.read()).stdout
    print(process.pid, *(line.decode() for line in lines), flush=True)
    while not (await process.read()).ended:
        pass
    print("over", flush=True)
    await anyio.sleep(60)

anyio.run(main)
"""
BUSY = "sleep 60 & echo $!; wait"


@pytest.fixture
def takopi(tmp_path):
    """Starts takopis; gives each with the pids that it printed."""
    started = []

    def start(script=BUSY):
        process = subprocess.Popen(
            [sys.executable, "-c", TAKOPI, tmp_path / "running", script],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, [int(word) for word in process.stdout.readline().split()]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def lives(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_what_a_killed_takopi_left_running_is_ended_with_its_children(tmp_path, takopi):
    process, (pid, child) = takopi()
    kill(process)
    assert lives(pid)
    assert lives(child)
    assert end_left_over(tmp_path / "running") == [pid]
    assert not lives(pid)
    assert not lives(child)
    assert list((tmp_path / "running").iterdir()) == []
    assert end_left_over(tmp_path / "running") == []


def test_who_ignores_the_signal_is_killed(tmp_path, takopi):
    process, (pid, _) = takopi("trap '' TERM; echo $$; while :; do sleep 0.1; done")
    kill(process)
    assert end_left_over(tmp_path / "running") == [pid]
    assert not lives(pid)


def test_what_another_takopi_runs_is_left_alone(tmp_path, takopi):
    _, (pid, child) = takopi()
    assert end_left_over(tmp_path / "running") == []
    assert lives(pid)
    assert lives(child)
    assert [file.name for file in (tmp_path / "running").iterdir()] == [f"{pid}.json"]


def test_a_command_that_ended_is_forgotten_and_what_it_left_on_purpose_lives(tmp_path, takopi):
    process, (_, child) = takopi("sleep 60 >/dev/null 2>&1 & echo $!")
    assert process.stdout.readline() == "over\n"
    assert list((tmp_path / "running").iterdir()) == []
    kill(process)
    assert end_left_over(tmp_path / "running") == []
    assert lives(child)
    os.kill(child, signal.SIGKILL)


def test_a_pid_that_somebody_else_has_by_now_is_left_alone(tmp_path):
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        note = {"started": time.time() - 3600, "takopi": {"pid": 2**22 + 1, "started": 0}}
        (tmp_path / f"{stranger.pid}.json").write_text(json.dumps(note))
        try:
            assert end_left_over(tmp_path) == []
            assert lives(stranger.pid)
        finally:
            stranger.kill()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"started": 1}', '{"started": "x", "takopi": {"pid": "y"}}']
)
def test_what_is_no_note_is_left_alone(tmp_path, text):
    (tmp_path / "17.json").write_text(text)
    (tmp_path / "x.json").write_text(text)
    assert end_left_over(tmp_path) == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["17.json", "x.json"]


def test_without_a_folder_nothing_is_left_over(tmp_path):
    assert end_left_over(tmp_path / "missing") == []
