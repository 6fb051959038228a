"""The command line as a user has it: a real process with a home of its own."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

SCRIPTS = Path(sys.executable).parent


def environment(home):
    return {
        "HOME": str(home),
        "PATH": f"{home / 'bin'}:{SCRIPTS}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TERM": "xterm",
    }


def takopi(home, *args, cwd=None, stdin=None, **env):
    """Run it in the home's ``project`` folder, or ``cwd``; nobody sits at a terminal."""
    return subprocess.run(
        [SCRIPTS / "takopi", *args],
        env={**environment(home), **env},
        cwd=cwd or home / "project",
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def in_terminal(home, answers, *args, **env):
    """Run it in a terminal and answer each question in turn; the exit code and what was shown."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(home / "project")
        os.execve(SCRIPTS / "takopi", ["takopi", *args], {**environment(home), **env})
    shown = b""
    for question, answer in answers:
        end = time.monotonic() + 30
        while question not in shown and time.monotonic() < end:
            shown += os.read(master, 4096)
        os.write(master, answer)
    try:
        while chunk := os.read(master, 4096):
            shown += chunk
    except OSError:  # how a terminal says that nobody is left
        pass
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()
